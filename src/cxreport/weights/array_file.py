"""Other people's pickles of NumPy arrays in lists and mappings, read without running them.

The instructions are carried out by :mod:`cxreport.weights.machine`; arrays are made from their bytes here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxreport.weights.machine import (
    MOST_FILE_BYTES,
    Inert,
    Machine,
    Name,
    RefusedError,
    Unbuilt,
    plain_set,
    sentences,
)

MOST_INSTRUCTIONS = 500_000_000
"""A bank of 5 million vectors has some 20 instructions each."""
MOST_NESTED = 16
"""Lists and mappings inside each other."""

_KINDS = frozenset({"f2", "f4", "f8", "b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))})


class _Kind(Unbuilt):
    """``numpy.dtype`` of plain numbers."""

    def __init__(self, name: Any, *_: Any) -> None:
        text = name if isinstance(name, str) else ""
        if text.lstrip("<>|=") not in _KINDS:
            raise RefusedError(f"has an array of the kind {text or type(name).__name__!r}, not of numbers")
        self.dtype = np.dtype(text)

    def build(self, state: Any) -> None:
        """(version, byte order, ...)."""
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise ValueError("a kind of numbers has no byte order")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(Unbuilt):
    """``numpy.ndarray``, empty until it is built."""

    def __init__(self, value: NDArray[Any] | None = None) -> None:
        self.value = value

    def build(self, state: Any) -> None:
        """(version, shape, kind, whether column by column, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("an array has no content")
        _, shape, kind, by_columns, content = state
        self.value = _filled(content, kind, shape, "F" if by_columns else "C")


def read_arrays_file(path: Path) -> Any:
    """What a pickle of arrays, lists, mappings, text and numbers holds.

    Raises UserError, and runs nothing, for a file that asks for anything else (which is named), is cut off or
    damaged, or claims more bytes than it has.
    """
    with sentences(path), path.open("rb") as file:
        machine = Machine(_CONSTRUCTORS, _INERT, _no_storage, MOST_FILE_BYTES, MOST_INSTRUCTIONS)
        return _plain(machine.run(file), {}, 0)


def _filled(content: Any, kind: Any, shape: Any, order: Any) -> NDArray[Any]:
    if not isinstance(kind, _Kind) or order not in ("C", "F"):
        raise ValueError("an array has no kind of numbers")
    if not isinstance(shape, tuple) or any(type(side) is not int or side < 0 for side in shape):
        raise ValueError("an array has an impossible shape")
    if not isinstance(content, bytes | bytearray) or len(content) != math.prod(shape) * kind.dtype.itemsize:
        raise ValueError("an array has another number of bytes than its shape says")
    return np.frombuffer(content, kind.dtype).reshape(shape, order=order)


def _empty_array(of: Any, *_: Any) -> _Array:
    if not isinstance(of, Name) or of.name != "numpy.ndarray":
        raise RefusedError("has an array of a class of its own")
    return _Array()


def _array(content: Any, kind: Any, shape: Any, order: Any) -> _Array:
    return _Array(_filled(content, kind, shape, order))


def _number(kind: Any, content: Any) -> Any:
    return _filled(content, kind, (1,), "C")[0].item()


def _bytes(text: Any, encoding: Any) -> bytes:
    """Protocol 2 writes bytes as Latin-1 text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("bytes are written in an unknown way")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Protocol 2 calls ``bytes`` for those of an empty array."""
    return b""


def _mapping(*_: Any) -> dict[Any, Any]:
    """An empty mapping; its items come as instructions."""
    return {}


def _no_storage(_: Any) -> Any:
    raise RefusedError("holds tensors of torch, not arrays of NumPy")


_CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": _Kind,
    "_codecs.encode": _bytes,
    "__builtin__.bytes": _no_bytes,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _mapping,
    "builtins.set": plain_set,
    "__builtin__.set": plain_set,
}
_CONSTRUCTORS |= {
    f"numpy.{core}.{name}": make
    for core in ("core", "_core")
    for name, make in (
        ("multiarray._reconstruct", _empty_array),
        ("multiarray.scalar", _number),
        ("numeric._frombuffer", _array),
    )
}
_INERT = frozenset({"numpy.ndarray", "builtins.list", "__builtin__.list"})


def _plain(value: Any, done: dict[int, Any], depth: int) -> Any:
    """`value` with arrays in the place of ours; what stands in it twice is looked at once."""
    if depth > MOST_NESTED:
        raise RefusedError(f"has more than {MOST_NESTED} lists inside each other")
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array has no content")
        return value.value
    if isinstance(value, Inert | Name | Unbuilt):
        raise RefusedError("holds something else than arrays, lists, mappings, text and numbers")
    if not isinstance(value, list | tuple | dict):
        return value
    if id(value) not in done:
        if isinstance(value, dict):
            made: Any = {key: _plain(each, done, depth + 1) for key, each in value.items()}
        else:
            made = [_plain(each, done, depth + 1) for each in value]
        done[id(value)] = made
    return done[id(value)]
