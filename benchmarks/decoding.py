"""Beam search of R2Gen: cached keys, values and memory against recomputing the whole prefix at every step.

    python benchmarks/decoding.py [--batch 8] [--beam 3] [--length 60] [--width 512] [--json]

The named peer is the published decoder (R2Gen ``EncoderDecoder.core``): at every step it runs the relational
memory and all decoder layers over every word written so far, for every beam. Here it computes with our
layers, so the ratio compares the methods and not the code around them. Random weights; ending is forbidden,
so that both write every word. Both must write the same words.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from cxreport.data.words import END
from cxreport.generators.decoding import Hypothesis, Stepper, beam_search
from cxreport.generators.memory_transformer import MemoryStepper, MemoryTransformer
from cxreport.model_options import R2GenOptions


class FullPrefixStepper:
    """Keeps only the ids it has written, and recomputes everything else at every step."""

    def __init__(self, network: MemoryTransformer, context: Tensor, context_mask: Tensor | None) -> None:
        self._network = network
        self._context = context
        self._mask = context_mask
        self._ids = torch.zeros(context.shape[0], 1, 0, dtype=torch.long, device=context.device)

    def step(self, tokens: Tensor) -> Tensor:
        """Write tokens (B, K) and return the log-probabilities (B, K, V + 1) of the next ones."""
        network, beams = self._network, tokens.shape[1]
        self._ids = torch.cat([self._ids, tokens.unsqueeze(2)], dim=2)
        context = self._context.repeat_interleave(beams, dim=0)
        mask = None if self._mask is None else self._mask.repeat_interleave(beams, dim=0)
        x = network.embed(self._ids.flatten(0, 1))
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        memory = network.memory(x)
        for layer in network.decoder:
            x = layer(x, (memory,), causal, layer.cross_attention.keys_values(context), mask)
        return network.log_probabilities(network.decoder_norm(x[:, -1])).unflatten(0, tokens.shape)

    def reorder(self, beams: Tensor) -> None:
        """Beam k of study b continues what beam ``beams[b, k]`` (B, K) has written."""
        self._ids = self._ids.gather(1, beams.unsqueeze(2).expand(-1, -1, self._ids.shape[2]))


class NeverEnding:
    """A stepper that cannot write the end."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        self.reorder = stepper.reorder

    def step(self, tokens: Tensor) -> Tensor:
        """Log-probabilities (B, K, V + 1) with the end at minus infinity."""
        scores = self._stepper.step(tokens).clone()
        scores[..., END] = float("-inf")
        return scores


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Median seconds of a whole search with either stepper, and their ratio."""
    torch.manual_seed(options.seed)
    sizes = R2GenOptions(width=options.width, feed_forward=options.width, layers=options.layers)
    network = MemoryTransformer(options.vocabulary, options.features, sizes).eval()
    with torch.inference_mode():
        context = network.encode(torch.randn(options.batch, options.patches, options.features))

        def search(stepper: Callable[..., Stepper]) -> list[list[Hypothesis]]:
            made = NeverEnding(stepper(network, context, None))
            return beam_search(made, options.batch, options.beam, options.length, context.device)

        cached, written = _timed(lambda: search(MemoryStepper), options.repeats)
        full, expected = _timed(lambda: search(FullPrefixStepper), options.full_repeats)
    same = [text.ids for study in written for text in study] == [
        text.ids for study in expected for text in study
    ]
    return {
        "cached_seconds": cached,
        "full_prefix_seconds": full,
        "ratio": full / cached,
        "same_words": same,
        "settings": {key: value for key, value in vars(options).items() if key != "json"},
        "machine": {"processor": platform.processor() or platform.machine(), "torch": torch.__version__},
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description="R2Gen's beam search, cached against the full prefix.")
    for name, value in {"batch": 8, "beam": 3, "length": 60, "patches": 98}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--width", type=int, default=512, help="model width; published 512")
    parser.add_argument("--layers", type=int, default=3, help="published 3")
    parser.add_argument("--vocabulary", type=int, default=760, help="words; 760 on IU X-ray")
    parser.add_argument("--features", type=int, default=2048, help="width of a patch; ResNet-101: 2048")
    parser.add_argument("--repeats", type=int, default=5, help="cached searches; the median counts")
    parser.add_argument("--full-repeats", type=int, default=3, help="full-prefix searches")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=9223)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = measure(options)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    settings = (
        f"batch {options.batch}, beam {options.beam}, {options.length} words, {options.threads} threads"
    )
    print(f"R2Gen width {options.width}, {options.layers} layers, {options.vocabulary} words; {settings}")
    print(f"{'full prefix at every step':28}{found['full_prefix_seconds']:8.2f} s")
    print(f"{'cached':28}{found['cached_seconds']:8.2f} s")
    print(f"{'ratio':28}{found['ratio']:8.1f} x")
    print(f"{'same words':28}{'yes' if found['same_words'] else 'NO':>8}")


def _timed(run: Callable[[], list[list[Hypothesis]]], repeats: int) -> tuple[float, list[list[Hypothesis]]]:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        written = run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), written


if __name__ == "__main__":
    main()
