"""R2Gen's encoder-decoder: a relational memory over what is being written conditions the decoder's norms.

Source: Chen et al., EMNLP 2020; published ``modules/encoder_decoder.py``. B studies, T words, K beams, D the
model width, S memory slots.
"""

from __future__ import annotations

from torch import Tensor

from cxreport.generators.encoder_decoder import EncoderDecoder, EncoderDecoderStepper
from cxreport.generators.transformer import Conditions, Places, take_beams
from cxreport.memories.relational import ConditionalLayerNorm, RelationalMemory
from cxreport.model_options import R2GenOptions


class MemoryTransformer(EncoderDecoder):
    """Encoder-decoder whose decoder is driven by a relational memory; patches get no position."""

    memory: RelationalMemory

    def __init__(self, words: int, feature_width: int, options: R2GenOptions) -> None:
        width, slots = options.width, options.memory_slots
        super().__init__(
            words,
            feature_width,
            options,
            memory=lambda: RelationalMemory(width, slots, options.memory_heads, options.dropout),
            norm=lambda: ConditionalLayerNorm(width, slots * width),
        )

    def remember(self, x: Tensor, places: Places | None) -> tuple[Tensor, Conditions]:
        """The embedded ids as they are; the memory after each of them (B, T, S*D) conditions the norms."""
        memory = self.memory(x)
        return (x, (memory,)) if places is None else (places.rows(x), (places.rows(memory),))

    def stepper(self, context: Tensor, context_mask: Tensor | None) -> MemoryStepper:
        """A search over `context` (B, N, D)."""
        return MemoryStepper(self, context, context_mask)


class MemoryStepper(EncoderDecoderStepper):
    """Also keeps each beam's memory."""

    def __init__(self, network: MemoryTransformer, context: Tensor, context_mask: Tensor | None) -> None:
        super().__init__(network, context, context_mask)
        self._relational = network.memory
        self._memory = network.memory.initial(context.shape[0]).unsqueeze(1)

    def remember(self, x: Tensor) -> tuple[Tensor, Conditions]:
        """Renew the memory with x (B, K, D)."""
        memory = self._relational.step(self._memory.flatten(0, 1), x.flatten(0, 1))
        self._memory = memory.unflatten(0, x.shape[:2])
        return x, (self._memory.flatten(2),)

    def reorder(self, beams: Tensor) -> None:
        """Beam k of study b continues what beam ``beams[b, k]`` (B, K) has written."""
        self._memory = take_beams(self._memory, beams)
        super().reorder(beams)
