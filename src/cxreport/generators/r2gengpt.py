"""R2GenGPT (Wang et al., Meta-Radiology 2023): image tokens before the text of a frozen language model.

Source: published ``models/R2GenGPT.py`` with Swin-base and Llama-2-7b-chat.
"""

from __future__ import annotations

from cxreport.encoders import Encoder
from cxreport.generators.language_models import LanguageModel
from cxreport.generators.low_rank import add_low_rank
from cxreport.generators.prefix_lm import PrefixLM
from cxreport.model_options import R2GenGPTOptions


class R2GenGPT(PrefixLM):
    """The frame itself, with three ways to treat the encoder.

    ``shallow`` trains the projection and its norm alone, ``delta`` also low-rank updates of the encoder's
    attention, ``deep`` the whole encoder.
    """

    options: R2GenGPTOptions

    def __init__(self, options: R2GenGPTOptions, encoder: Encoder, language_model: LanguageModel) -> None:
        super().__init__(options, encoder, language_model)
        if options.variant == "shallow":
            self.freeze_encoder()
        elif options.variant == "delta":
            add_low_rank(encoder, options.encoder_lora)
