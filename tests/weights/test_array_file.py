"""Pickles of NumPy arrays, read without running them."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxreport.errors import UserError
from cxreport.weights import array_file
from cxreport.weights.array_file import read_arrays_file

PROTOCOLS = [2, 3, 4, 5]


def save(path: Path, tree: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(tree, protocol))
    return path


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, np.ndarray):
        return bool(
            found.dtype == expected.dtype and found.shape == expected.shape and (found == expected).all()
        )
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    return bool(found == expected)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_such_files_hold(protocol: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    lists: defaultdict[str, list[Any]] = defaultdict(list)
    lists["Edema"].append(rng.normal(size=4).astype(np.float32))
    tree = {
        "rows": rng.normal(size=(3, 4)),
        "columns": np.asfortranarray(rng.normal(size=(3, 4)).astype(np.float32)),
        "scalar": np.array(2.5),
        "none": np.zeros((0, 768), np.float16),
        "big endian": np.arange(5, dtype=">i4"),
        "flags": np.array([True, False]),
        "parts": [rng.integers(0, 9, 7), (np.uint8([1, 2]), "text", 3, None)],
        "lists": lists,
        "ordered": OrderedDict(a=np.float32([1.0])),
        "number": np.float64(1.25),
    }
    found = read_arrays_file(save(tmp_path / "bank.pkl", tree, protocol))
    assert same(found, tree)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_array_that_stands_in_it_twice(protocol: int, tmp_path: Path) -> None:
    row = np.arange(3.0)
    found = read_arrays_file(save(tmp_path / "twice.pkl", [row, [row, row]], protocol))
    assert found[0] is found[1][0] is found[1][1]


class Runs:
    def __reduce__(self) -> Any:
        return (os.system, ("touch ran",))


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": Runs()}, r"asks for (posix|nt)\.system"),
        (np.array([Runs(), None], dtype=object), "kind 'O8'"),
        (np.array(["Edema"]), "kind 'U5'"),
        (np.zeros(2, dtype=[("x", "f4")]), "kind 'V4'"),
        (np.ma.masked_array([1.0], [True]), "asks for numpy.ma"),
        (np.matrix([[1.0]]), "a class of its own|asks for numpy"),
        ({"a": torch.ones(2)}, "asks for torch"),
        ({(1, 2): 3}, "key of type tuple"),
        (np.ndarray, "something else than arrays"),
        (np.dtype("f4"), "something else than arrays"),
    ],
    ids=str,
)
def test_anything_else_is_refused_by_name(
    tree: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"bank\.pkl .*({message})"):
        read_arrays_file(save(tmp_path / "bank.pkl", tree))
    assert [path.name for path in tmp_path.iterdir()] == ["bank.pkl"]


def test_an_array_that_claims_other_bytes_than_it_has(tmp_path: Path) -> None:
    for shape in ((3, 2**40), (2,), (-1, -3)):
        code = pickle.dumps(np.arange(3.0), 4)
        reduced = np.arange(3.0).__reduce__()
        state = (reduced[2][0], shape, *reduced[2][2:])
        forged = pickle.dumps(_Forged(state), 4)
        assert forged != code
        (tmp_path / "forged.pkl").write_bytes(forged)
        with pytest.raises(UserError, match=r"forged\.pkl is damaged .*(number of bytes|impossible shape)"):
            read_arrays_file(tmp_path / "forged.pkl")


class _Forged:
    """Pickles as an array with this state."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def __reduce__(self) -> Any:
        reconstruct, arguments, _ = np.arange(3.0).__reduce__()
        return (reconstruct, arguments, self.state)


def test_nests_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(UserError, match="lists inside each other"):
        read_arrays_file(save(tmp_path / "ring.pkl", ring))
    doubled: list[Any] = [1]
    for _ in range(14):
        doubled = [doubled, doubled]
    assert len(read_arrays_file(save(tmp_path / "doubled.pkl", doubled))) == 2
    monkeypatch.setattr(array_file, "MOST_INSTRUCTIONS", 20)
    with pytest.raises(UserError, match="more than 20 instructions"):
        read_arrays_file(save(tmp_path / "long.pkl", list(range(50))))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.integers(0, 10_000), value=st.binary(min_size=0, max_size=2), protocol=st.sampled_from([2, 4, 5])
)
def test_a_damaged_file_is_told_or_read(tmp_path: Path, place: int, value: bytes, protocol: int) -> None:
    code = pickle.dumps({"a": [np.arange(6.0).reshape(2, 3)], "b": np.float32(1)}, protocol)
    start = place % len(code)
    (tmp_path / "d.pkl").write_bytes(code[:start] + value + code[start + 1 :])
    with contextlib.suppress(UserError):
        read_arrays_file(tmp_path / "d.pkl")
