"""Other people's files of weights: safetensors and what ``torch.save`` writes, read without running it.

Of ``torch.save`` both layouts are read: the zip of torch 1.6 and later, and the row of pickles before it. A
file may hold tensors, numbers, text, lists, tuples, sets and mappings; everything else is refused by name.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cxreport.weights.machine import (
    DAMAGE,
    MOST_BYTES,
    Inert,
    Machine,
    Name,
    RefusedError,
    plain_set,
    sentences,
)

_STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
_DTYPES = {f"torch.{name}" for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)}

INERT = frozenset(
    {
        *_STORAGES,
        *_DTYPES,
        "argparse.Namespace",
        "lightning.fabric.utilities.data.AttributeDict",
        "lightning_fabric.utilities.data.AttributeDict",
        "pytorch_lightning.utilities.parsing.AttributeDict",
        "yacs.config.CfgNode",
        "numpy.dtype",
        "numpy.ndarray",
        "numpy.core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy._core.multiarray._reconstruct",
        "_codecs.encode",
        "torch.device",
        "torch.Size",
    }
)
"""Settings and numbers that training scripts save beside the weights: known, and read as nothing."""

_DAMAGE = (*DAMAGE, NotImplementedError, RuntimeError, zipfile.BadZipFile, SafetensorError)
"""What the readers of zip files, pickles, tensors and safetensors raise at nonsense."""

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def read_weights_file(path: Path) -> Any:
    """What a ``.safetensors`` file or one of ``torch.save`` holds, tensors on the CPU.

    Raises UserError, and runs nothing, for a file that holds more than tensors and plain values (the first
    such thing is named), is cut off or damaged, claims more bytes than it has, is compressed, or is none of
    these formats.
    """
    with sentences(path, _DAMAGE), path.open("rb") as file:
        return _read(file, path, path.stat().st_size)


def _read(file: IO[bytes], path: Path, size: int) -> Any:
    start = file.read(512)
    file.seek(0)
    if start.startswith(b"PK"):
        with zipfile.ZipFile(file) as archive:
            return _read_zip(archive, size)
    if start[257:262] == b"ustar":
        raise RefusedError("is a tar archive, the format of torch before 0.1.12")
    if start[8:9] == b"{":
        return load_file(path)
    return _read_row(file, size)


@dataclass(slots=True)
class _Storages:
    """The tensors' memory, one flat tensor a key, and no more of it than the file has bytes."""

    size: int
    read: Callable[[str, torch.dtype, int], Tensor]
    found: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, pid: Any) -> Tensor:
        """The storage of a persistent id: "storage", type, key, device, number of values."""
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage" or any(pid[5:]):
            raise RefusedError("has a storage of a kind unknown here")
        _, kind, key, _, count = pid[:5]
        dtype = _STORAGES.get(kind.name) if isinstance(kind, Name) else None
        if dtype is None or not isinstance(key, str) or type(count) is not int or count < 0:
            raise RefusedError("has a storage of a kind unknown here")
        if key not in self.found:
            self.size -= count * dtype.itemsize
            if self.size < 0:
                raise ValueError(f"storage {key} claims more bytes than the file has")
            self.found[key] = self.read(key, dtype, count)
        storage = self.found[key]
        if storage.dtype != dtype or storage.numel() != count:
            raise ValueError(f"storage {key} is described in two ways")
        return storage


def _tensor(
    storage: Tensor, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> Tensor:
    """A view of a storage that lies within it and has no more values than it."""
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, Tensor) or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("a tensor has an impossible shape")
    if len(shape) != len(strides):
        raise ValueError("a tensor has more sides than strides")
    values, last = 1, offset
    for side, stride in zip(shape, strides, strict=True):
        values *= side
        last += (side - 1) * stride
    if values and (last >= storage.numel() or values > storage.numel()):
        raise ValueError("a tensor reaches beyond its storage")
    return storage.as_strided(shape, strides, offset)


def _parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise ValueError("a parameter is no tensor")
    return data


def _mapping(pairs: Any = ()) -> dict[Any, Any]:
    """An empty mapping; Python 2 gave it its pairs at once."""
    found = {}
    for key, value in pairs:
        if not isinstance(key, str | int):
            raise RefusedError(f"has a key of type {type(key).__name__}")
        found[key] = value
    return found


CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _mapping,
    "__builtin__.set": plain_set,
    "builtins.set": plain_set,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}


def _read_zip(archive: zipfile.ZipFile, size: int) -> Any:
    """torch 1.6 and later: ``NAME/data.pkl`` and ``NAME/data/KEY``, all stored as they are."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED:
            raise RefusedError(f"has the compressed entry {entry.filename!r}")
        if entry.filename in entries:
            raise RefusedError(f"has the entry {entry.filename!r} twice")
        entries[entry.filename] = entry
    pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1 or any(name.endswith("/constants.pkl") for name in entries):
        raise RefusedError("is an archive of something else than torch.save's tensors")
    root = pickles[0].removesuffix("data.pkl")
    if sys.byteorder != "little" or (
        f"{root}byteorder" in entries and archive.read(f"{root}byteorder") != b"little"
    ):
        raise RefusedError("has another byte order than this machine")

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        entry = entries.get(f"{root}data/{key}")
        if entry is None or entry.file_size != count * dtype.itemsize:
            raise ValueError(f"storage {key} is absent or of another size")
        return (
            torch.frombuffer(bytearray(archive.read(entry)), dtype=dtype)
            if count
            else torch.empty(0, dtype=dtype)
        )

    if entries[pickles[0]].file_size > MOST_BYTES:
        raise RefusedError(f"has a pickle of more than {MOST_BYTES // 2**20} MB")
    file = io.BytesIO(archive.read(pickles[0]))
    return Machine(CONSTRUCTORS, INERT, _Storages(size, storage)).run(file)


def _read_row(file: IO[bytes], size: int) -> Any:
    """Before torch 1.6: pickles of a magic number, a version, the machine, the tree and keys, then bytes."""

    def no_storage(_: Any) -> Any:
        raise RefusedError("has a storage outside its tree")

    def value() -> Any:
        return Machine(CONSTRUCTORS, INERT, no_storage).run(file)

    try:
        magic = value()
    except ValueError:
        raise RefusedError("is neither a safetensors file nor one of torch.save") from None
    if magic != _MAGIC:
        raise RefusedError("is a pickle of something else than torch.save's tensors")
    machine = (value(), value())
    if machine[0] != _PROTOCOL or not isinstance(machine[1], dict) or not machine[1].get("little_endian"):
        raise RefusedError("was written by another version or on another kind of machine")
    storages = _Storages(size, lambda key, dtype, count: torch.empty(count, dtype=dtype))
    tree = Machine(CONSTRUCTORS, INERT, storages).run(file)
    keys = value()
    if not isinstance(keys, list) or any(not isinstance(key, str) for key in keys):
        raise ValueError("the keys of its storages are no text")
    if {*keys} != {*storages.found} or len(keys) != len(storages.found):
        raise ValueError("its storages are not those of its tensors")
    for key in keys:
        storage = storages.found[key]
        size = storage.numel() * storage.dtype.itemsize
        count, content = int.from_bytes(file.read(8), "little", signed=True), file.read(size)
        if count != storage.numel() or len(content) != size:
            raise ValueError(f"storage {key} is absent or of another size")
        if content:
            storage.copy_(torch.frombuffer(bytearray(content), dtype=storage.dtype))
    return tree


def is_plain(value: Any) -> bool:
    """Whether a value was read whole: a number or text, and no object without content."""
    return not isinstance(value, Inert | Name) and isinstance(value, str | int | float | bool)
