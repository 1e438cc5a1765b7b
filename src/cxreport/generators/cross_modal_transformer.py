"""R2GenCMN's encoder-decoder: what patches and words read in a shared memory is added to them.

Source: Chen et al., ACL 2021; published ``modules/base_cmn.py``. B studies, N patches, T words, K beams, D
the model width.
"""

from __future__ import annotations

from torch import Tensor

from cxreport.errors import UserError
from cxreport.generators.encoder_decoder import POSITIONS, EncoderDecoder, EncoderDecoderStepper
from cxreport.generators.transformer import Conditions, Places
from cxreport.memories.cross_modal import CrossModalMemory
from cxreport.memories.layers import UnbiasedLayerNorm
from cxreport.model_options import R2GenCMNOptions


class CrossModalTransformer(EncoderDecoder):
    """Encoder-decoder with plain norms over inputs that a cross-modal memory has enriched."""

    memory: CrossModalMemory

    def __init__(self, words: int, feature_width: int, options: R2GenCMNOptions) -> None:
        width = options.width
        super().__init__(
            words,
            feature_width,
            options,
            memory=lambda: CrossModalMemory(
                width, options.memory_rows, options.heads, options.memory_top, options.dropout
            ),
            norm=lambda: UnbiasedLayerNorm(width),
        )
        self.memory.reset_matrix()

    def enrich(self, patches: Tensor) -> Tensor:
        """Patches (B, N, D) with the memory's response and then their position, one after another.

        Raises UserError for more patches than there are positions.
        """
        if patches.shape[1] > POSITIONS:
            raise UserError(
                f"A study has {patches.shape[1]} patches and R2GenCMN has positions for {POSITIONS}; take a"
                " smaller data.image_size or a larger patch."
            )
        enriched = patches + self.memory(patches).response
        placed: Tensor = self.embedding_dropout(enriched + self.positions[: patches.shape[1]])
        return placed

    def remember(self, x: Tensor, places: Places | None) -> tuple[Tensor, Conditions]:
        """Embedded ids with the memory's response; the norms take no condition."""
        x = x if places is None else places.rows(x)
        return x + self.memory(x).response, ()

    def stepper(self, context: Tensor, context_mask: Tensor | None) -> CrossModalStepper:
        """A search over `context` (B, N, D)."""
        return CrossModalStepper(self, context, context_mask)


class CrossModalStepper(EncoderDecoderStepper):
    """Projects the memory once for all words."""

    def __init__(self, network: CrossModalTransformer, context: Tensor, context_mask: Tensor | None) -> None:
        super().__init__(network, context, context_mask)
        self._memory = network.memory
        self._rows = network.memory.keys_values()

    def remember(self, x: Tensor) -> tuple[Tensor, Conditions]:
        """x (B, K, D) with the memory's response."""
        return x + self._memory(x, self._rows).response, ()
