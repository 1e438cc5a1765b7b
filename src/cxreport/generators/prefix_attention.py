"""How much a language model looks at the image tokens of its prefix while it writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cxreport.errors import UserError
from cxreport.generators.language_search import Prefix, joined

if TYPE_CHECKING:
    from cxreport.generators.language_models import LanguageModel


def image_attention(
    model: LanguageModel, prefix: Prefix, ids: Tensor, mask: Tensor, places: Tensor, count: int
) -> Tensor:
    """Attention (B, T, `count`) to each image token before each of ids (B, T) was written.

    ``places`` (B, P) numbers the image tokens of the prefix from 0, -1 elsewhere; `mask` (B, T) are the real
    ids. The mean over layers and heads, from one pass over the whole text. UserError for a language model
    that cannot give its attention.
    """
    embeddings, seen, positions = joined(prefix, model.embed(ids), mask)
    network = model.network
    fast = network.config._attn_implementation
    try:
        network.set_attn_implementation("eager")
        found = network(
            inputs_embeds=embeddings,
            attention_mask=seen.long(),
            position_ids=positions,
            use_cache=False,
            output_attentions=True,
        ).attentions
    finally:
        network.set_attn_implementation(fast)
    if not found or any(layer is None for layer in found):
        raise UserError("This language model does not give its attention; ask for evidence: gradient.")
    length = prefix.mask.shape[1]
    weights = torch.stack([layer.float().mean(dim=1) for layer in found]).mean(dim=0)
    weights = weights[:, length - 1 : -1, :length]  # an id is chosen at the place before it
    at_image = weights.new_zeros(*weights.shape[:2], count + 1)
    at_image.scatter_add_(2, (places + 1).unsqueeze(1).expand_as(weights), weights)
    return at_image[:, :, 1:]


def numbered(lengths: Sequence[int], image: Sequence[bool], masks: Sequence[Tensor]) -> tuple[Tensor, int]:
    """Numbers (B, P) of the image tokens among pieces of a prompt, -1 elsewhere, and how many there are.

    The pieces have `lengths`; `masks` (B, length) say which of their tokens exist. Gaps close as those of
    :meth:`cxreport.generators.language_search.Prefix.of` do.
    """
    numbers: list[int] = []
    count = 0
    for length, is_image in zip(lengths, image, strict=True):
        numbers += range(count + 1, count + length + 1) if is_image else [0] * length
        count += length if is_image else 0
    mask = torch.cat(list(masks), dim=1)
    marked = torch.tensor(numbers, dtype=torch.float64, device=mask.device)
    moved = Prefix.of(marked[None, :, None].expand(len(mask), -1, -1), mask)
    return moved.embeddings.squeeze(2).long() - 1, count
