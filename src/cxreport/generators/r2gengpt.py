"""R2GenGPT (Wang et al., Meta-Radiology 2023): image tokens before the text of a frozen language model.

Source: published ``models/R2GenGPT.py`` with Swin-base and Llama-2-7b-chat.
"""

from __future__ import annotations

from cxreport.generators.prefix_lm import PrefixLM
from cxreport.model_options import R2GenGPTOptions


class R2GenGPT(PrefixLM):
    """The frame itself.

    With ``variant: shallow`` the projection and its norm alone are trained, with ``delta`` also low-rank
    updates of the encoder's attention, with ``deep`` the whole encoder.
    """

    options: R2GenGPTOptions
