"""The selective scan against its peers, and Vision Mamba against a vision transformer of the same size.

    python benchmarks/encoders.py [--quick] [--threads 1 2] [--json FILE] [--plot FILE]

Peers of the scan: ``mambapy`` (its parallel scan), ``transformers`` (the loop of its Mamba without kernels),
and a loop that indexes (B, L, E, N) tensors as most repositories do. The first two are optional; a sentence
says when one is absent. All compute the same numbers, which is checked. Times are the least of several
turns, the contestants taking turns. Memory is what PyTorch's allocator holds at most at once. The peer of the
whole encoder is our own plain ViT with ``scaled_dot_product_attention``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cxreport.encoders import Encoder, build_encoder
from cxreport.encoders.cpu.lanes import LANES, broadcast, load, store
from cxreport.encoders.fast import fast, sentence
from cxreport.encoders.profile import exponent, machine, peak_memory
from cxreport.encoders.scan import selective_scan
from cxreport.options import EncoderOptions

CHANNELS, STATES = 384, 16
LENGTHS = (196, 576, 1024, 2304, 6400)
LOOP_LENGTH = 576
"""The longest sequence of the indexed loop's backward pass, whose time grows with the square."""
SIDES = (224, 512, 1024, 1280)
GROWTH_SIDES = (512, 768, 1024, 1536, 2048)
"""1,024 to 16,384 patches of 16 px."""
OPERATIONS = 17
"""Vector operations of the forward kernel for one state and step, 13 of them the exponential."""
Inputs = dict[str, Tensor]


def loop_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor
) -> Tensor:
    """The definition, step by step over (B, E, L, N) tensors."""
    dt = functional.softplus(delta + bias[:, None])
    decays = torch.exp(dt.unsqueeze(-1) * A[:, None])
    driven = (dt * u).unsqueeze(-1) * B.transpose(1, 2).unsqueeze(1)
    h, ys = torch.zeros_like(driven[:, :, 0]), []
    for t in range(u.shape[2]):
        h = decays[:, :, t] * h + driven[:, :, t]
        ys.append((h * C[:, None, :, t]).sum(-1))
    return (torch.stack(ys, dim=-1) + D[:, None] * u) * functional.silu(z)


def mambapy_scan() -> Callable[..., Tensor] | None:
    """mambapy's parallel scan in the same frame; it wants (B, L, E)."""
    try:
        from mambapy.pscan import pscan
    except ImportError:
        return None

    def scan(
        u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor
    ) -> Tensor:
        x, dt = u.transpose(1, 2), functional.softplus(delta.transpose(1, 2) + bias)
        decays = torch.exp(dt.unsqueeze(-1) * A)
        states = pscan(decays, (dt * x).unsqueeze(-1) * B.transpose(1, 2).unsqueeze(2))
        y = (states @ C.transpose(1, 2).unsqueeze(-1)).squeeze(3) + D * x
        return (y * functional.silu(z.transpose(1, 2))).transpose(1, 2)

    return scan


def transformers_scan() -> Callable[..., Tensor] | None:
    """The scan of transformers' Mamba without kernels."""
    try:
        from transformers.models.mamba.modeling_mamba import mamba_selective_scan
    except ImportError:
        return None

    def scan(
        u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor
    ) -> Tensor:
        found: Tensor = mamba_selective_scan(u, delta, A, B, C, D, z, bias, True)
        return found

    return scan


def our_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor
) -> Tensor:
    """Ours, on the CPU kernels."""
    return selective_scan(u, delta, A, B, C, D, z, bias, True, backend="cpu")


def scan_inputs(length: int) -> Inputs:
    """One layer's inputs; sequences lie channels last, as encoders make them."""
    torch.manual_seed(0)

    def sequence() -> Tensor:
        return torch.randn(1, length, CHANNELS).transpose(1, 2)

    A = -torch.arange(1.0, STATES + 1).repeat(CHANNELS, 1)
    found = {"u": sequence(), "delta": sequence(), "A": A}
    found |= {name: torch.randn(1, STATES, length) for name in ("B", "C")}
    return found | {"D": torch.ones(CHANNELS), "z": sequence(), "bias": torch.full((CHANNELS,), -4.0)}


def measure_scans(length: int, repeats: int) -> dict[str, Any]:
    """Seconds of everyone, forward alone and with the backward pass, and our memory."""
    inputs = scan_inputs(length)
    leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    weights = torch.randn(1, length, CHANNELS).transpose(1, 2)

    def both(scan: Callable[..., Tensor]) -> None:
        for leaf in leaves.values():
            leaf.grad = None
        scan(**leaves).backward(weights)

    peers = {"ours": our_scan, "mambapy": mambapy_scan(), "transformers": transformers_scan()}
    there = {name: scan for name, scan in peers.items() if scan is not None} | {"loop": loop_scan}
    with torch.inference_mode():
        exact = our_scan(**inputs)
        for name, scan in there.items():
            difference = float((scan(**inputs) - exact).abs().max() / exact.abs().max())
            assert difference < 1e-4, f"{name} differs by {difference}"
        forward = take_turns(
            {name: lambda scan=scan: scan(**inputs) for name, scan in there.items()}, repeats
        )
    trained = {name: scan for name, scan in there.items() if name in ("ours", "mambapy")}
    if length <= LOOP_LENGTH:
        trained["loop"] = loop_scan
    training = take_turns({name: lambda scan=scan: both(scan) for name, scan in trained.items()}, repeats)
    leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    given = sum(value.nbytes for value in inputs.values()) + weights.nbytes
    ends = given + sum(value.nbytes for value in inputs.values()) + inputs["u"].nbytes
    memory = (given + peak_memory(lambda: both(our_scan))) / ends
    return {"length": length, "forward": forward, "training": training, "memory_ratio": memory}


def take_turns(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The least seconds of each; whoever takes over three seconds has one turn."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            if turn > 0 and min(seconds[name]) > 3:
                continue
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: min(found) for name, found in seconds.items()}


def roofline(row: dict[str, Any], threads: int) -> dict[str, float]:
    """What share of the machine the forward scan uses; peaks are measured here, on as many threads."""
    operations = OPERATIONS * CHANNELS * STATES * row["length"] / LANES / row["forward"]["ours"]
    moved = 4 * (4 * CHANNELS + 2 * STATES) * row["length"] / row["forward"]["ours"]
    big, copy = torch.ones(2**26), torch.empty(2**26)
    seconds = take_turns({"copy": lambda: copy.copy_(big), "multiply": lambda: multiply_add(10**6)}, 3)
    peak_operations = threads * 12 * 10**6 / seconds["multiply"]
    peak_bytes = 2 * big.nbytes / seconds["copy"]
    return {
        "vector_operations_per_second": operations,
        "peak_vector_operations_per_second": peak_operations,
        "share_of_operations": operations / peak_operations,
        "bytes_per_second": moved,
        "peak_bytes_per_second": peak_bytes,
        "share_of_bandwidth": moved / peak_bytes,
    }


@numba.njit
def _multiply_add(turns: int, values: np.ndarray) -> None:
    """Twelve independent chains of multiply-adds of sixteen lanes, for `turns` links on one thread."""
    a, b, c = load(values, 0), load(values, 16), load(values, 32)
    d, e, f = load(values, 48), load(values, 64), load(values, 80)
    g, h, i, j, k, m = a + 1.0, b + 1.0, c + 1.0, d + 1.0, e + 1.0, f + 1.0
    x, y = broadcast(np.float32(0.9)), broadcast(np.float32(0.1))
    for _ in range(turns):
        a, b, c, d, e, f = a * x + y, b * x + y, c * x + y, d * x + y, e * x + y, f * x + y
        g, h, i, j, k, m = g * x + y, h * x + y, i * x + y, j * x + y, k * x + y, m * x + y
    store(values, 0, a + b + c + d + e + f + g + h + i + j + k + m)


def multiply_add(turns: int) -> None:
    """The peak of this machine's vector units, one thread."""
    _multiply_add(turns, np.ones(6 * LANES, np.float32))


def encoder(name: str, side: int) -> Encoder:
    """An encoder made for images of that side, so that no positions are resampled."""
    torch.manual_seed(0)
    return build_encoder(EncoderOptions(name=name, image_size=side)).eval()


def measure_encoders(side: int, repeats: int, both: bool = True) -> dict[str, Any]:
    """Seconds and peak memory of one image."""
    names = ("vision_mamba_tiny", "vit_tiny") if both else ("vision_mamba_tiny",)
    models, image = {name: encoder(name, side) for name in names}, torch.randn(1, 3, side, side)
    with torch.inference_mode():
        seconds = take_turns({name: lambda m=model: m(image) for name, model in models.items()}, repeats)
        memory = {name: peak_memory(lambda m=model: m(image)) for name, model in models.items()}
    return {"side": side, "tokens": (side // 16) ** 2, "seconds": seconds, "memory_bytes": memory}


def growth(rows: list[dict[str, Any]], name: str) -> dict[str, float]:
    """Exponents of an encoder's time and memory."""
    found = [row for row in rows if name in row["seconds"] and row["tokens"] >= 1000]
    flat = [
        {"tokens": row["tokens"], "s": row["seconds"][name], "m": row["memory_bytes"][name]} for row in found
    ]
    return {"time": exponent(flat, "s"), "memory": exponent(flat, "m")}


def crossover(rows: list[dict[str, Any]]) -> float | None:
    """Tokens where both take the same time, between the measured ones; None where they never meet."""
    both = [row for row in rows if "vit_tiny" in row["seconds"]]
    tokens = np.log([row["tokens"] for row in both])
    ratios = np.log([row["seconds"]["vision_mamba_tiny"] / row["seconds"]["vit_tiny"] for row in both])
    for left in range(len(both) - 1):
        if ratios[left] > 0 >= ratios[left + 1]:
            share = ratios[left] / (ratios[left] - ratios[left + 1])
            return float(np.exp(tokens[left] + share * (tokens[left + 1] - tokens[left])))
    return None


def run(threads: int, quick: bool, grow: bool) -> dict[str, Any]:
    """Everything on that many threads; printed as it comes."""
    torch.set_num_threads(threads)
    repeats = 3 if quick else 7
    print(
        f"\nOne scan layer, batch 1, {CHANNELS} channels, {STATES} states, {threads} thread(s), milliseconds"
    )
    print(f"{'':8}{'forward and backward':^36}{'forward alone':^36}{'memory':>8}")
    print(f"{'length':>8}" + "".join(f"{name:>12}" for name in ("ours", "mambapy", "loop") * 2), end="")
    print(f"{'transf.':>12}")
    scans = []
    for length in LENGTHS[:2] if quick else LENGTHS:
        scans.append(row := measure_scans(length, repeats))
        cells = [row["training"].get(name) for name in ("ours", "mambapy", "loop")]
        cells += [row["forward"].get(name) for name in ("ours", "mambapy", "loop", "transformers")]
        print(
            f"{length:8}" + "".join(f"{'-':>12}" if s is None else f"{1e3 * s:12.2f}" for s in cells), end=""
        )
        print(f"{row['memory_ratio']:8.2f}")
    ratios = {
        "training_over_mambapy": [_ratio(row["training"], "mambapy") for row in scans],
        "training_over_loop": [_ratio(row["training"], "loop") for row in scans],
        "forward_over_transformers": [_ratio(row["forward"], "transformers") for row in scans],
    }
    for name, values in ratios.items():
        print(
            f"  {name.replace('_', ' '):28}" + "".join(f"{v:9.1f} x" if v else f"{'-':>11}" for v in values)
        )
    roof = roofline(scans[-1], threads)
    print(
        f"  roofline: {roof['share_of_operations']:.0%} of the peak of vector operations"
        f" ({roof['peak_vector_operations_per_second'] * 2 * LANES / 1e9:.0f} GFLOP/s as multiply-adds),"
        f" {roof['share_of_bandwidth']:.1%} of the memory bandwidth"
        f" ({roof['peak_bytes_per_second'] / 1e9:.1f} GB/s)"
    )
    print(f"\nWhole encoders, one image, {threads} thread(s)")
    print(
        f"{'px':>6}{'tokens':>8}{'Mamba img/s':>14}{'ViT img/s':>12}{'ratio':>8}{'Mamba MB':>11}{'ViT MB':>9}"
    )
    sides = sorted({*SIDES[:2]} if quick else {*SIDES, 384, 768, *(GROWTH_SIDES if grow else ())})
    rows = []
    for side in sides:
        rows.append(row := measure_encoders(side, 2 if quick or side > 1000 else 4, both=side <= max(SIDES)))
        ours, vit = row["seconds"]["vision_mamba_tiny"], row["seconds"].get("vit_tiny")
        cells = [
            f"{side:6}{row['tokens']:8}{1 / ours:14.2f}",
            f"{1 / vit:12.2f}{vit / ours:8.2f}" if vit else " " * 20,
        ]
        print(*cells, *(f"{bytes_ / 1e6:10.1f}" for bytes_ in row["memory_bytes"].values()), sep="")
    found: dict[str, Any] = {
        "threads": threads,
        "scans": scans,
        "ratios": ratios,
        "roofline": roof,
        "encoders": rows,
    }
    meeting = crossover(rows)
    print(f"  crossover: {f'{meeting:.0f} tokens' if meeting else 'not between these sizes'}")
    found["crossover_tokens"] = meeting
    if grow and not quick:
        for name in ("vision_mamba_tiny", "vit_tiny"):
            found[f"exponents_{name}"] = powers = growth(rows, name)
            print(
                f"  {name}: time grows with tokens to the {powers['time']:.2f}, memory {powers['memory']:.2f}"
            )
    return found


def _ratio(seconds: dict[str, float], peer: str) -> float | None:
    return seconds[peer] / seconds["ours"] if peer in seconds else None


def measure_fast(sides: tuple[int, ...]) -> list[dict[str, Any]]:
    """What ``fast`` chooses for both encoders."""
    found = []
    for name in ("vision_mamba_tiny", "vit_tiny"):
        for side in sides:
            _, report = fast(encoder(name, side), torch.randn(1, 3, side, side))
            print(f"{name} at {side} px. {sentence(report)}")
            found.append({"encoder": name, "side": side} | report)
    return found


def plot(result: dict[str, Any], path: Path) -> None:
    """Time and memory of one image against tokens, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    names = {"vision_mamba_tiny": "Vision Mamba tiny (5.8 M)", "vit_tiny": "ViT tiny (5.5 M)"}
    rows = result["runs"][0]["encoders"]
    for axis, cost, scale, label in (
        (axes[0], "seconds", 1, "seconds an image"),
        (axes[1], "memory_bytes", 1e6, "peak memory, MB"),
    ):
        for name, title in names.items():
            own = [row for row in rows if name in row[cost]]
            axis.loglog(
                [row["tokens"] for row in own], [row[cost][name] / scale for row in own], "o-", label=title
            )
        axis.set(xlabel="tokens", ylabel=label)
        axis.grid(alpha=0.3, which="both")
    axes[0].legend(frameon=False)
    figure.suptitle(f"{result['runs'][0]['threads']} thread(s), {result['machine']['processor']}", fontsize=9)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description="Selective scan and Vision Mamba against their peers.")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--quick", action="store_true", help="two lengths, two sizes; a minute")
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--plot", type=Path, help="picture to write")
    options = parser.parse_args()
    for package, there in (("mambapy", mambapy_scan()), ("transformers", transformers_scan())):
        if there is None:
            print(f"{package} is not installed, so its column stays empty; pip install {package} fills it.")
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    runs = [run(threads, options.quick, threads == options.threads[0]) for threads in options.threads]
    result: dict[str, Any] = {"machine": about, "runs": runs}
    if not options.quick:
        torch.set_num_threads(options.threads[0])
        print()
        result["fast"] = measure_fast((224, 512))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if options.plot:
        plot(result, options.plot)


if __name__ == "__main__":
    sys.exit(main())
