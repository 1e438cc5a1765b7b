"""MambaXray-VL, stage 3 (Wang et al., "CXPMRG-Bench", CVPR 2025): a Vision Mamba before a frozen Llama.

Source: published ``CXPMRG_Bench_MambaXray_VL``. Stages 1 and 2 are pre-training (``recipes/mambaxray``).
"""

from __future__ import annotations

from cxreport.encoders import Encoder
from cxreport.encoders.vision_mamba import VisionMamba
from cxreport.errors import UserError
from cxreport.generators.language_models import LanguageModel
from cxreport.generators.prefix_lm import PrefixLM
from cxreport.model_options import MambaXrayOptions


class MambaXray(PrefixLM):
    """The frame itself behind a Vision Mamba with four scans, all of which is trained.

    The language model reads every token of the encoder, (h w + 1) of them with the class token at place
    h w // 2: 197 at 224 px.
    """

    options: MambaXrayOptions

    def __init__(self, options: MambaXrayOptions, encoder: Encoder, language_model: LanguageModel) -> None:
        if not isinstance(encoder, VisionMamba) or encoder.shape.scans == 1:
            raise UserError(
                "model.encoder.name: mambaxray reads a Vision Mamba with four scans, such as"
                f" vision_mamba_base, not {options.encoder.name}; weights of a causal one (stage 1) become"
                " four scans through model.encoder.init."
            )
        super().__init__(options, encoder, language_model)
