"""Contrastive pre-training on images and reports (MambaXray-VL, stage 2; CLIP, Radford et al., 2021).

The paper (CXPMRG-Bench, sec. 3.3): a Vision Mamba of four scans, which starts from stage 1, sees all views
of a study; the mean over views and tokens goes through one linear layer to 2048 numbers. Bio_ClinicalBERT
reads the report; the state of its last token goes the same way. Both are made unit vectors, and the loss
asks every image for its report among those of the batch, and every report for its image (InfoNCE, both
ways). Otherwise than in the published code, negatives come from all devices, the temperature is limited as
in CLIP, the kept epoch is chosen on val, and studies of one patient, and those with the same report, are no
negatives of each other.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cxreport.objectives.base import Objective, TrainFacts
from cxreport.objectives.gathering import gathered, gathered_numbers
from cxreport.objectives.text_encoder import TextEncoder, build_text_encoder

if TYPE_CHECKING:
    from cxreport.data.batch import Batch
    from cxreport.encoders import Encoder
    from cxreport.pretraining import ContrastiveOptions

LARGEST_SCALE = math.log(100)
"""The logarithm of the inverse temperature goes no higher, as in CLIP."""
STOP = " ."


class ContrastivePretraining(Objective):
    """An image encoder and a text encoder whose vectors meet."""

    text: TextEncoder
    text_head: nn.Linear

    def __init__(self, encoder: Encoder, options: ContrastiveOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.options = options
        self.image_head = nn.Linear(encoder.width, options.width)
        self.scale = nn.Parameter(torch.tensor(-math.log(options.temperature)))

    def prepare(self, train: TrainFacts) -> None:
        """Find or make the text encoder; an own tokenizer learns from the reports of train."""
        self._set_text(build_text_encoder(self.options.text, train.reports))

    def save_assets(self, folder: Path) -> None:
        """The shape of the text encoder, and its tokenizer."""
        self.text.save(folder)

    def load_assets(self, folder: Path) -> None:
        """The text encoder, its weights random still."""
        self._set_text(TextEncoder.load(folder, self.options.text))

    def image_vectors(self, images: Tensor, view_mask: Tensor) -> Tensor:
        """Unit vectors (B, W) of studies with images (B, V, 3, H, W), where `view_mask` (B, V) is true."""
        tokens = self.encoder(images[view_mask])
        seen = tokens.patches if tokens.sequence is None else tokens.sequence
        of_views = seen.new_zeros(*view_mask.shape, seen.shape[2])
        of_views[view_mask] = seen.mean(dim=1)
        means = of_views.sum(dim=1) / view_mask.sum(dim=1, keepdim=True)
        return functional.normalize(self.image_head(means).float(), dim=1)

    def text_vectors(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (B, W) of texts."""
        return functional.normalize(self.text_head(self.text(texts)).float(), dim=1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``loss``; ``tokens`` counts the studies of this device.

        In training the negatives are those of all devices; in validation, where devices may have unequally
        many batches, those of the own batch.
        """
        texts = self.captions(batch)
        images = self.image_vectors(batch.images, batch.view_mask)
        reports = self.text_vectors(texts)
        own = [batch.patient_ids or batch.study_ids, batch.reports, texts]
        keys = torch.tensor([[key_of(text) for text in column] for column in own], device=images.device).T
        if self.training:
            images, reports, keys = gathered(images), gathered(reports), gathered_numbers(keys)
        related = (keys[:, None] == keys[None]).any(dim=2)
        loss = info_nce(images, reports, related, self.scale.clamp(max=LARGEST_SCALE).exp())
        return {"loss": loss, "tokens": loss.new_tensor(len(batch))}

    def captions(self, batch: Batch) -> list[str]:
        """The texts of a batch; in training a share of them shortened, see :func:`shortened`."""
        if not self.training or not self.options.shortened:
            return batch.reports
        pairs = zip(batch.reports, batch.draws, strict=True)
        return [shortened(report, draw, self.options.shortened) for report, draw in pairs]

    def measured(self) -> dict[str, object]:
        """The temperature so far, and which weights a published text encoder began with."""
        temperature = math.exp(-min(self.scale.item(), LARGEST_SCALE))
        return {"temperature": temperature, "text_weights_sha256": self.text.weights_sha256}

    def _set_text(self, text: TextEncoder) -> None:
        self.text = text
        self.text_head = nn.Linear(text.width, self.options.width)


def info_nce(images: Tensor, reports: Tensor, related: Tensor, scale: Tensor) -> Tensor:
    """Mean cross-entropy of every image's own report and of every report's own image.

    Unit vectors (B, W), of which row i and row i belong together. `related` (B, B) pairs are left out of each
    other's negatives; `scale` is the inverse temperature.
    """
    with torch.autocast(images.device.type, enabled=False):
        similarities = scale * images @ reports.T
    others = related & ~torch.eye(len(images), dtype=torch.bool, device=images.device)
    similarities = similarities.masked_fill(others, -torch.inf)
    own = torch.arange(len(images), device=images.device)
    both = functional.cross_entropy(similarities, own) + functional.cross_entropy(similarities.T, own)
    return both / 2


def shortened(report: str, draw: int, share: float) -> str:
    """`report`, or at that `share` of the draws some of its sentences, in their order (as in ConVIRT).

    So that the text encoder also knows single sentences, which zero-shot prompts are.
    """
    rng = np.random.default_rng(draw)
    sentences = [sentence for sentence in report.split(STOP) if sentence.strip()]
    if rng.random() >= share or len(sentences) < 2:
        return report
    kept = sorted(rng.choice(len(sentences), size=int(rng.integers(1, len(sentences))), replace=False))
    return " ".join(f"{sentences[place].strip()}{STOP}" for place in kept)


def key_of(text: str) -> int:
    """A number of 63 bits that stands for `text` on every device."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
