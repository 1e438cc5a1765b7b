"""The selective scan against its recurrence in float64, step by step."""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from cxreport.encoders import scan
from cxreport.encoders.scan import selective_scan
from cxreport.errors import UserError

BACKENDS = ("cpu", "chunked")
NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")


def recurrence(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Any = None, z: Any = None, bias: Any = None,
    softplus: bool = False,
) -> Tensor:  # fmt: skip
    """The definition, in the dtype of its inputs, for B and C (B, G, N, L)."""
    dt = delta if bias is None else delta + bias[:, None]
    dt = functional.softplus(dt) if softplus else dt
    h = torch.zeros(u.shape[0], *A.shape, dtype=u.dtype)
    ys = []
    for t in range(u.shape[2]):
        b, c = (each[..., t].repeat_interleave(len(A) // each.shape[1], dim=1) for each in (B, C))
        h = torch.exp(dt[:, :, t, None] * A) * h + (dt * u)[:, :, t, None] * b
        ys.append((h * c).sum(-1))
    y = torch.stack(ys, dim=-1)
    y = y if D is None else y + D[:, None] * u
    return y if z is None else y * functional.silu(z)


def example(
    batch: int, channels: int, size: int, length: int, groups: int = 1, seed: int = 0
) -> dict[str, Tensor]:
    """Inputs in float64."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    sequence, selected = (batch, channels, length), (batch, groups, size, length)
    shapes = (sequence, sequence, (channels, size), selected, selected, (channels,), sequence, (channels,))
    found = dict(zip(NAMES, (normal(*shape) for shape in shapes), strict=True))
    return found | {"A": -found["A"].exp()}


def assert_same(found: Tensor, expected: Tensor, within: float = 5e-6) -> None:
    """Differences as a share of the largest value."""
    assert found.shape == expected.shape
    scale = expected.abs().max().clamp(min=1e-30)
    torch.testing.assert_close(found.double() / scale, expected / scale, atol=within, rtol=0)


def check(inputs: dict[str, Tensor], backend: str, softplus: bool = True, dtype: Any = torch.float32) -> None:
    """Result and all gradients of a backend against the recurrence in float64."""
    exact = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    ours = {name: value.to(dtype).requires_grad_() for name, value in inputs.items()}
    expected = recurrence(*(exact.get(name) for name in NAMES), softplus)
    found = selective_scan(**ours, delta_softplus=softplus, backend=backend)
    assert found.dtype == dtype
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected.backward(weights)
    found.backward(weights.to(dtype))
    assert_same(found.detach(), expected.detach())
    for name, tensor in ours.items():
        assert tensor.grad is not None
        assert tensor.grad.dtype == dtype
        assert_same(tensor.grad, exact[name].grad)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [1, 16])
@pytest.mark.parametrize("length", [2, 7, 197])
def test_result_and_gradients(backend: str, size: int, length: int) -> None:
    check(example(2, 24, size, length), backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_step(backend: str) -> None:
    """h_1 = dt B u does not depend on A, so its gradient is zero."""
    inputs = {name: value.float().requires_grad_() for name, value in example(1, 5, 3, 1).items()}
    y = selective_scan(**inputs, backend=backend)
    y.sum().backward()
    dt = inputs["delta"] + inputs["delta_bias"][:, None]
    product = (inputs["B"][:, 0, :, 0] * inputs["C"][:, 0, :, 0]).sum()
    by_hand = (dt * product + inputs["D"][:, None]) * inputs["u"] * functional.silu(inputs["z"])
    torch.testing.assert_close(y, by_hand)
    assert inputs["A"].grad is not None
    assert not inputs["A"].grad.any()


@pytest.mark.parametrize("size", [1, 16])
def test_a_long_sequence(size: int) -> None:
    """6,400 steps of 1280 px; the chunked backend in float64 is the reference, itself tested above."""
    inputs = example(1, 16, size, 6400)
    exact = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    ours = {name: value.float().requires_grad_() for name, value in inputs.items()}
    expected = selective_scan(**exact, delta_softplus=True)
    found = selective_scan(**ours, delta_softplus=True, backend="cpu")
    expected.sum().backward()
    found.sum().backward()
    assert_same(found.detach(), expected.detach())
    for name, tensor in ours.items():
        assert_same(tensor.grad, exact[name].grad, 2e-5)


def test_chunked_in_float64_is_the_recurrence() -> None:
    inputs = example(2, 6, 4, 150, groups=3)
    found = selective_scan(**inputs, delta_softplus=True)
    torch.testing.assert_close(found, recurrence(*inputs.values(), softplus=True), atol=1e-12, rtol=1e-12)
    small = {name: value.requires_grad_() for name, value in example(1, 2, 2, 5).items()}
    assert torch.autograd.gradcheck(lambda *each: selective_scan(*each, True), tuple(small.values()))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("left_out", [("z",), ("D",), ("delta_bias",), ("z", "D", "delta_bias")])
def test_gate_skip_and_bias_are_optional(backend: str, left_out: tuple[str, ...]) -> None:
    inputs = example(1, 20, 4, 40)
    check({name: value for name, value in inputs.items() if name not in left_out}, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_softplus(backend: str) -> None:
    inputs = example(1, 16, 4, 40)
    inputs["delta"], inputs["delta_bias"] = inputs["delta"].abs(), inputs["delta_bias"].abs()
    check(inputs, backend, softplus=False)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("channels", "groups"), [(36, 3), (64, 4), (6, 6)])
def test_groups_that_fill_no_register(backend: str, channels: int, groups: int) -> None:
    check(example(2, channels, 3, 33, groups), backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_three_dimensional_b_and_c(backend: str) -> None:
    inputs = {name: value.float() for name, value in example(1, 8, 2, 9).items()}
    flat = inputs | {"B": inputs["B"][:, 0], "C": inputs["C"][:, 0]}
    assert torch.equal(selective_scan(**inputs, backend=backend), selective_scan(**flat, backend=backend))


@pytest.mark.parametrize("layout", ["channels last", "a slice", "every second", "expanded"])
def test_memory_layouts(layout: str) -> None:
    def scanned(given: dict[str, Tensor]) -> Tensor:
        return selective_scan(**given, delta_softplus=True, backend="cpu")

    inputs = {name: value.float() for name, value in example(2, 32, 4, 40, seed=3).items()}
    if layout == "expanded":
        inputs["u"] = inputs["u"][:, :1].expand(-1, 32, -1)
    expected = scanned({name: value.contiguous() for name, value in inputs.items()})
    for name in ("u", "delta", "z"):
        value = inputs[name]
        if layout == "channels last":
            inputs[name] = value.transpose(1, 2).contiguous().transpose(1, 2)
        elif layout == "a slice":
            inputs[name] = (
                torch.cat([value, value], dim=1).transpose(1, 2).contiguous()[..., 32:].transpose(1, 2)
            )
        elif layout == "every second":
            inputs[name] = value.repeat_interleave(2, dim=2)[:, :, ::2]
    assert torch.equal(scanned(inputs), expected)


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 3),
    width=st.integers(1, 40),
    groups=st.integers(1, 3),
    size=st.integers(1, 5),
    length=st.integers(1, 70),
    threads=st.integers(1, 4),
)
def test_any_shape_and_threads(
    batch: int, width: int, groups: int, size: int, length: int, threads: int
) -> None:
    inputs = {name: v.float() for name, v in example(batch, width * groups, size, length, groups).items()}
    torch.set_num_threads(threads)
    try:
        gradients = []
        for backend in BACKENDS:
            leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
            y = selective_scan(**leaves, delta_softplus=True, backend=backend)
            y.square().sum().backward()
            gradients.append([y, *(leaf.grad for leaf in leaves.values())])
    finally:
        torch.set_num_threads(1)
    for ours, theirs in zip(*gradients, strict=True):
        assert_same(ours.detach(), theirs.detach().double(), 2e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("merge", [False, True])
def test_orders_and_merged_groups(backend: str, merge: bool) -> None:
    """Every group visits the places in its own order; the sum over groups needs no separate tensor."""
    inputs, groups, width = example(2, 36, 4, 50, 3), 3, 12
    order = torch.stack([torch.randperm(50, generator=torch.Generator().manual_seed(g)) for g in range(3)])
    exact = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    parts = []
    for g in range(groups):
        own, visits = slice(g * width, (g + 1) * width), order[g]
        part = {name: exact[name][:, own][..., visits] for name in ("u", "delta", "z")}
        part |= {name: exact[name][:, g : g + 1][..., visits] for name in ("B", "C")}
        part |= {name: exact[name][own] for name in ("A", "D", "delta_bias")}
        parts.append(recurrence(*(part[name] for name in NAMES), True)[..., visits.argsort()])
    expected = torch.stack(parts, dim=1).sum(1) if merge else torch.cat(parts, dim=1)
    ours = {name: value.float().requires_grad_() for name, value in inputs.items()}
    found = selective_scan(**ours, delta_softplus=True, backend=backend, order=order, merge=merge)
    assert_same(found.detach(), expected.detach())
    expected.square().sum().backward()
    found.square().sum().backward()
    for name, tensor in ours.items():
        assert_same(tensor.grad, exact[name].grad)


def test_one_memory_for_all_groups() -> None:
    inputs = {name: value.float() for name, value in example(2, 48, 4, 30, 3).items()}
    shared = inputs["u"][:, :16].clone().requires_grad_()
    copied = shared.detach().repeat(1, 3, 1).requires_grad_()
    rest = {name: value.unflatten(1, (3, 16)) for name, value in inputs.items() if name in ("delta", "z")}
    spread = shared.unsqueeze(1).expand(-1, 3, -1, -1)
    found = selective_scan(**(inputs | rest | {"u": spread}), delta_softplus=True, backend="cpu")
    expected = selective_scan(**(inputs | {"u": copied}), delta_softplus=True, backend="cpu")
    assert torch.equal(found.flatten(1, 2), expected)
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(shared.grad, copied.grad.unflatten(1, (3, 16)).sum(1))


@pytest.mark.parametrize("backend", BACKENDS)
def test_bfloat16_inputs_have_a_float32_state(backend: str) -> None:
    """Only the result is rounded: half a unit of the last of 8 bits."""
    inputs = {name: value.bfloat16() for name, value in example(1, 16, 16, 500).items()}
    found = selective_scan(**inputs, delta_softplus=True, backend=backend)
    exact = recurrence(*(value.double() for value in inputs.values()), softplus=True)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-4)
    leaves = {name: value.requires_grad_() for name, value in inputs.items()}
    selective_scan(**leaves, delta_softplus=True, backend=backend).sum().backward()
    assert {leaf.grad.dtype for leaf in leaves.values() if leaf.grad is not None} == {torch.bfloat16}


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_and_decays_to_zero(backend: str) -> None:
    """A NaN stays with its channel from its step on; a decay of exp(-1e4) is zero and not NaN."""
    inputs = {name: value.float() for name, value in example(1, 16, 4, 40).items()}
    inputs["A"] = inputs["A"] * 1e4
    clean = selective_scan(**inputs, delta_softplus=True, backend=backend)
    assert torch.isfinite(clean).all()
    inputs["delta"][0, 3, 20] = float("nan")
    dirty = selective_scan(**inputs, delta_softplus=True, backend=backend)
    assert torch.isnan(dirty[0, 3, 20:]).all()
    dirty[0, 3, 20:] = clean[0, 3, 20:]
    assert torch.equal(dirty, clean)


def test_exponentials_are_right_to_a_few_units_of_the_last_place() -> None:
    """With B = C = 1, u = 1 at the first step alone and dt = 1 the second y is exp(A)."""
    A = -torch.linspace(0, 87, 4096, dtype=torch.float64)[:, None]
    u = torch.zeros(1, 4096, 2)
    u[..., 0] = 1
    ones = torch.ones(1, 1, 2)
    y = selective_scan(u, torch.ones_like(u), A.float(), ones, ones, backend="cpu")
    exact = torch.exp(A.float().double())[None, :, 0]
    relative = ((y[..., 1].double() - exact) / exact).abs()
    assert relative[exact > 1e-3].max() < 1e-6
    assert relative.max() < 1e-5
    assert y[0, 0, 1] == 1


def test_no_thread_count_changes_the_result() -> None:
    inputs = {name: value.float() for name, value in example(1, 80, 4, 70).items()}
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(selective_scan(**inputs, delta_softplus=True, backend="cpu"))
    torch.set_num_threads(1)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


class Scans(Dataset[Tensor]):
    """A dataset whose rows are scans with two threads; other operators of PyTorch hang there in a fork."""

    def __init__(self) -> None:
        rows = (example(1, 40, 4, 50, seed=seed) for seed in range(2))
        self.inputs = [{name: value.float() for name, value in row.items()} for row in rows]

    def __getitem__(self, row: int) -> Tensor:
        torch.set_num_threads(2)
        return selective_scan(**self.inputs[row], delta_softplus=True, backend="cpu")

    def __len__(self) -> int:
        return 2


def test_forked_workers_scan_after_their_parent_did() -> None:
    """A DataLoader's workers are forks; threads of the parent's pool do not exist in them."""
    scans = Scans()
    mine = [scans[0], scans[1]]
    loader = DataLoader(scans, None, num_workers=1, multiprocessing_context="fork", timeout=30)
    theirs = list(loader)
    torch.set_num_threads(1)
    assert torch.equal(torch.stack(mine), torch.stack(theirs))


def test_the_backend_is_chosen_by_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, meta = torch.zeros(1), torch.zeros(1, device="meta")
    assert scan.choose_backend(cpu) == "cpu"
    assert scan.choose_backend(meta) == "cpu"
    assert scan.choose_backend(cpu.double()) == "chunked"
    there = {"numba": False, "mamba_ssm": True}
    monkeypatch.setattr(scan, "_installed", there.__getitem__)
    scan._tell.cache_clear()
    with pytest.warns(UserWarning, match="numba is not installed"):
        assert scan.choose_backend(cpu) == "chunked"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scan.choose_backend(cpu) == "chunked"
    gpu: Any = types.SimpleNamespace(dtype=torch.float32, device=types.SimpleNamespace(type="cuda"))
    assert scan.choose_backend(gpu) == "cuda"
    there["mamba_ssm"] = False
    with pytest.warns(UserWarning, match="mamba-ssm is not installed"):
        assert scan.choose_backend(gpu) == "chunked"
    scan._tell.cache_clear()


def test_mamba_ssm_is_called_as_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for its module, which needs a GPU: contiguous sequences of one dtype, float32 parameters."""
    inputs = {name: value.bfloat16() for name, value in example(2, 12, 4, 20, 3).items()}
    inputs["u"] = inputs["u"].transpose(1, 2).contiguous().transpose(1, 2)

    def stand_in(*given: Any) -> Tensor:
        *tensors, softplus = given
        for tensor in (tensors[place] for place in (0, 1, 3, 4, 6)):
            assert tensor.dtype == torch.bfloat16
            assert tensor.is_contiguous()
        assert {tensors[place].dtype for place in (2, 5, 7)} == {torch.float32}
        return recurrence(*(each.double() for each in tensors), softplus).bfloat16()

    module: Any = types.ModuleType("mamba_ssm.ops.selective_scan_interface")
    module.selective_scan_fn = stand_in
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(scan, "_installed", lambda name: name == "mamba_ssm")
    found = selective_scan(**inputs, delta_softplus=True, backend="cuda")
    exact = recurrence(*(value.double() for value in inputs.values()), softplus=True)
    torch.testing.assert_close(found.double(), exact, rtol=2**-7, atol=1e-2)


def test_backends_that_cannot_run_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = {name: value.float() for name, value in example(1, 4, 2, 3).items()}
    monkeypatch.setattr(scan, "_installed", lambda _name: False)
    with pytest.raises(UserError, match="numba"):
        selective_scan(**inputs, backend="cpu")
    with pytest.raises(UserError, match="mamba-ssm"):
        selective_scan(**inputs, backend="cuda")
    with pytest.raises(UserError, match="choose auto, cpu, chunked, cuda"):
        selective_scan(**inputs, backend="tpu")


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"delta": torch.zeros(1, 4, 9)}, r"delta is .* must be \(1, 1, 4, 8\)"),
        ({"A": torch.zeros(4)}, "A"),
        ({"B": torch.zeros(1, 3, 2, 8)}, "G a divisor of E"),
        ({"C": torch.zeros(1, 1, 3, 8)}, "C is"),
        ({"D": torch.zeros(5)}, "D is"),
        ({"u": torch.zeros(1, 4, 8, dtype=torch.int64)}, "floating-point"),
        ({"A": torch.zeros(4, 2, dtype=torch.complex64)}, "real"),
        ({"order": torch.zeros(1, 7, dtype=torch.int64)}, "order must be"),
        ({"order": torch.zeros(1, 8, dtype=torch.int64)}, "0 to 7 once"),
        ({"order": torch.arange(1, 9)[None]}, "0 to 7 once"),
    ],
)
def test_shapes_that_do_not_fit(changed: dict[str, Tensor], what: str) -> None:
    inputs = {name: value.float() for name, value in example(1, 4, 2, 8).items()}
    with pytest.raises(ValueError, match=what):
        selective_scan(**(inputs | changed))


def test_empty_batches_and_sequences() -> None:
    for batch, length in ((0, 5), (2, 0)):
        inputs = {name: v.float().requires_grad_() for name, v in example(batch, 16, 2, length).items()}
        y = selective_scan(**inputs, backend="cpu")
        assert y.shape == (batch, 16, length)
        y.sum().backward()


def test_the_operator_keeps_the_rules_of_pytorch() -> None:
    """Shapes for ``torch.compile``, and gradients registered as they should be."""
    inputs = [value.float() for value in example(1, 32, 2, 6, 2).values()]
    u, delta, A, B, C, D, z, bias = inputs
    four = [each.unflatten(1, (2, 16)) for each in (u, delta, z)]
    arguments = (four[0], four[1], A, B, C, D, four[2], bias, None, True, False, True)
    torch.library.opcheck(torch.ops.cxreport.scan.default, arguments)


def test_a_kernel_without_a_place_for_its_cache_is_still_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import numba

    from cxreport.encoders.cpu import running

    real = numba.njit

    def no_place(signature: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function 'double': no locator available for file")
        return real(signature, **options)

    monkeypatch.setattr(numba, "njit", no_place)

    def double(x: Any) -> None:
        x[0] *= 2

    values = np.array([3.0], dtype=np.float32)
    running.compiled(double, numba.void(numba.float32[::1]))(values)
    assert values[0] == 6
