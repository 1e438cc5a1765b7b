"""Faster inference of an encoder on a CPU, chosen by measuring on the machine that will run it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxreport.encoders import Encoder

WITHIN = 1e-2
"""The largest allowed difference of a token, as a share of the largest value."""
LEAST = 1.3
"""How many times faster a change must be to be taken."""


class BFloat16Linear(nn.Module):
    """A linear layer whose product runs in bfloat16 with float32 sums; its input and output stay float32.

    Several times faster where the processor multiplies bfloat16 (AMX, AVX-512 BF16), slower elsewhere.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", linear.weight.detach().bfloat16())
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().bfloat16())

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) to (..., K)."""
        return functional.linear(x.bfloat16(), self.weight, self.bias).to(x.dtype)


def fast(
    encoder: Encoder, images: Tensor, least: float = LEAST, within: float = WITHIN, repeats: int = 5
) -> tuple[Encoder, dict[str, Any]]:
    """The fastest form of `encoder` for inference on images like these, and how it was chosen.

    Tried are bfloat16 products, ``torch.compile`` (which needs a C++ compiler), and both. A form is taken
    when it is `least` times faster and no token differs by more than `within` of the largest value;
    otherwise `encoder` itself comes back. The report has ``choice``, ``ratio`` and ``forms``: per form its
    ``seconds``, ``ratio`` and ``difference``, or the ``reason`` why it cannot run here. ``encoder`` is in
    evaluation mode and is not changed; the result is for inference only.
    """
    expected = _tokens(encoder, images)
    forms: list[dict[str, Any]] = []
    best, choice, ratio = encoder, "unchanged", 1.0
    for name, change in _FORMS.items():
        try:
            form = change(copy.deepcopy(encoder))
            difference = float((_tokens(form, images) - expected).abs().max() / expected.abs().max())
            plain, seconds = _seconds((encoder, form), images, repeats)
        except Exception as error:  # a compiler fails in ways of its own; each is told, none is fatal
            first = str(error).strip().partition("\n")[0]
            forms.append({"form": name, "reason": f"{type(error).__name__}: {first}"})
            continue
        forms.append({"form": name, "seconds": seconds, "ratio": plain / seconds, "difference": difference})
        if plain / seconds >= max(least, ratio) and difference <= within:
            best, choice, ratio = form, name, plain / seconds
    return best, {"choice": choice, "ratio": ratio, "forms": forms}


def sentence(report: dict[str, Any]) -> str:
    """What :func:`fast` did, for people."""
    parts = [
        f"{each['form']} cannot run here ({each['reason']})" for each in report["forms"] if "reason" in each
    ]
    parts += [
        f"{each['form']} is {each['ratio']:.2f} times as fast and differs by {each['difference']:.1e}"
        for each in report["forms"]
        if "reason" not in each
    ]
    return f"Fast inference: {report['choice']}; {'; '.join(parts)}."


def with_bfloat16_products(encoder: Encoder) -> Encoder:
    """`encoder` with every linear layer replaced by :class:`BFloat16Linear`."""
    for module in list(encoder.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, BFloat16Linear(child))
    return encoder


def compiled(encoder: Encoder) -> Encoder:
    """`encoder` with its blocks compiled (equal blocks share their code), or else the whole of it."""
    blocks = getattr(encoder, "blocks", None)
    for block in blocks if isinstance(blocks, nn.ModuleList) else ():
        block.compile(dynamic=False)
    if blocks is None:
        encoder.encode = torch.compile(encoder.encode, dynamic=False)  # type: ignore[method-assign]
    return encoder


_FORMS: dict[str, Callable[[Encoder], Encoder]] = {
    "bfloat16 products": with_bfloat16_products,
    "compiled": compiled,
    "compiled with bfloat16 products": lambda encoder: compiled(with_bfloat16_products(encoder)),
}


@torch.inference_mode()
def _tokens(encoder: Encoder, images: Tensor) -> Tensor:
    return encoder(images).patches.float()


@torch.inference_mode()
def _seconds(encoders: Sequence[Encoder], images: Tensor, repeats: int) -> list[float]:
    """The least time of each; they take turns, so that a busy moment of the machine hits all."""
    found: list[list[float]] = [[] for _ in encoders]
    for _ in range(repeats + 1):
        for encoder, seconds in zip(encoders, found, strict=True):
            start = time.perf_counter()
            encoder(images)
            seconds.append(time.perf_counter() - start)
    return [min(seconds[1:]) for seconds in found]
