"""Other people's files: what is read equals what was saved; what runs programs is refused by name."""

from __future__ import annotations

import argparse
import builtins
import contextlib
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from cxreport.errors import UserError
from cxreport.weights import machine, torch_file
from cxreport.weights.torch_file import is_plain, read_weights_file

LAYOUTS = {"zip": True, "row": False}


def save(tree: Any, path: Path, layout: str = "zip") -> Path:
    torch.save(tree, path, _use_new_zipfile_serialization=LAYOUTS[layout])
    return path


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, Tensor):
        return isinstance(ours, Tensor) and ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    if isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(same(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list | tuple):
        return type(ours) is type(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(theirs) and ours == theirs


def a_training_state() -> dict[str, Any]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    base = torch.randn(4, 6)
    dtypes = (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool)
    return {
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "views": [base.t(), base[1], base[1:3, ::2], base.flatten()],
        "types": {str(dtype): torch.ones(3).to(dtype) for dtype in dtypes},
        "empty": (torch.empty(0, 3), torch.tensor(2.5), nn.Parameter(torch.ones(2))),
        "plain": {
            "epoch": 3,
            "big": 2**80,
            "negative": -7,
            "rate": 0.25,
            "text": "ü",
            "none": None,
            "yes": True,
        },
        "containers": [(), (1,), (1, 2, 3, 4), [], {}, {1, 2}, {5: "five"}],
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_saved_is_read(layout: str, tmp_path: Path) -> None:
    tree = a_training_state()
    found = read_weights_file(save(tree, tmp_path / "w.pth", layout))
    assert same(found["model"], dict(tree["model"]))
    assert found["views"][0].untyped_storage().data_ptr() == found["views"][1].untyped_storage().data_ptr()
    for key in ("optimizer", "views", "types", "plain", "containers"):
        assert same(found[key], tree[key]), key
    assert all(map(torch.equal, found["empty"], tree["empty"]))
    assert type(found["empty"][2]) is Tensor


@pytest.mark.parametrize("layout", LAYOUTS)
def test_settings_beside_the_weights_are_known_and_read_as_nothing(layout: str, tmp_path: Path) -> None:
    tree = {
        "args": argparse.Namespace(rate=0.1, command="x"),
        "best": np.float64(0.5),
        "curve": np.arange(3),
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "size": torch.Size([2, 3]),
        "epoch": 7,
        "model": OrderedDict(w=torch.ones(2)),
    }
    found = read_weights_file(save(tree, tmp_path / "w.pth", layout))
    assert [key for key, value in found.items() if is_plain(value)] == ["epoch"]
    assert torch.equal(found["model"]["w"], torch.ones(2))
    assert not hasattr(found["args"], "rate")


def test_safetensors_are_read_too(tmp_path: Path) -> None:
    save_file({"w": torch.arange(3)}, tmp_path / "w.safetensors")
    assert torch.equal(read_weights_file(tmp_path / "w.safetensors")["w"], torch.arange(3))


class Runs:
    """Pickled, it is a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class Plain:
    """A class of nobody's list."""


def attacks(mark: Path) -> dict[str, tuple[Any, str]]:
    """What each file holds and the name that its refusal tells; a run of one makes the file `mark`."""
    touch = f"open({str(mark)!r}, 'w').close()"
    return {
        "os.system": (Runs(os.system, f"touch {mark}"), r"posix\.system|nt\.system"),
        "eval": (Runs(builtins.eval, touch), r"__builtin__\.eval|builtins\.eval"),
        "exec": (Runs(builtins.exec, touch), r"\.exec"),
        "getattr": (Runs(getattr, "", "upper"), r"\.getattr"),
        "nested": ({"model": OrderedDict(w=[1, (Runs(os.system, f"touch {mark}"),)])}, "system"),
        "in settings": (argparse.Namespace(a=Runs(os.system, f"touch {mark}")), "system"),
        "a class": (Plain(), r"Plain"),
        "a module": (nn.Linear(2, 2), r"torch\.nn\.modules\.linear\.Linear"),
        "torch.load": (Runs(torch.load, str(mark)), r"torch\.serialization\.load"),
    }


@pytest.mark.parametrize("name", sorted(attacks(Path("x"))))
@pytest.mark.parametrize("layout", [*LAYOUTS, "bare 0", "bare 2", "bare 4"])
def test_what_runs_programs_is_refused_by_name_and_not_run(name: str, layout: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "it-ran", tmp_path / "w.pth"
    tree, told = attacks(mark)[name]
    if layout.startswith("bare"):
        path.write_bytes(pickle.dumps(tree, protocol=int(layout[-1])))
    else:
        save(tree, path, layout)
    with pytest.raises(UserError, match=rf"asks for \S*({told}|_reconstructor).*nothing of it was run"):
        read_weights_file(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (b"\x80\x02\x82\x01.", "instruction EXT1"),
        (b"(S'touch x'\nios\nsystem\n.", "instruction INST"),
        (b"(cos\nsystem\nS'touch x'\no.", r"asks for os\.system"),
        (b"P1\n.", "instruction PERSID"),
        (b"\x80\x04)\x81.", "damaged|neither"),
        (b"\x80\x05\x97.", "instruction NEXT_BUFFER"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", r"asks for os\.system"),
        (b"\x80\x02}((K\x01K\x02tK\x03u.", "key of type tuple"),
        (b"\x80\x04\x8f((K\x01K\x02t\x90.", "set of other things"),
        (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x00.", "pickle of more than"),
        (b"\x80\x02K\x01.", "something else than torch.save"),
        (b"hello", "neither"),
        (b"", "neither"),
    ],
)
def test_pickles_by_hand(code: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(code)
    with pytest.raises(UserError, match=told):
        read_weights_file(tmp_path / "w.pth")


def rezipped(
    path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED
) -> Path:
    """The zip file with the content of each entry changed."""
    changed = path.with_name("changed.pth")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return changed


def test_a_compressed_entry_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    path = save({"w": torch.zeros(1000)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="has the compressed entry"):
        read_weights_file(rezipped(path, lambda name, data: data, zipfile.ZIP_DEFLATED))


def test_a_tar_archive_and_a_program_of_torchscript(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "w.pth", "w") as archive:
        info = tarfile.TarInfo("storages")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    with pytest.raises(UserError, match="is a tar archive"):
        read_weights_file(tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "s.pth", "w") as script:
        for name in ("s/data.pkl", "s/constants.pkl", "s/code/__torch__.py"):
            script.writestr(name, b"\x80\x02N.")
    with pytest.raises(UserError, match="something else than"):
        read_weights_file(tmp_path / "s.pth")


def test_another_byte_order(tmp_path: Path) -> None:
    path = save({"w": torch.zeros(3)}, tmp_path / "w.pth")
    changed = rezipped(path, lambda name, data: b"big" if name.endswith("byteorder") else data)
    with pytest.raises(UserError, match="byte order"):
        read_weights_file(changed)


class Shaped:
    """Pickled, it is a tensor of any shape over a storage of any claimed size."""

    def __init__(self, shape: Any, strides: Any, offset: Any = 0) -> None:
        self.arguments = (torch.zeros(4).storage(), offset, shape, strides, False, OrderedDict())

    def __reduce__(self) -> Any:
        return torch._utils._rebuild_tensor_v2, self.arguments


@pytest.mark.filterwarnings("ignore:TypedStorage")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((5,), (1,), 0),
        ((4,), (1,), 1),
        ((10**12,), (0,), 0),
        ((2, 2), (4, 1), 0),
        ((-1,), (1,), 0),
        ((2,), (-1,), 1),
        ((2,), (1,), -1),
        ((2,), (1, 1), 0),
        ((0, 2**70), (1, 1), 0),
        ("ab", (1, 1), 0),
        (3, (1,), 0),
    ],
)
def test_a_tensor_beyond_its_storage(
    shape: Any, strides: Any, offset: int, layout: str, tmp_path: Path
) -> None:
    path = save({"model": {"w": Shaped(shape, strides, offset)}}, tmp_path / "w.pth", layout)
    with pytest.raises(UserError, match=r"damaged or cut off: (a tensor|instruction REDUCE|.*[Oo]verflow)"):
        read_weights_file(path)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("claimed", "told"),
    [(3, "another size"), (5, "another size"), (2**40, "claims more bytes than the file has")],
)
def test_a_storage_of_another_size_than_it_claims(
    layout: str, claimed: int, told: str, tmp_path: Path
) -> None:
    """The count of 4 values, BININT1 4, in the persistent id becomes another one."""
    path = save({"w": torch.ones(4)}, tmp_path / "w.pth", layout)
    lie = b"K" + bytes([claimed]) if claimed < 256 else b"\x8a\x06" + claimed.to_bytes(6, "little")
    if layout == "zip":
        path = rezipped(path, lambda name, data: data.replace(b"K\x04", lie, 1) if "pkl" in name else data)
    else:
        content = path.read_bytes()
        assert content.count(b"K\x04N") == 1
        path.write_bytes(content.replace(b"K\x04N", lie + b"N") if claimed >= 5 else cut_count(path))
    with pytest.raises(UserError, match=told):
        read_weights_file(path)


def cut_count(path: Path) -> bytes:
    """The file with one value less announced before the bytes of its only storage."""
    content = path.read_bytes()
    place = content.rindex(struct.pack("<q", 4))
    return content[:place] + struct.pack("<q", 3) + content[place + 8 :]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_that_was_cut_off_anywhere(layout: str, tmp_path: Path) -> None:
    content = save({"w": torch.arange(6.0), "b": torch.ones(2)}, tmp_path / "w.pth", layout).read_bytes()
    for end in range(0, len(content) - 1, 7):
        (tmp_path / "cut.pth").write_bytes(content[:end])
        with pytest.raises(UserError, match=r"cut\.pth"):
            read_weights_file(tmp_path / "cut.pth")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layout=st.sampled_from([*LAYOUTS]), place=st.integers(0, 10**6), value=st.binary(max_size=3))
def test_changed_bytes_are_an_error_or_other_values_and_never_a_traceback(
    tmp_path: Path, layout: str, place: int, value: bytes
) -> None:
    path = tmp_path / f"{layout}.pth"
    if not path.exists():
        save({"model": OrderedDict(w=torch.arange(6.0)), "epoch": 3, "name": "x"}, path, layout)

    def changed(name: str, content: bytes) -> bytes:
        if not name.endswith("data.pkl"):
            return content
        start = place % len(content)
        return content[:start] + value + content[start + 1 :]

    if layout == "zip":
        damaged = rezipped(path, changed)
    else:
        damaged = tmp_path / "changed.pth"
        damaged.write_bytes(changed("data.pkl", path.read_bytes()))
    with contextlib.suppress(UserError):
        read_weights_file(damaged)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(code=st.binary(max_size=60), start=st.sampled_from([b"", b"\x80\x02", b"\x80\x04", b"PK\x03\x04"]))
def test_any_bytes_at_all(tmp_path: Path, code: bytes, start: bytes) -> None:
    (tmp_path / "any.pth").write_bytes(start + code)
    with pytest.raises(UserError, match=r"any\.pth"):
        read_weights_file(tmp_path / "any.pth")


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save({"w": torch.ones(2), "more": list(range(50))}, tmp_path / "w.pth")
    monkeypatch.setattr(machine, "MOST_INSTRUCTIONS", 20)
    with pytest.raises(UserError, match="more than 20 instructions"):
        read_weights_file(path)
    row = save({"w": torch.ones(2)}, tmp_path / "r.pth", "row")
    monkeypatch.setattr(machine, "MOST_INSTRUCTIONS", 1000)
    monkeypatch.setattr(machine, "MOST_BYTES", 40)
    with pytest.raises(UserError, match="pickle of more than"):
        read_weights_file(row)
    monkeypatch.setattr(torch_file, "MOST_BYTES", 20)
    with pytest.raises(UserError, match="pickle of more than"):
        read_weights_file(path)
    monkeypatch.setattr(machine, "MOST_FILE_BYTES", 20)
    with pytest.raises(UserError, match="has more than"):
        read_weights_file(path)


def test_an_absent_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot read .*absent\.pth: No such file"):
        read_weights_file(tmp_path / "absent.pth")
    with pytest.raises(UserError, match=r"Cannot read .*: Is a directory"):
        read_weights_file(tmp_path)
