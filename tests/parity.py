"""Compare our modules with numbers of the published code.

    python tests/parity.py FILE...

Each FILE is an item's ``.safetensors`` (its ``.json`` lies beside it) or, for an item of texts, its
``.json``. The JSON names the item, its configuration and the tolerance. Prints the largest absolute and
relative difference of every output; the exit status is 1 when one is above the tolerance, and 2 for a file
that cannot be compared. A new item is one function in `goldens` and a line in
:data:`PARITY`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from goldens import CannotCompareError, Item, Values
from goldens.encoders_published import vmamba_ss2d
from goldens.memories import hopfield, qformer
from goldens.objectives import arm_pretrain, mae_hd
from goldens.prefix_ammrg import prefix_ammrg
from goldens.prefix_csr import prefix_csr
from goldens.prefix_lm import prefix_lm_batch
from goldens.r2gen import r2gen, r2gencmn
from goldens.texts import nlg_metrics, report_cleaners, word_tokenizer
from goldens.vision_mamba import arm_finetune
from safetensors import SafetensorError
from safetensors.torch import load_file

from cxreport.errors import UserError


@dataclass(frozen=True)
class Difference:
    """The largest difference of one output; ``limit`` says what was allowed."""

    output: str
    absolute: float
    relative: float
    limit: str
    within: bool


PARITY: dict[str, Callable[[Item], tuple[Values, Values]]] = {
    "r2gen": r2gen,
    "r2gencmn": r2gencmn,
    "vmamba_ss2d": vmamba_ss2d,
    "mae_hd": mae_hd,
    "arm_pretrain": arm_pretrain,
    "arm_finetune": arm_finetune,
    "qformer": qformer,
    "hopfield": hopfield,
    "prefix_lm_batch": prefix_lm_batch,
    "prefix_csr": prefix_csr,
    "prefix_ammrg": prefix_ammrg,
    "word_tokenizer": word_tokenizer,
    "report_cleaners": report_cleaners,
    "nlg_metrics": nlg_metrics,
}
"""Item to a function that returns our outputs and the published ones, by name."""


def compare(path: Path) -> list[Difference]:
    """The difference of every output of a file; raises :class:`CannotCompareError`."""
    item = _read(path)
    if item.json.get("item") not in PARITY:
        known = ", ".join(sorted(PARITY))
        raise CannotCompareError(f"{path} holds the unknown item {item.json.get('item')!r}; known: {known}.")
    try:
        with torch.no_grad():
            ours, published = PARITY[item.json["item"]](item)
    except (KeyError, UserError) as error:
        raise CannotCompareError(f"{path} cannot be compared: {error}") from error
    if missing := sorted(published.keys() - ours.keys()):
        raise CannotCompareError(f"{path} has outputs that nothing here computes: {', '.join(missing)}.")
    tolerance = item.json["tolerance"]
    return [_difference(name, ours[name], published[name], tolerance) for name in sorted(published)]


def main(arguments: Sequence[str]) -> int:
    """Print all differences; 0 within tolerance, 1 above, 2 for a file that cannot be compared."""
    if "--help" in arguments:
        print(__doc__)
        return 0
    if not arguments:
        print("usage: python tests/parity.py FILE.safetensors...", file=sys.stderr)
        return 2
    status = 0
    for argument in arguments:
        try:
            differences = compare(Path(argument))
        except CannotCompareError as error:
            print(error, file=sys.stderr)
            return 2
        print(argument)
        for each in differences:
            verdict = "ok" if each.within else "ABOVE"
            sizes = f"abs {each.absolute:9.2e}  rel {each.relative:9.2e}"
            print(f"  {each.output:34} {sizes}  {each.limit:24} {verdict}")
            status = status if each.within else 1
    return status


def _read(path: Path) -> Item:
    description = path.with_suffix(".json")
    try:
        tree = json.loads(description.read_text(encoding="utf-8"))
        tensors = load_file(path) if path.suffix == ".safetensors" else {}
    except (OSError, ValueError, SafetensorError) as error:
        raise CannotCompareError(f"{path} cannot be read, or not the JSON beside it: {error}.") from None
    if not isinstance(tree, dict):
        raise CannotCompareError(f"{description} does not describe an item.")

    def group(prefix: str) -> dict[str, torch.Tensor]:
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

    return Item(path, tree, group("weights."), group("inputs."), group("outputs."))


def _difference(name: str, ours: Any, published: Any, tolerance: Any) -> Difference:
    """Floating-point outputs within atol + rtol, everything else exactly."""
    if not _is_float(published):
        same = torch.equal(ours, published) if isinstance(published, torch.Tensor) else ours == published
        return Difference(name, 0.0 if same else np.inf, 0.0 if same else np.inf, "exact", same)
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(published, dtype=np.float64)
    own = tolerance.get(name)
    atol, rtol = (own, 0.0) if isinstance(own, int | float) else (tolerance["atol"], tolerance["rtol"])
    limit = f"atol {atol:g} rtol {rtol:g}"
    if a.shape != b.shape:
        return Difference(name, np.inf, np.inf, limit, False)
    absolute = np.abs(a - b)
    relative = absolute / np.maximum(np.abs(b), np.finfo(np.float32).tiny)
    within = bool(np.all(absolute <= atol + rtol * np.abs(b)))
    return Difference(name, float(absolute.max(initial=0)), float(relative.max(initial=0)), limit, within)


def _is_float(value: Any) -> bool:
    return value.is_floating_point() if isinstance(value, torch.Tensor) else isinstance(value, float)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
