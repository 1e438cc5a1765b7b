"""R2GenCMN (Chen et al., "Cross-modal Memory Networks for Radiology Report Generation", ACL 2021)."""

from __future__ import annotations

from cxreport.generators.cross_modal_transformer import CrossModalTransformer
from cxreport.generators.word_generator import WordGenerator
from cxreport.model_options import R2GenCMNOptions


class R2GenCMN(WordGenerator):
    """R2Gen except the memory: patches and words read one shared matrix, and patches have a position."""

    options: R2GenCMNOptions
    network: CrossModalTransformer

    def build_network(self, words: int, feature_width: int) -> CrossModalTransformer:
        """The transformer with a cross-modal memory."""
        return CrossModalTransformer(words, feature_width, self.options)
