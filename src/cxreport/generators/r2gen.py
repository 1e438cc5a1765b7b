"""R2Gen (Chen et al., "Generating Radiology Reports via Memory-driven Transformer", EMNLP 2020)."""

from __future__ import annotations

from torch import Tensor

from cxreport.generators.memory_transformer import MemoryTransformer
from cxreport.generators.transformer import grid_position_table
from cxreport.generators.word_generator import WordGenerator
from cxreport.model_options import R2GenOptions


class R2Gen(WordGenerator):
    """A relational memory over the words written so far drives the decoder's norms."""

    options: R2GenOptions
    network: MemoryTransformer

    def build_network(self, words: int, feature_width: int) -> MemoryTransformer:
        """The memory-driven transformer."""
        return MemoryTransformer(words, feature_width, self.options)

    def patch_positions(self, grid: tuple[int, int], views: int) -> Tensor | None:
        """The place of every patch in its grid where the options ask for it."""
        if not self.options.patch_positions:
            return None
        return grid_position_table(*grid, self.options.width).repeat(views, 1)
