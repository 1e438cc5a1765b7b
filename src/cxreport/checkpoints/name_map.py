"""Name maps between published weights and ours, one file a system in ``cxreport.checkpoints.published``.

Published state dicts load through a map that accounts for every key of both sides: paired, or derived
(a table that follows from the configuration, checked on the way in and written on the way out).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cxreport.errors import UserError


@dataclass(frozen=True, slots=True)
class NameMap:
    """``pairs`` maps published keys to ours; ``derived`` maps published keys to the values they must have.

    Published keys with the same key of ours must hold the same values. ``joined`` maps our keys to the
    published ones that they hold one after another along the first dimension, in equal parts; ``split`` maps
    published keys to the keys of ours that they hold one after another.
    """

    pairs: dict[str, str]
    derived: dict[str, Tensor] = field(default_factory=dict)
    joined: dict[str, tuple[str, ...]] = field(default_factory=dict)
    split: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def prefixed(self, published: str, ours: str) -> NameMap:
        """The same map with a prefix before all keys of each side."""
        pairs = {published + key: ours + value for key, value in self.pairs.items()}
        derived = {published + key: value for key, value in self.derived.items()}
        joined = {ours + key: tuple(published + part for part in parts) for key, parts in self.joined.items()}
        split = {published + key: tuple(ours + part for part in parts) for key, parts in self.split.items()}
        return NameMap(pairs, derived, joined, split)

    def __or__(self, other: NameMap) -> NameMap:
        return NameMap(
            self.pairs | other.pairs,
            self.derived | other.derived,
            self.joined | other.joined,
            self.split | other.split,
        )

    @property
    def published(self) -> set[str]:
        """All published keys."""
        joined = (part for parts in self.joined.values() for part in parts)
        return {*self.pairs, *self.derived, *self.split, *joined}

    @property
    def ours(self) -> set[str]:
        """All our keys."""
        split = (part for parts in self.split.values() for part in parts)
        return {*self.pairs.values(), *self.joined, *split}


def load_published(module: nn.Module, weights: Mapping[str, Tensor], names: NameMap) -> None:
    """Copy published `weights` into `module`.

    Raises UserError that lists the names when a key is missing, unknown or of another shape, when a derived
    table has other values, or when keys that are one tensor of ours differ.
    """
    own = module.state_dict()
    _agree("keys of ours that the name map lacks", own.keys(), names.ours)
    _agree("published keys", weights.keys(), names.published)
    shapes = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(shape)}"
        for key, shape in _published_shapes(own, names).items()
        if weights[key].shape != shape
    ]
    if shapes:
        raise UserError(f"The published weights have other shapes than the configuration: {listed(shapes)}.")
    for key, value in names.derived.items():
        if weights[key].shape != value.shape or not torch.allclose(weights[key].to(value), value, atol=1e-5):
            raise UserError(f"The published table {key} differs from the one that the configuration gives.")
    found: dict[str, Tensor] = {}
    for key, ours in names.pairs.items():
        if ours in found and not torch.equal(found[ours], weights[key]):
            first = next(other for other, same in names.pairs.items() if same == ours)
            raise UserError(f"The published {key} must hold what {first} holds, and does not.")
        found[ours] = weights[key]
    for key, parts in names.split.items():
        sizes = [len(own[part]) for part in parts]
        found |= zip(parts, weights[key].split(sizes), strict=True)
    found |= {ours: torch.cat([weights[part] for part in parts]) for ours, parts in names.joined.items()}
    module.load_state_dict(found)


def to_published(module: nn.Module, names: NameMap) -> dict[str, Tensor]:
    """The weights of `module` under their published names, derived tables included."""
    own = module.state_dict()
    _agree("keys of ours that the name map lacks", own.keys(), names.ours)
    weights = {key: own[ours] for key, ours in names.pairs.items()} | names.derived
    for ours, parts in names.joined.items():
        weights |= zip(parts, own[ours].chunk(len(parts)), strict=True)
    return weights | {key: torch.cat([own[part] for part in parts]) for key, parts in names.split.items()}


def _published_shapes(own: Mapping[str, Tensor], names: NameMap) -> dict[str, torch.Size]:
    """The shape that each published key must have, from ours."""
    shapes = {key: own[ours].shape for key, ours in names.pairs.items()}
    for ours, parts in names.joined.items():
        shapes |= {part: piece.shape for part, piece in zip(parts, own[ours].chunk(len(parts)), strict=True)}
    for key, parts in names.split.items():
        shapes[key] = torch.Size([sum(len(own[part]) for part in parts), *own[parts[0]].shape[1:]])
    return shapes


def weight_and_bias(theirs: str, ours: str) -> dict[str, str]:
    """The pairs of a layer that keeps the names of its ``weight`` and ``bias``."""
    return {f"{theirs}.{part}": f"{ours}.{part}" for part in ("weight", "bias")}


def _agree(what: str, found: Iterable[str], known: Iterable[str]) -> None:
    found, known = set(found), set(known)
    missing, unknown = sorted(known - found), sorted(found - known)
    if missing or unknown:
        parts = [f"missing {listed(missing)}"] if missing else []
        parts += [f"unknown {listed(unknown)}"] if unknown else []
        raise UserError(f"The {what} do not match: {'; '.join(parts)}.")


def listed(names: list[str]) -> str:
    """The first eight names, and how many more there are."""
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
