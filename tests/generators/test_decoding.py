"""Searches: cached equals uncached, the published rules, and an early stop that changes nothing."""

from __future__ import annotations

import importlib.util
import itertools
import math
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from cxreport.data.words import END
from cxreport.generators.decoding import (
    TRIGRAM_PENALTY,
    Guide,
    Hypothesis,
    beam_search,
    greedy_search,
    guided,
)
from cxreport.generators.memory_transformer import MemoryStepper, MemoryTransformer
from cxreport.model_options import R2GenOptions

CPU = torch.device("cpu")


def benchmark() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "decoding.py"
    spec = importlib.util.spec_from_file_location("decoding_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FullPrefixStepper = benchmark().FullPrefixStepper


class ChainStepper:
    """A Markov chain: log-probabilities depend on the last id only; `table` is (V, V)."""

    def __init__(self, table: Tensor) -> None:
        self.table = table
        self.steps = 0

    def step(self, tokens: Tensor) -> Tensor:
        self.steps += 1
        return self.table[tokens]

    def reorder(self, beams: Tensor) -> None:
        pass


def network(seed: int, words: int = 12, slots: int = 3) -> MemoryTransformer:
    torch.manual_seed(seed)
    options = R2GenOptions(
        width=16, feed_forward=24, heads=4, layers=2, memory_slots=slots, memory_heads=2, max_length=12
    )
    made = MemoryTransformer(words, 10, options).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        # louder than at birth, so that texts differ between studies and end after different lengths
        made.patch_projection.weight.mul_(3)
        made.embedding.weight.mul_(2)
        made.head.weight.mul_(2)
        made.head.bias[END] += 1.5
    return made


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("hidden", [False, True])
def test_cached_equals_the_full_prefix(seed: int, hidden: bool) -> None:
    made = network(seed)
    studies = 4
    mask = None
    if hidden:
        mask = (torch.rand(studies, 1, 1, 9) > 0.4).index_fill(3, torch.tensor([0]), True)
    with torch.no_grad():
        context = made.encode(torch.randn(studies, 9, 10), mask)
        for beam in (2, 3, 5):
            cached = beam_search(MemoryStepper(made, context, mask), studies, beam, 14, CPU, keep=beam)
            full = beam_search(FullPrefixStepper(made, context, mask), studies, beam, 14, CPU, keep=beam)
            same(list(itertools.chain(*cached)), list(itertools.chain(*full)))
        for block in (False, True):
            cached_texts = greedy_search(MemoryStepper(made, context, mask), studies, 14, CPU, block)
            full_texts = greedy_search(FullPrefixStepper(made, context, mask), studies, 14, CPU, block)
            same(cached_texts, full_texts)


def test_random_weights_write_texts_of_many_lengths() -> None:
    texts = set()
    for seed in range(6):
        made = network(seed)
        with torch.no_grad():
            context = made.encode(torch.randn(4, 9, 10))
            texts |= {text.ids for text in greedy_search(MemoryStepper(made, context, None), 4, 14, CPU)}
    assert len(texts) >= 15
    assert len({len(ids) for ids in texts}) >= 5


def same(texts: list[Hypothesis], others: list[Hypothesis]) -> None:
    assert [text.ids for text in texts] == [text.ids for text in others]
    for text, other in zip(texts, others, strict=True):
        assert text.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        assert text.score == pytest.approx(other.score, abs=1e-3)


def test_a_study_is_written_alone_as_in_a_batch() -> None:
    made = network(3)
    with torch.no_grad():
        context = made.encode(torch.randn(3, 9, 10))
        together = beam_search(MemoryStepper(made, context, None), 3, 3, 14, CPU)
        alone = beam_search(MemoryStepper(made, context[1:2], None), 1, 3, 14, CPU)
    same(together[1], alone[0])


def test_beams_of_more_than_all_paths_find_the_most_probable_text() -> None:
    torch.manual_seed(2)
    table = torch.log_softmax(2 * torch.randn(4, 4), dim=1)
    texts = {}
    for length in range(1, 5):
        for words in itertools.product((1, 2, 3), repeat=length):
            ids = (*words, END) if length < 4 else words
            path = itertools.pairwise((END, *ids))
            texts[ids] = sum(float(table[last, word]) for last, word in path)
    texts[(END,)] = float(table[END, END])
    best = sorted(texts, key=lambda ids: -texts[ids])[:5]
    [found] = beam_search(ChainStepper(table), 1, 200, 4, CPU, keep=5)
    assert [text.ids for text in found] == best
    assert [text.score for text in found] == pytest.approx([texts[ids] for ids in best], abs=1e-5)


def test_hypotheses_are_ranked_without_a_length_penalty() -> None:
    # the end at once has probability .4; "1 end" has .6 * .6
    table = torch.tensor([[0.4, 0.6], [0.6, 0.4]]).log()
    [[best, second]] = beam_search(ChainStepper(table), 1, 2, 5, CPU, keep=2)
    assert (best.ids, second.ids) == ((END,), (1, END))
    assert (best.score, second.score) == pytest.approx([torch.tensor(p).log().item() for p in (0.4, 0.36)])


def test_a_finished_beam_runs_on_far_behind() -> None:
    # at the limit all three beams are stored, one of which had ended before
    table = torch.tensor([[0.9, 0.1], [0.9, 0.1]]).log()
    [found] = beam_search(ChainStepper(table), 1, 3, 2, CPU, keep=9)
    assert [text.ids for text in found] == [(END,), (1, END), (1, 1), (END, END)]
    often, seldom = torch.tensor([0.9, 0.1]).log().tolist()
    scores = [often, seldom + often, seldom + seldom, often + often - 1000]
    assert [text.score for text in found] == pytest.approx(scores, abs=1e-3)


@pytest.mark.parametrize("keep", [1, 2])
def test_the_early_stop_changes_nothing(keep: int) -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        table = torch.log_softmax(3 * torch.randn(7, 7), dim=1)
        early = ChainStepper(table)
        stopped = beam_search(early, 2, 3, 30, CPU, keep=keep)
        patient = beam_search(ChainStepper(table), 2, 3, 30, CPU, keep=10**6)
        assert stopped == [study[:keep] for study in patient]
    torch.manual_seed(0)
    table = torch.log_softmax(torch.tensor([[5.0, 0, 0]] * 3), dim=1)
    quick = ChainStepper(table)
    beam_search(quick, 2, 3, 30, CPU)
    assert quick.steps == 1


def test_greedy_stops_at_the_end_and_at_the_limit() -> None:
    table = torch.full((4, 4), -9.0)
    for last, word in ((0, 1), (1, 2), (2, 3), (3, 0)):
        table[last, word] = -0.5
    [text] = greedy_search(ChainStepper(table), 1, 10, CPU)
    assert text.ids == (1, 2, 3, END)
    assert text.logprobs == (-0.5,) * 4
    assert text.score == -2.0
    [cut] = greedy_search(ChainStepper(table), 1, 2, CPU)
    assert cut.ids == (1, 2)


def test_the_trigram_penalty_is_soft_and_counts_repeats() -> None:
    # 1 2 1 2 ... for ever, each time with margin `margin` over 3
    def written(margin: float, length: int) -> tuple[int, ...]:
        table = torch.full((4, 4), -50.0)
        table[0, 1] = table[2, 1] = table[3, 1] = -0.1
        table[1, 2], table[1, 3] = -0.1, -0.1 - margin
        [text] = greedy_search(ChainStepper(table), 1, length, CPU, block_trigrams=True)
        return text.ids

    # the trigrams 1 2 1 and 2 1 2 are complete after ids 3 and 4; only the second has a rival
    assert written(TRIGRAM_PENALTY - 0.01, 6) == (1, 2, 1, 2, 1, 3)
    assert written(TRIGRAM_PENALTY + 0.01, 6) == (1, 2, 1, 2, 1, 2)
    assert written(2 * TRIGRAM_PENALTY - 0.01, 8) == (1, 2, 1, 2, 1, 2, 1, 3)


def test_guidance_by_hand() -> None:
    seen = torch.tensor([[0.5, 0.3, 0.16, 0.04]]).log()
    blind = torch.tensor([[0.7, 0.1, 0.1, 0.1]]).log()
    ranked = guided(seen, blind, 2.0)
    expected = torch.tensor([0.5 * (0.5 / 0.7) ** 2, 0.3 * 3**2, 0.16 * 1.6**2]).log()
    torch.testing.assert_close(ranked[0, :3], expected, atol=1e-6, rtol=1e-6)
    assert ranked[0, 3] == float("-inf"), "below a tenth of the most probable one"
    torch.testing.assert_close(guided(seen, blind, 0.0)[0, :3], seen[0, :3], atol=0, rtol=0)


def test_a_guided_search_ranks_by_the_difference_and_reports_the_plain_probabilities() -> None:
    """After 0 the chain prefers 1; without the image it does so even more, so that 2 is taken."""
    seen = torch.tensor([[0.0, 0.6, 0.4], [0.8, 0.1, 0.1], [0.9, 0.05, 0.05]]).clamp_min(1e-9).log()
    blind = torch.tensor([[0.0, 0.9, 0.1], [0.5, 0.3, 0.2], [0.8, 0.1, 0.1]]).clamp_min(1e-9).log()
    plain = greedy_search(ChainStepper(seen), 1, 5, CPU)[0]
    found = greedy_search(ChainStepper(seen), 1, 5, CPU, guide=Guide(ChainStepper(blind), 1.0))[0]
    assert (plain.ids, found.ids) == ((1, 0), (2, 0))
    assert found.logprobs == pytest.approx([math.log(0.4), math.log(0.9)])
