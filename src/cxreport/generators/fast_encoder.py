"""A generator with a faster form of its image encoder, for drafting on a CPU."""

from __future__ import annotations

import torch

from cxreport.encoders import Encoder
from cxreport.encoders.fast import fast, sentence
from cxreport.generators.base import Generator
from cxreport.recipe import Recipe

_IMAGES = 8
"""Most images of the batch on which forms are measured."""


def with_fast_encoder(generator: Generator, recipe: Recipe) -> str:
    """Replace the encoder of `generator` by its fastest form on this machine; what was done, as a sentence.

    Measured on a batch of the recipe's image size; see :func:`cxreport.encoders.fast.fast` for the forms and
    what they may differ by. A generator without an encoder stays as it is.
    """
    encoder = getattr(generator, "encoder", None)
    if not isinstance(encoder, Encoder):
        return "Fast inference: this generator has no image encoder; nothing was changed."
    side = recipe.data.image_size
    count = min(_IMAGES, recipe.decoding.batch_size * recipe.data.max_views)
    images = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    chosen, report = fast(encoder.eval(), images)
    generator.add_module("encoder", chosen)
    return sentence(report)
