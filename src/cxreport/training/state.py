"""The state that a run resumes from: one safetensors file, written in one step and checked when read.

Lightning would pickle it. Here the nested state (weights, optimiser, schedule, progress) is taken apart
into tensors and a JSON tree that refers to them; the tree and a sha256 over both are the file's metadata.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from cxreport.errors import UserError
from cxreport.training.files import remove, replaced, writing

FORMAT = "cxreport-run-state-1"


class SafetensorsState(CheckpointIO):
    """Lightning's way to write and read a checkpoint, without pickle."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write `checkpoint` to the file `path`, replacing an older one in one step."""
        with writing(Path(path).parent):
            save_state(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a file of :meth:`save_checkpoint`; tensors come back on the CPU."""
        return load_state(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete the file."""
        remove(Path(path))


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write nested dicts, lists and tuples of tensors and JSON values to one safetensors file.

    Raises TypeError for any other value, OSError or SafetensorError when the file cannot be written.
    """
    tensors: dict[str, torch.Tensor] = {}
    tree = json.dumps(_take_apart(state, tensors))
    with replaced(path) as part:
        save_file(tensors, part, metadata={"format": FORMAT, "tree": tree, "sha256": _digest(tree, tensors)})


def load_state(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote; UserError when the file is absent, damaged or something else."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"Cannot resume: {path} is absent or damaged ({error}); start again in a new folder."
        ) from None
    if metadata.get("format") != FORMAT:
        raise UserError(
            f"Cannot resume: {path} is not a training state of this version; start again in a new folder."
        )
    if _digest(metadata["tree"], tensors) != metadata["sha256"]:
        raise UserError(
            f"Cannot resume: {path} is damaged (its sha256 differs); start again in a new folder."
        )
    return _put_together(json.loads(metadata["tree"]), tensors)


def _take_apart(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"channels_last" if _is_channels_last(value) else "tensor": name}
    if isinstance(value, dict):
        if not all(isinstance(key, str | int) for key in value):
            raise TypeError(f"keys of a training state are strings or integers, not {list(value)[:3]!r}")
        return {"dict": [[key, _take_apart(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_take_apart(item, tensors) for item in value]}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(f"a training state cannot hold {type(value).__name__}")


def _put_together(tree: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "channels_last":
        return tensors[content].contiguous(memory_format=torch.channels_last)
    if kind == "dict":
        return {key: _put_together(item, tensors) for key, item in content}
    items = [_put_together(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items


def _is_channels_last(tensor: torch.Tensor) -> bool:
    """The layout is kept because arithmetic on another one may round differently."""
    other = tensor.dim() == 4 and not tensor.is_contiguous()
    return other and tensor.is_contiguous(memory_format=torch.channels_last)


def _digest(tree: str, tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(tree.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
