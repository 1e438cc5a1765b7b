"""R2GenCSR (Wang et al., JBHI 2026): what sets a study apart from train studies, before its image.

Source: published ``models/R2GenCSR.py`` with VMamba-base and Llama-2-7b-chat or Qwen1.5-1.8B-Chat.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cxreport.data.batch import loader, normalised
from cxreport.encoders import Encoder
from cxreport.generators.base import TrainStudies
from cxreport.generators.context_bank import begun_bank, labelled_studies
from cxreport.generators.language_models import LanguageModel
from cxreport.generators.prefix_lm import Part, PrefixLM
from cxreport.generators.seen import Seen
from cxreport.memories.bank import Bank, Origin
from cxreport.memories.context import NEGATIVE, POSITIVE, Contexts
from cxreport.model_options import R2GenCSROptions
from cxreport.study import BankEntry
from cxreport.weights.folder import weights_sha256

if TYPE_CHECKING:
    from cxreport.data.batch import Batch

_BATCH = 32
"""Studies at a time when the bank is made again."""

logger = logging.getLogger(__name__)


class R2GenCSR(PrefixLM):
    """Context samples before the image, as residuals: the study's global vector less that of each sample.

    For ``context: nearest`` the samples' vectors come from a bank of all train studies with labels. In
    training it is made again after as many studies as it has entries, and whenever validation begins, so
    that vectors are at most an epoch older than the encoder, and those in a model folder are its own
    encoder's. The other contexts are few: their images are kept and encoded with the encoder as it is. No
    gradient flows into the encoder through a context.
    """

    options: R2GenCSROptions

    def __init__(self, options: R2GenCSROptions, encoder: Encoder, language_model: LanguageModel) -> None:
        super().__init__(options, encoder, language_model)
        self.contexts: Contexts | None = None
        self._begun = False
        self._looked = False
        self._batches: Iterable[Batch] = ()
        self._made_with: tuple[Any, ...] | None = None
        self._since = 0
        self._kept: tuple[Any, dict[str, Tensor]] | None = None

    @classmethod
    def build(cls, options: R2GenCSROptions, train: TrainStudies) -> Self:
        """Also choose the context samples from the train studies.

        UserError where there are too few of a side, or no studies but only texts.
        """
        generator = super().build(options, train)
        if options.context != "none":
            bank = begun_bank(options, train, generator.encoder.width)
            generator.contexts = Contexts(bank, options.context_pairs)
            generator._begun = True
            counts = {side: len(places) for side, places in generator.contexts.places.items()}
            logger.info("Context samples (%s) from train studies: %s.", options.context, counts)
            if options.context == "nearest":
                generator._batches = loader(
                    labelled_studies(train, bank), train.data, batch_size=_BATCH, train=False, seed=0
                )
        return generator

    def look(self, batch: Batch) -> Seen:
        """Encode the present views of `batch`, after the bank was made again where that is due."""
        self._looked = True
        if self._begun and self.contexts is not None and self.contexts.bank.images is None:
            self._refresh(due=self._since >= len(self.contexts.bank) or not self.training)
            self._since += len(batch) if self.training else 0
        return super().look(batch)

    def prompt_parts(self, batch: Batch, seen: Seen) -> list[Part]:
        """The contexts, negative ones first, and what R2GenGPT reads; inside what the user says of a chat."""
        parts = super().prompt_parts(batch, seen)
        if self.contexts is None:
            return parts
        query = seen.global_vector()
        vectors = self._vectors(self._chosen(batch, query), query)
        start = 1 if self.options.prompt == "chat" else 0
        return [*parts[:start], *self.context_parts(query, vectors), *parts[start:]]

    def context_parts(self, query: Tensor, vectors: Mapping[str, Tensor]) -> list[Part]:
        """Queries (B, E) beside context `vectors` (B or 1, P, E) of each side, as ``options.residual`` says.

        One prompt holds all samples of a side; with ``published`` each has its own, pair by pair, and the
        embeddings of its words are subtracted, too.
        """
        if self.options.residual == "published":
            return [Part(embeddings=self._published_residual(query, vectors))]
        parts = []
        for side in (NEGATIVE, POSITIVE):
            before, after = self._words(side)
            if self.options.residual == "before":
                tokens = self.projection(query.unsqueeze(1) - vectors[side])
            elif self.options.residual == "after":
                tokens = self.projection(query).unsqueeze(1) - self.projection(vectors[side])
            else:
                tokens = self.projection(vectors[side])
            parts += [Part(before), Part(embeddings=tokens), Part(after)]
        return parts

    def banks(self) -> tuple[Bank, ...]:
        """The bank of context samples; once it was used, with the vectors of the encoder as it is."""
        if self.contexts is None:
            return ()
        if self._looked:
            self._refresh(due=True)
        return (self.contexts.bank,)

    def bank_entries(self, batch: Batch) -> list[tuple[BankEntry, ...]]:
        """The context samples of every study, nearest first."""
        if self.contexts is None:
            return super().bank_entries(batch)
        query = self.features(batch).detach()
        places = self._chosen(batch, query)
        vectors = torch.cat(list(self._vectors(places, query).values()), dim=1)
        cosines = functional.cosine_similarity(query.unsqueeze(1), vectors, dim=2).cpu().numpy()
        rows = np.concatenate([np.atleast_2d(own) for own in places.values()], axis=1)
        shown = []
        for row, scores in zip(np.broadcast_to(rows, cosines.shape), cosines, strict=True):
            order = np.argsort(-scores, kind="stable")
            shown.append(self.contexts.bank.shown(row[order].tolist(), scores[order].tolist()))
        return shown

    def save_assets(self, folder: Path) -> None:
        """Also write the bank, its vectors those of the encoder as it is."""
        super().save_assets(folder)
        if self.contexts is not None:
            self._refresh(due=True)
            self.contexts.bank.save(folder)

    @classmethod
    def load_assets(cls, options: R2GenCSROptions, folder: Path) -> Self:
        """Also read the bank; UserError where it is damaged or does not fit the encoder."""
        generator = super().load_assets(options, folder)
        if options.context != "none":
            bank = Bank.load(folder)
            bank.need_width(generator.encoder.width)
            generator.contexts = Contexts(bank, options.context_pairs)
        return generator

    def _words(self, side: str) -> tuple[str, str]:
        """The words before and after a context, none where the prompt has none."""
        if self.options.prompt == "none":
            return "", ""
        ill = "desease" if self.options.published else "disease"
        return "Note: <Img>", "</Img> normal. " if side == NEGATIVE else f"</Img> with {ill}. "

    def _published_residual(self, query: Tensor, vectors: Mapping[str, Tensor]) -> Tensor:
        """The projected query less every position (M, D) of the wrapped contexts, pair by pair: (B, M, D)."""
        with torch.no_grad():
            projected = {side: self.projection(own) for side, own in vectors.items()}
            words = {side: [self.embed_text(text)[None] for text in self._words(side)] for side in vectors}
            studies = max(len(own) for own in projected.values())
            pieces = []
            for pair in range(self.options.context_pairs):
                for side in (NEGATIVE, POSITIVE):
                    before, after = words[side]
                    pieces += [before, projected[side][:, pair : pair + 1], after]
            read = torch.cat([piece.float().expand(studies, -1, -1) for piece in pieces], dim=1)
        return self.projection(query).unsqueeze(1) - read

    def _chosen(self, batch: Batch, query: Tensor) -> dict[str, NDArray[np.int64]]:
        """Places of each side: (B, P) for ``nearest``, else (P,)."""
        assert self.contexts is not None
        if self.options.context == "nearest":
            return self.contexts.nearest(query, batch.study_ids, batch.patient_ids)
        anew = self.training and self.options.context != "fixed" and batch.draws
        return self.contexts.first(batch.draws[0] if anew else None)

    def _vectors(self, places: Mapping[str, NDArray[np.int64]], query: Tensor) -> dict[str, Tensor]:
        """Context vectors of each side, (B, P, E) or (1, P, E), without gradient."""
        assert self.contexts is not None
        if self.contexts.bank.images is None:
            stored = self.contexts.bank.vectors
            return {side: stored[torch.from_numpy(own)].to(query) for side, own in places.items()}
        key = (self._encoder_state(), {side: own.tolist() for side, own in places.items()})
        if self.training or self._kept is None or self._kept[0] != key:
            encoded = self._encoded_images(np.concatenate(list(places.values())))
            split = encoded.split([len(own) for own in places.values()])
            self._kept = (key, {side: own[None] for side, own in zip(places, split, strict=True)})
        return {side: own.to(query) for side, own in self._kept[1].items()}

    def _encoded_images(self, places: NDArray[np.int64]) -> Tensor:
        """Global vectors (N, E) of the kept images at `places`, encoder in evaluation mode."""
        assert self.contexts is not None
        assert self.contexts.bank.images is not None
        pixels = self.contexts.bank.images[torch.from_numpy(places)].float().div(255)
        images = normalised(pixels).to(self.norm.weight.device)
        return self._without_training(lambda: self.encoder(images).pooled.detach().float())

    def _refresh(self, due: bool) -> None:
        """Make the vectors of the bank again, where the encoder is another one and it is `due`.

        A model that was loaded has no train studies; its bank stays as it was saved.
        """
        if not self._begun or self.contexts is None:
            return
        state = self._encoder_state()
        if self._made_with is not None and (not due or state == self._made_with):
            return
        bank = self.contexts.bank
        if bank.images is None:
            vectors = self._without_training(self._vectors_of_batches)
        else:
            vectors = self._encoded_images(np.arange(len(bank)))
        bank = Bank(vectors, bank.entries, self._origin(bank), bank.images)
        self.contexts = Contexts(bank, self.options.context_pairs)
        self._made_with = state
        self._since = 0

    def _vectors_of_batches(self) -> Tensor:
        device = self.norm.weight.device
        seen = (super(R2GenCSR, self).look(batch.to(device)) for batch in self._batches)
        return torch.cat([one.global_vector().float().cpu() for one in seen])

    def _without_training(self, compute: Any) -> Tensor:
        """What `compute` gives in evaluation mode, as a tensor that later steps may differentiate past."""
        training = self.training
        self.eval()
        with torch.inference_mode(False), torch.no_grad():
            computed: Tensor = compute()
        self.train(training)
        return computed

    def _encoder_state(self) -> tuple[Any, ...]:
        """Differs whenever the encoder or a weight of it is another one or was changed."""
        weights = [*self.encoder.parameters(), *self.encoder.buffers()]
        return (id(self.encoder), *((weight.data_ptr(), weight._version) for weight in weights))

    def _origin(self, bank: Bank) -> Origin:
        made_by = {"name": self.options.encoder.name, "sha256": weights_sha256(self.encoder)}
        return Origin(bank.origin.dataset, made_by, bank.origin.data, bank.origin.made)
