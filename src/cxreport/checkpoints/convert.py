"""Published files of weights to encoder folders, every key accounted for, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cxreport import __version__
from cxreport.checkpoints.kinds import BANK_KIND, GENERATOR_KINDS, KINDS, PREFIX_KINDS, Kind
from cxreport.checkpoints.name_map import NameMap, listed, load_published, to_published
from cxreport.encoders import build_encoder, entry_of
from cxreport.encoders.folder import load_weights, read_options, save_encoder
from cxreport.errors import UserError
from cxreport.options import EncoderOptions
from cxreport.weights.folder import digest_of, write_tensors
from cxreport.weights.torch_file import is_plain, read_weights_file

ENTRIES = ("model", "state_dict", "student")
"""Where training scripts put the weights; a file may also be the weights themselves."""

_PARALLEL = "module."
"""What training on several devices puts before every key."""


@dataclass(slots=True)
class Account:
    """What became of every tensor of a file; ``dropped`` lists keys by what they are."""

    entry: str
    kept: int = 0
    renamed: int = 0
    filled: list[str] = field(default_factory=list)
    dropped: dict[str, list[str]] = field(default_factory=dict)
    dtypes: dict[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The account in sentences."""
        where = f" from its entry {self.entry}" if self.entry else ""
        lines = [f"Kept{where}, checked to come back unchanged: {self.kept}."]
        if self.renamed:
            lines.append(f"Kept under an older name: {self.renamed}.")
        if self.filled:
            lines.append(f"Absent counters of batches set to 0: {len(self.filled)}.")
        for dtype, count in self.dtypes.items():
            if dtype not in ("float32", "int64"):
                lines.append(f"Turned from {dtype} into our type: {count}.")
        for what, keys in self.dropped.items():
            lines.append(f"Dropped, {what}: {len(keys)} ({listed(keys)}).")
        return lines


@dataclass(frozen=True, slots=True)
class Converted:
    """A folder that was written, the options that build its encoder, and the account of its tensors."""

    folder: Path
    options: EncoderOptions
    account: Account


def convert_encoder(path: Path, kind_name: str, folder: Path, heads: int | None = None) -> Converted:
    """Read a published file and write an encoder folder.

    `heads` are those of a vision transformer of another width than the named ones. Raises UserError, and
    writes nothing, for a file that :func:`read_weights_file` refuses, of another kind, with a key that is
    unknown or missing, or with a value that is not finite.
    """
    kind = kind_of(kind_name)
    tree = read_weights_file(path)
    try:
        weights, account = accounted(tree, kind)
        options = options_of(weights, kind, kind_name, heads)
        encoder = build_encoder(options)
        names = kind.names(encoder)
        _fill_counters(weights, names.published, kind, account)
        load_published(encoder, weights, names)
        check_round_trip(encoder, weights, names)
    except UserError as error:
        raise UserError(f"{path} is not converted: {uncapitalised(error)}") from None
    account.kept = len(weights) - len(account.filled)
    save_encoder(
        folder, encoder, options, provenance(path, kind_name, kind.title, tree, account, options.name)
    )
    return Converted(folder, options, account)


def publish_encoder(folder: Path, kind_name: str, path: Path) -> int:
    """Write an encoder folder's weights under their published names, as safetensors; how many there are."""
    kind = kind_of(kind_name)
    options = read_options(folder)
    encoder = build_encoder(options)
    load_weights(encoder, folder)
    try:
        tensors = {
            f"{kind.prefix}{key}": value for key, value in to_published(encoder, kind.names(encoder)).items()
        }
    except (AttributeError, UserError):
        raise UserError(
            f"{folder} holds a {options.name}, which is no encoder of kind {kind_name}."
        ) from None
    write_tensors(path, tensors)
    return len(tensors)


def kind_of(name: str) -> Kind:
    """The kind called `name`; UserError for an unknown one."""
    if name not in KINDS:
        known = [*KINDS, *GENERATOR_KINDS, *PREFIX_KINDS, BANK_KIND]
        raise UserError(f"Unknown kind {name!r}; choose {', '.join(known)}.")
    return KINDS[name]


def accounted(tree: Any, kind: Kind) -> tuple[dict[str, Tensor], Account]:
    """The tensors of the encoder under their published names without the prefix, and the account."""
    entry, state = state_dict_of(tree)
    account = Account(entry)
    if all(key.startswith(_PARALLEL) for key in state):
        state = {key.removeprefix(_PARALLEL): value for key, value in state.items()}
    weights: dict[str, Tensor] = {}
    prefixed = any(key.startswith(kind.prefix) for key in state)
    for key, value in state.items():
        inside = key.startswith(kind.prefix) or not prefixed
        name = _renamed(key.removeprefix(kind.prefix), kind.renames) if inside else key
        what = _reason(name, kind.dropped if inside else kind.others)
        if what:
            account.dropped.setdefault(what, []).append(key)
            continue
        if name in weights:
            raise UserError(f"It has {key} twice, under an older and a newer name.")
        weights[name] = value
        account.renamed += inside and name != key.removeprefix(kind.prefix)
        dtype = str(value.dtype).removeprefix("torch.")
        account.dtypes[dtype] = account.dtypes.get(dtype, 0) + 1
    return weights, account


def state_dict_of(tree: Any) -> tuple[str, dict[str, Tensor]]:
    """The weights of a file and the entry that holds them, "" for the file itself."""
    if not isinstance(tree, dict):
        raise UserError("it holds no mapping of names to tensors.")
    for entry in ENTRIES:
        if isinstance(tree.get(entry), dict) and tree[entry]:
            break
    else:
        entry = ""
    state = tree[entry] if entry else tree
    others = [
        str(key) for key, value in state.items() if not isinstance(value, Tensor) or not isinstance(key, str)
    ]
    if others or not state:
        raise UserError(
            f"the weights stand in none of its entries {', '.join(ENTRIES)}, and these of its entries are no"
            f" tensors: {listed(sorted(others)) or 'it is empty'}."
        )
    return entry, state


def check_round_trip(module: nn.Module, weights: Mapping[str, Tensor], names: NameMap) -> None:
    """UserError unless every tensor comes back as it was, is finite and of the same kind of numbers."""
    back = to_published(module, names)
    found: dict[str, list[str]] = {}
    for key in weights.keys() - names.derived.keys():
        if problem := _problem(weights[key], back[key]):
            found.setdefault(problem, []).append(key)
    for problem, keys in found.items():
        raise UserError(f"These tensors {problem}: {listed(sorted(keys))}.")


def _problem(value: Tensor, back: Tensor) -> str | None:
    if value.is_floating_point() != back.is_floating_point():
        return "are no floating-point numbers where they must, or the reverse"
    if value.is_floating_point() and not value.isfinite().all():
        return "hold NaN or infinite values"
    return None if torch.equal(value.to(back.dtype), back) else "do not come back as they were"


def uncapitalised(error: Exception) -> str:
    """A sentence that goes on after a colon."""
    sentence = str(error)
    return sentence[:1].lower() + sentence[1:]


def provenance(
    path: Path, kind: str, title: str, tree: Any, account: Account, encoder: str | None
) -> dict[str, Any]:
    """Where a converted folder comes from, ready for JSON; no folder names."""
    plain = {str(key): value for key, value in tree.items() if is_plain(value)}
    entry = entry_of(encoder) if encoder else None
    return {
        "converted_from": {
            "file": path.name,
            "bytes": path.stat().st_size,
            "sha256": digest_of(path),
            "kind": kind,
            "title": title,
            "entry": account.entry,
            "values": plain,
        },
        "published": {"source": entry.source, "licence": entry.licence} if entry else {},
        "tensors": {
            "kept": account.kept,
            "renamed": account.renamed,
            "filled": account.filled,
            "dropped": account.dropped,
            "dtypes": account.dtypes,
        },
        "versions": {"cxreport": __version__, "torch": torch.__version__},
    }


def _renamed(name: str, renames: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def _reason(name: str, rules: Iterable[tuple[str, str]]) -> str | None:
    return next((what for pattern, what in rules if re.match(pattern, name)), None)


def options_of(
    weights: Mapping[str, Tensor], kind: Kind, kind_name: str, heads: int | None = None
) -> EncoderOptions:
    """The encoder's shape from the tensors' shapes; UserError for a file of another kind."""
    if not _looks_like(weights, kind):
        alike = [name for name, each in KINDS.items() if _looks_like(weights, each)]
        hint = f"it looks like {' or '.join(alike)}" if alike else f"the kinds are {', '.join(KINDS)}"
        raise UserError(f"It is no file of kind {kind_name} ({kind.title}); {hint}.")
    try:
        return kind.options(weights, heads)
    except (KeyError, IndexError, ValueError) as error:
        missing = f"has no {error.args[0]}" if isinstance(error, KeyError) else f"does not fit: {error}"
        raise UserError(f"It is no whole file of kind {kind_name} ({kind.title}), it {missing}.") from None


def _looks_like(weights: Mapping[str, Tensor], kind: Kind) -> bool:
    keys = (_renamed(key.removeprefix(kind.prefix), kind.renames) for key in weights)
    return any(re.match(kind.signature, key) for key in keys)


def _fill_counters(weights: dict[str, Tensor], known: set[str], kind: Kind, account: Account) -> None:
    if kind.counters:
        account.filled = sorted(key for key in known - weights.keys() if key.endswith(".num_batches_tracked"))
        weights |= {key: torch.tensor(0) for key in account.filled}
