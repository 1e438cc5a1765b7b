"""Searches of a language model: against doing the same without a cache, alone, and by hand."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from tiny_language import bytes_folder, word_tokenizer, words_folder
from transformers import AutoModelForCausalLM, BloomConfig, Gemma3TextConfig, GPT2Config, Qwen2Config

from cxreport.generators.language_models import LanguageModel, load_language_model
from cxreport.generators.language_search import DrawnTokens, Prefix, begun, read_after, search
from cxreport.model_options import LanguageModelOptions
from cxreport.options import DecodingOptions

IDS = ["a", "b", "c"]


@pytest.fixture(scope="module", params=["words", "bytes"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    path = words_folder() if request.param == "words" else bytes_folder()
    return load_language_model(LanguageModelOptions(path=path)).eval()


@pytest.fixture(scope="module")
def prefix(model: LanguageModel) -> Prefix:
    """Prompts of 3, 7 and 5 tokens."""
    embeddings = torch.randn(3, 7, model.width, generator=torch.Generator().manual_seed(2))
    mask = torch.arange(7) < torch.tensor([[3], [7], [5]])
    return Prefix.of(embeddings, mask)


def alone(prefix: Prefix, index: int) -> Prefix:
    """The prompt of one study without its padding."""
    seen = prefix.mask[index]
    return Prefix(prefix.embeddings[[index]][:, seen], seen[None][:, seen])


def options(method: str = "greedy", **more: Any) -> DecodingOptions:
    return DecodingOptions(method=method, **({"max_length": 14} | more))


def naive_greedy(model: LanguageModel, prefix: Prefix, length: int) -> list[int]:
    """The most probable id at every step, all read again for each."""
    written: list[int] = []
    while len(written) < length and written[-1:] != [model.eos]:
        ids = torch.tensor([[*written, 0]])
        logits = read_after(model, prefix, model.embed(ids), torch.ones_like(ids).bool())
        written.append(int(logits[0, -1].argmax()))
    return written


def naive_guided(model: LanguageModel, prefix: Prefix, blind: Prefix, strength: float) -> list[int]:
    """Equations 3 and 4 of visual contrastive decoding at every step, all read again for each."""
    written: list[int] = []
    while len(written) < 14 and written[-1:] != [model.eos]:
        ids = torch.tensor([[*written, 0]])
        seen, without = (
            read_after(model, each, model.embed(ids), torch.ones_like(ids).bool())[0, -1].softmax(dim=0)
            for each in (prefix, blind)
        )
        score = (1 + strength) * seen.log() - strength * without.log()
        plausible = seen >= 0.1 * seen.max()
        written.append(
            max(range(len(score)), key=lambda token: (bool(plausible[token]), float(score[token])))
        )
    return written


def naive_beams(model: LanguageModel, prefix: Prefix, beams: int, length: int) -> list[int]:
    """Beam search without cache, batch or length penalty."""
    running: list[tuple[float, list[int]]] = [(0.0, [])]
    ended: list[tuple[float, list[int]]] = []
    for _ in range(length):
        candidates = []
        for score, written in running:
            ids = torch.tensor([[*written, 0]])
            logprobs = read_after(model, prefix, model.embed(ids), torch.ones_like(ids).bool())[
                0, -1
            ].log_softmax(0)
            candidates += [(score + value, [*written, i]) for i, value in enumerate(logprobs.tolist())]
        candidates.sort(key=lambda each: -each[0])
        ended += [each for each in candidates[:beams] if each[1][-1] == model.eos]
        running = [each for each in candidates if each[1][-1] != model.eos][:beams]
    return max([*ended, *running], key=lambda each: each[0])[1]


@torch.no_grad()
def test_greedy_with_a_cache_is_greedy_without(model: LanguageModel, prefix: Prefix) -> None:
    found = search(model, prefix, options(), IDS)
    assert found == [naive_greedy(model, alone(prefix, index), 14) for index in range(3)]


@torch.no_grad()
def test_beams_with_a_cache_are_beams_without(model: LanguageModel, prefix: Prefix) -> None:
    found = search(model, prefix, options("beam", beam_size=3, length_penalty=0.0, max_length=6), IDS)
    assert found == [naive_beams(model, alone(prefix, index), 3, 6) for index in range(3)]


@torch.no_grad()
@pytest.mark.parametrize(
    "decoding",
    [
        options("beam", beam_size=4),
        options("beam", beam_size=2, length_penalty=2.0, repetition_penalty=2.0, min_new_tokens=5),
        options("greedy", no_repeat_ngram=2, repetition_penalty=1.5),
        options("sample", temperature=2.0, top_p=0.9),
    ],
    ids=lambda each: each.method,
)
def test_a_study_alone_is_written_as_in_a_batch(
    model: LanguageModel, prefix: Prefix, decoding: DecodingOptions
) -> None:
    together = search(model, prefix, decoding, IDS)
    each = [search(model, alone(prefix, index), decoding, IDS[index : index + 1])[0] for index in range(3)]
    assert together == each


@torch.no_grad()
def test_guidance_is_that_of_the_paper(model: LanguageModel, prefix: Prefix) -> None:
    """Cached and in a batch of unequal prompts as by hand, and another text than without."""
    words = model.embed(torch.tensor([[1, 4]]).expand(3, -1))
    blind = Prefix(words, torch.ones(3, 2, dtype=torch.bool))
    guided = search(model, prefix, options(guidance=2.0), IDS, begun(model, prefix), blind)
    by_hand = [naive_guided(model, alone(prefix, index), alone(blind, index), 2.0) for index in range(3)]
    assert guided == by_hand
    assert guided != search(model, prefix, options(), IDS)


@torch.no_grad()
def test_a_prompt_read_once_for_all(model: LanguageModel, prefix: Prefix) -> None:
    cache = begun(model, prefix)
    for decoding in (options(), options("beam", beam_size=3), options("sample")):
        shared = search(model, prefix, decoding, IDS, cache)
        assert shared == search(model, prefix, decoding, IDS)
    ids = torch.tensor([[5, 6, 7, 8], [9, 3, 0, 0], [4, 4, 4, 0]])
    words = model.embed(ids)
    mask = torch.arange(4) < torch.tensor([[4], [2], [3]])
    shared, plain = read_after(model, prefix, words, mask, cache), read_after(model, prefix, words, mask)
    torch.testing.assert_close(shared[mask], plain[mask], atol=1e-4, rtol=1e-4)
    assert cache.get_seq_length() == 6, "nothing is added to what is shared"
    assert begun(model, Prefix(prefix.embeddings[:, -1:], prefix.mask[:, -1:])) is None


SHAPE = {
    "vocab_size": 18,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.4,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
OTHERS = {
    "positions that are learnt": GPT2Config(
        vocab_size=18, n_embd=32, n_layer=2, n_head=4, initializer_range=0.4, bos_token_id=1, eos_token_id=2
    ),
    "shared keys": Qwen2Config(**SHAPE),
    "a sliding window": Gemma3TextConfig(
        **SHAPE, sliding_window=4, layer_types=["sliding_attention", "full_attention"]
    ),
    "slopes for positions": BloomConfig(
        vocab_size=18, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.4
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("config", OTHERS.values(), ids=OTHERS)
def test_architectures_with(config: Any) -> None:
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(config)
    other = LanguageModel(LanguageModelOptions(path="given"), network, word_tokenizer(), "00" * 32).eval()
    mask = torch.arange(9) < torch.tensor([[3], [9], [5]])
    prompts = Prefix.of(torch.randn(3, 9, other.width), mask)
    cache = begun(other, prompts)
    for decoding in (options(), options("beam", beam_size=3)):
        together = search(other, prompts, decoding, IDS, cache)
        assert len({tuple(row) for row in together}) > 1
        for index in range(3):
            assert search(other, alone(prompts, index), decoding, IDS[index : index + 1]) == [together[index]]


@torch.no_grad()
def test_one_beam_is_greedy(model: LanguageModel, prefix: Prefix) -> None:
    assert search(model, prefix, options("beam", beam_size=1), IDS) == search(model, prefix, options(), IDS)


@torch.no_grad()
def test_penalties_and_limits_hold(model: LanguageModel, prefix: Prefix) -> None:
    for row in search(model, prefix, options(no_repeat_ngram=1, min_new_tokens=4), IDS):
        assert len(set(row)) == len(row) > 4
    for row in search(model, prefix, options("beam", no_repeat_ngram=2, min_new_tokens=13), IDS):
        pairs = Counter(itertools.pairwise(row))
        assert max(pairs.values()) == 1
        assert len(row) == 14


@torch.no_grad()
def test_the_seed_and_the_study_decide_a_draw(model: LanguageModel, prefix: Prefix) -> None:
    first = search(model, prefix, options("sample"), IDS)
    assert search(model, prefix, options("sample"), IDS) == first
    assert search(model, prefix, options("sample", seed=1), IDS) != first
    assert search(model, prefix, options("sample"), ["d", "e", "f"]) != first
    assert search(model, prefix, options("sample", top_p=1e-6), IDS) == search(model, prefix, options(), IDS)


def test_tokens_are_drawn_by_their_probability() -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    draw = DrawnTokens(options("sample"), ["a", "b"])
    scores = probabilities.log().expand(2, -1)
    drawn = torch.stack([draw(None, scores).argmax(dim=1) for _ in range(4000)]).flatten()
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(shares, probabilities, atol=0.02, rtol=0)
    warm = DrawnTokens(options("sample", temperature=0.5, top_p=0.75), ["a", "b"])
    drawn = torch.stack([warm(None, scores).argmax(dim=1) for _ in range(4000)]).flatten()
    squares = probabilities[:2] ** 2  # 0.25 and 0.09 of 0.365 are more than three quarters
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(shares[:2], squares / squares.sum(), atol=0.02, rtol=0)
    assert not shares[2:].any()
