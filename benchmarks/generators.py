"""Drafting: reports a second of every generator, beside the same generator without what it keeps.

    python benchmarks/generators.py [--quick] [--only r2gengpt ...] [--language-model FOLDER] [--json FILE]

Every generator has the CPU size of its small recipe, with random weights and phantoms, and writes texts of
the same length, ending being forbidden. Measured is ``generate`` as ``cxreport generate`` calls it: images to
texts with the log-probabilities of their tokens. It has two peers, which compute with the same weights:

- *nothing kept*: for every token, and every beam, all that was read and written before is read again, image
  tokens and the prompt included; image and bank are computed once a batch. For R2Gen and R2GenCMN this is
  what the published decoder does.
- *every report by itself* (language models only): transformers' own ``generate`` with its cache on the same
  batch and beams, but behind a prefix that is made for every report by itself, bank included, as the
  published code does it. It returns no log-probabilities.

Times are the least of several turns, the contestants taking turns; who takes more than 20 seconds has one.
The whole takes about half an hour on two cores, nearly all of it the first peer. All must write the same
texts; where one does not, the row says so (with random weights, texts can be equally probable to rounding).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxreport.data.batch import Batch, loader
from cxreport.data.sources.phantom import phantom_studies
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.data.words import END
from cxreport.encoders.profile import machine
from cxreport.generators import GENERATORS
from cxreport.generators.base import Generator
from cxreport.generators.decoding import beam_search
from cxreport.generators.encoder_decoder import EncoderDecoder
from cxreport.generators.language_search import Prefix, read_after, search
from cxreport.generators.prefix_lm import PrefixLM
from cxreport.generators.word_generator import WordGenerator
from cxreport.memories.bank import Bank, Entry, Origin
from cxreport.model_options import AMMRGOptions
from cxreport.options import DecodingOptions
from cxreport.recipe import Recipe, shipped_recipes
from cxreport.training.generators import generator_subject

SMALL = {"r2gen": "demo", "r2gencmn": "r2gencmn"}
"""Recipes for a CPU whose names do not end in ``_small``."""
CHANGES = {"r2gencsr": ["model.context=label"]}
"""R2GenCSR with the kind of contexts that the published code encodes anew for every report."""
SLOW = 20.0
"""Seconds of a first turn after which it is the only one, and counts."""
NEVER = -100.0
"""Added to the score of an end."""


class FullPrefix:
    """A stepper that keeps ids alone: `read` gives log-probabilities (B, K, V) after ids (B, K, T)."""

    def __init__(self, read: Callable[[Tensor], Tensor], studies: int) -> None:
        self._read = read
        self._ids = torch.zeros(studies, 1, 0, dtype=torch.long)

    def step(self, tokens: Tensor) -> Tensor:
        """Write tokens (B, K) and return the log-probabilities (B, K, V) of the next ones."""
        self._ids = torch.cat([self._ids, tokens.unsqueeze(2)], dim=2)
        return self._read(self._ids)

    def reorder(self, beams: Tensor) -> None:
        """Beam k of study b continues what beam ``beams[b, k]`` (B, K) has written."""
        self._ids = self._ids.gather(1, beams.unsqueeze(2).expand(-1, -1, self._ids.shape[2]))


def words_again(network: EncoderDecoder, context: Tensor, mask: Tensor | None) -> FullPrefix:
    """R2Gen's or R2GenCMN's decoder over all words at every step."""

    def read(ids: Tensor) -> Tensor:
        beams = ids.shape[1]
        repeated = None if mask is None else mask.repeat_interleave(beams, dim=0)
        decoded = network.decode(context.repeat_interleave(beams, dim=0), repeated, ids.flatten(0, 1))
        return network.log_probabilities(decoded[:, -1]).unflatten(0, ids.shape[:2])

    return FullPrefix(read, len(context))


def tokens_again(generator: PrefixLM, prefix: Prefix) -> FullPrefix:
    """The language model over its whole prompt and all tokens at every step."""
    model = generator.language_model

    def read(ids: Tensor) -> Tensor:
        beams, written = ids.shape[1], ids[:, :, 1:].flatten(0, 1)  # the first stands for nothing written
        repeated = Prefix(
            prefix.embeddings.repeat_interleave(beams, dim=0), prefix.mask.repeat_interleave(beams, dim=0)
        )
        asked = torch.cat([written, torch.zeros(len(written), 1, dtype=torch.long)], dim=1)
        logits = read_after(model, repeated, model.embed(asked), torch.ones_like(asked, dtype=torch.bool))[
            :, -1
        ]
        return logits.float().log_softmax(dim=-1).unflatten(0, ids.shape[:2])

    return FullPrefix(read, len(prefix.mask))


class Contestants:
    """One generator with its peers; each maps a batch to texts."""

    def __init__(self, generator: Generator, length: int) -> None:
        self.generator, self.length = generator.eval(), length
        never_ending(generator)

    def runs(self, beam: int) -> dict[str, Callable[[Batch], list[str]]]:
        """The generator itself and those of its peers that there are."""
        decoding = self._decoding(beam)
        found: dict[str, Callable[[Batch], list[str]]] = {
            "ours": lambda batch: [draft.text for draft in self.generator.generate(batch, decoding)],
            "nothing kept": lambda batch: self._nothing_kept(batch, beam),
        }
        if isinstance(self.generator, PrefixLM):
            found["every report by itself"] = lambda batch: self._by_itself(batch, decoding)
        return found

    def forget(self) -> None:
        """Write to all weights but the language model's, so that what is kept of a bank is made again."""
        with torch.no_grad():
            for name, parameter in self.generator.named_parameters():
                if not name.startswith("language_model."):
                    parameter.add_(0)

    def _decoding(self, beam: int) -> DecodingOptions:
        method: Any = "greedy" if beam == 1 else "beam"
        return DecodingOptions(method=method, max_length=self.length, beam_size=beam)

    def _nothing_kept(self, batch: Batch, beam: int) -> list[str]:
        generator = self.generator
        if isinstance(generator, WordGenerator):
            network: Any = generator.network
            network.stepper = lambda context, mask: words_again(network, context, mask)
            drafts = generator.generate(batch, self._decoding(beam))
            del network.stepper
            return [draft.text for draft in drafts]
        assert isinstance(generator, PrefixLM)
        with torch.inference_mode():
            prefix = generator.prefix(batch, generator.look(batch))
            stepper = tokens_again(generator, prefix)
            found = beam_search(stepper, len(batch), beam, self.length, prefix.mask.device)
        return [generator.language_model.text(list(best[0].ids)) for best in found]

    def _by_itself(self, batch: Batch, decoding: DecodingOptions) -> list[str]:
        generator = self.generator
        assert isinstance(generator, PrefixLM)
        with torch.inference_mode():
            rows = []
            for place in range(len(batch)):
                self.forget()
                row = alone(batch, place)
                rows.append(generator.prefix(row, generator.look(row)))
            longest = max(row.mask.shape[1] for row in rows)
            short = [longest - row.mask.shape[1] for row in rows]
            padded = [
                functional.pad(row.embeddings, (0, 0, more, 0)) for row, more in zip(rows, short, strict=True)
            ]
            masks = [functional.pad(row.mask, (more, 0)) for row, more in zip(rows, short, strict=True)]
            prefix = Prefix(torch.cat(padded), torch.cat(masks))
            written = search(generator.language_model, prefix, decoding, batch.study_ids)
        return [generator.language_model.text(ids) for ids in written]


@torch.no_grad()
def never_ending(generator: Generator) -> None:
    """Make the ends of a text improbable; with random weights it would end anywhere."""
    if isinstance(generator, WordGenerator):
        generator.network.head.bias[END] += NEVER
        return
    assert isinstance(generator, PrefixLM)
    model = generator.language_model
    head = model.network.get_output_embeddings()
    biased = nn.Linear(head.in_features, head.out_features)
    biased.weight = head.weight
    biased.bias.zero_()[[END, model.eos]] = NEVER
    model.network.set_output_embeddings(biased)


def alone(batch: Batch, place: int) -> Batch:
    """One study of a batch."""
    kept = slice(place, place + 1)
    return Batch(
        batch.images[kept],
        batch.view_mask[kept],
        batch.study_ids[kept],
        batch.reports[kept],
        patient_ids=batch.patient_ids[kept],
    )


def measure(contestants: Contestants, batch: Batch, beam: int, repeats: int) -> dict[str, Any]:
    """Least seconds of each contestant after a first turn that does not count, reports a second, ratios."""
    runs = contestants.runs(beam)
    texts: dict[str, list[str]] = {}
    seconds: dict[str, float] = {}
    for turn in range(1 + repeats):
        for name, run in runs.items():
            if turn and seconds[name] > SLOW:
                continue
            start = time.perf_counter()
            texts[name] = run(batch)
            passed = time.perf_counter() - start
            seconds[name] = passed if turn <= 1 else min(seconds[name], passed)
    return {
        "beam": beam,
        "batch": len(batch),
        "reports_per_second": len(batch) / seconds["ours"],
        "seconds": seconds,
        "times_as_fast": {name: seconds[name] / seconds["ours"] for name in runs if name != "ours"},
        "same_texts": {name: texts[name] == texts["ours"] for name in runs if name != "ours"},
    }


def small_recipes() -> dict[str, str]:
    """The recipe for a CPU of every generator that has one."""
    found = dict(SMALL)
    for name, path in shipped_recipes().items():
        if name.endswith("_small") and "generator:" in path.read_text(encoding="utf-8"):
            found.setdefault(Recipe.load(name).model.generator, name)
    return {name: found[name] for name in GENERATORS if name in found}


def language_model_folder(folder: Path, reports: list[str]) -> Path:
    """A language model of random weights in the size of ``cxreport pretrain language``: 8.7 million."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = ["<unk>", "<s>", "</s>"]
    tokenizer.train_from_iterator(
        reports, trainers.WordLevelTrainer(special_tokens=special, show_progress=False)
    )
    tokenizer.add_tokens([f"word{number}" for number in range(2048 - tokenizer.get_vocab_size())])
    names = dict(zip(("unk_token", "bos_token", "eos_token"), special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "hidden_size": 320,
        "intermediate_size": 864,
        "num_hidden_layers": 6,
        "num_attention_heads": 5,
    }
    config = LlamaConfig(vocab_size=2048, max_position_embeddings=512, initializer_range=0.1, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def banks(folder: Path, width: int) -> list[str]:
    """Changes of a recipe of AM-MRG: two banks of random vectors, as many as Open-i trains on."""
    changes = []
    for option, name in (("visual_bank", "disease"), ("report_bank", "reports")):
        vectors = torch.randn(2069, width, generator=torch.Generator().manual_seed(len(name)))
        entries = [Entry(f"bank {number}", f"bank {number}") for number in range(len(vectors))]
        (folder / name).mkdir(parents=True)
        Bank(vectors, entries, Origin({"source": "random"})).save(folder / name, name)
        changes.append(f"model.{option}={folder / name}")
    return changes


def built(
    name: str, recipe_name: str, dataset: PreparedDataset, root: Path, language_model: Path
) -> tuple[Generator, Recipe]:
    """The generator of a recipe with random weights, made as training makes it."""
    recipe = Recipe.load(recipe_name, CHANGES.get(name, []))
    if isinstance(recipe.model, AMMRGOptions):
        made = banks(root / "banks", recipe.model.queries.width)
        recipe = Recipe.load(recipe_name, made)
    tree = recipe.model_dump(mode="json")
    if "language_model" in tree["model"]:
        tree["model"]["language_model"]["path"] = str(language_model)
    recipe = Recipe.parse(tree)
    generator: Any = generator_subject(recipe, dataset).build().system
    return generator, recipe


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description="Reports a second of every generator, beside naive decoding."
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these generators; all with a small recipe")
    parser.add_argument("--language-model", type=Path, help="folder; default: one of random weights, 8.7 M")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--length", type=int, default=60, help="words or tokens of every text")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="one beam, batches of 2, texts of 6 words")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.quick:
        options.beams, options.batches, options.length, options.repeats = [1], [2], 6, 1
    torch.set_num_threads(options.threads)
    recipes = small_recipes()
    chosen = options.only or list(recipes)
    for name in sorted({*chosen} - {*recipes}):
        parser.error(f"{name} has no recipe for a CPU; those that have are {', '.join(recipes)}")
    found: dict[str, Any] = {
        "machine": machine(),
        "settings": {"length": options.length, "threads": options.threads, "generators": {}},
    }
    print(f"{'generator':12}{'beam':>6}{'batch':>7}{'reports/s':>11}   times as fast as", flush=True)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        studies = phantom_studies(20 if options.quick else 90, 128, "grammar", 9223)
        dataset = write_dataset(studies, root / "data", source="phantom", source_version="1", options={})
        reports = [entry.findings or "" for entry in dataset.split("train").reports]
        language_model = options.language_model or language_model_folder(root / "language_model", reports)
        for name in chosen:
            generator, recipe = built(name, recipes[name], dataset, root, language_model)
            contestants = Contestants(generator, options.length)
            rows = []
            for batch_size in options.batches:
                test = dataset.split("test")
                batch = next(iter(loader(test, recipe.data, batch_size=batch_size, train=False, seed=0)))
                for beam in options.beams:
                    row = measure(contestants, batch, beam, options.repeats)
                    rows.append(row)
                    print(
                        f"{name:12}{beam:6}{len(batch):7}{row['reports_per_second']:11.2f}   {told(row)}",
                        flush=True,
                    )
            parameters = sum(value.numel() for value in generator.parameters())
            found["settings"]["generators"][name] = {"recipe": recipes[name], "parameters": parameters}
            found[name] = rows
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def told(row: dict[str, Any]) -> str:
    """The peers of a row."""
    return ", ".join(
        f"{name}: {ratio:.2f}{'' if row['same_texts'][name] else ' (OTHER TEXTS)'}"
        for name, ratio in row["times_as_fast"].items()
    )


if __name__ == "__main__":
    main()
