"""The arms of a comparison: encoders, where their weights come from, and the proof that they are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError
from torch import nn

from cxreport.encoders import ENCODERS, Encoder, build_encoder, sized
from cxreport.encoders.folder import origin, read_options
from cxreport.errors import UserError
from cxreport.options import EncoderOptions
from cxreport.recipe import model_inside
from cxreport.training.task import seed_everything
from cxreport.weights.folder import WEIGHTS, read_provenance_file, read_tensors

IMAGENET, FRESH = "imagenet", "fresh:"
_IMAGENET_ENCODER = EncoderOptions(name="efficientnet_lite0", pretrained=True)


@dataclass(frozen=True, slots=True)
class Arm:
    """A named encoder: of a folder (``options.init``), with ImageNet weights, or fresh from every seed."""

    name: str
    options: EncoderOptions
    weights: dict[str, Any] | str = "fresh"
    """Where the folder's weights come from, with their SHA-256; or ``ImageNet`` or ``fresh``."""

    @classmethod
    def parse(cls, text: str, image_size: int) -> Arm:
        """``NAME=SPEC``.

        SPEC is an encoder folder or the run folder of a pre-training; ``imagenet`` (EfficientNet-lite0);
        ``fresh:`` before a folder, an encoder's name or a mapping of encoder options: that architecture with
        fresh weights; or such a mapping with ``init``: a folder's weights in another form, as four scans from
        one. UserError for anything else, and for a folder that nobody trained.
        """
        name, _, spec = text.partition("=")
        if not name or not spec or not all(letter.isalnum() or letter in "-_." for letter in name):
            raise UserError(
                f"--arm {text}: give NAME=FOLDER, NAME=imagenet or NAME=fresh:ENCODER, the name of letters, "
                "digits, dots, underscores and hyphens."
            )
        if spec == IMAGENET:
            return cls(name, _IMAGENET_ENCODER, "ImageNet")
        if spec.startswith(FRESH):
            return cls(name, sized(_fresh_options(spec.removeprefix(FRESH), text), image_size))
        options = _mapping(spec, text) if spec.startswith("{") else EncoderOptions(init=spec)
        if options.init is None:
            raise UserError(
                f"--arm {text}: encoder options need init, a folder of weights, or fresh: before them."
            )
        folder = model_inside(Path(options.init))
        own = read_options(folder)
        _refuse_untrained(folder, own)
        options = sized(options if spec.startswith("{") else own, image_size)
        return cls(name, options.model_copy(update={"init": str(folder)}), origin(folder))

    @property
    def fresh(self) -> bool:
        """Whether every seed has weights of its own, which nothing has trained."""
        return self.options.init is None and not self.options.pretrained

    def build(self, seed: int) -> Encoder:
        """The encoder, fresh parts drawn from `seed`; RuntimeError when its weights are not the folder's."""
        seed_everything(seed)
        encoder = build_encoder(self.options)
        if self.options.init is not None:
            folder = Path(self.options.init)
            if origin(folder) != self.weights:
                raise UserError(
                    f"The weights in {folder} changed; start again when its training is finished."
                )
            check_loaded(encoder, folder)
        return encoder

    def facts(self) -> dict[str, Any]:
        """What identifies the arm: options and origin of the weights, without paths."""
        return {"encoder": self.options.untrained().model_dump(mode="json"), "weights": self.weights}


def check_loaded(encoder: nn.Module, folder: Path) -> None:
    """RuntimeError unless the encoder's tensors are those of `folder`, bit by bit.

    Tensors that were made for another image size or number of scans have other shapes and are not compared;
    those that are must hold most of the folder's weights.
    """
    weights, own = read_tensors(folder / WEIGHTS), encoder.state_dict()
    compared = [key for key, value in weights.items() if key in own and own[key].shape == value.shape]
    other = [key for key in compared if not torch.equal(own[key].cpu(), weights[key])]
    if other:
        raise RuntimeError(
            f"{len(other)} tensors of the encoder ({other[0]}, ...) are not those of {folder}."
        )
    share = sum(weights[key].numel() for key in compared) / sum(value.numel() for value in weights.values())
    if share < 0.5:
        raise RuntimeError(f"Only {share:.0%} of the weights in {folder} stand in the encoder as they are.")


def _refuse_untrained(folder: Path, options: EncoderOptions) -> None:
    """UserError when the weights of `folder` are those that its own seed starts from."""
    seed = read_provenance_file(folder).get("seed")
    if not isinstance(seed, int):
        return
    seed_everything(seed)
    fresh, weights = build_encoder(options.untrained()).state_dict(), read_tensors(folder / WEIGHTS)
    if all(key in weights and torch.equal(value, weights[key]) for key, value in fresh.items()):
        raise UserError(
            f"{folder} holds the fresh weights of seed {seed}, which nothing has trained; name the folder of "
            f"a finished pre-training, or give fresh:{folder}."
        )


def _fresh_options(spec: str, text: str) -> EncoderOptions:
    if spec in ENCODERS:
        return EncoderOptions(name=spec)
    if spec.startswith("{"):
        return _mapping(spec, text).untrained()
    return read_options(model_inside(Path(spec)))


def _mapping(spec: str, text: str) -> EncoderOptions:
    """Encoder options written as a YAML mapping."""
    try:
        return EncoderOptions.model_validate(yaml.safe_load(spec))
    except (yaml.YAMLError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "not a YAML mapping"
        raise UserError(
            f"--arm {text}: {reason}; write encoder options as in {{name: vit_tiny, depths: [6]}}."
        ) from None
