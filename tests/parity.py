"""Compare our modules with numbers of the published code.

    python tests/parity.py FILE...

Each FILE is an item's ``.safetensors`` (its ``.json`` lies beside it) or, for an item of texts, its
``.json``. The JSON names the item, its configuration and the tolerance. Prints the largest absolute and
relative difference of every output; the exit status is 1 when one is above the tolerance, and 2 for a file
that cannot be compared. A new item is one function in :data:`PARITY`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn import functional

from cxreport.checkpoints.published import load_published, r2gen_network_names
from cxreport.data.text import legacy_iu
from cxreport.data.words import END, WordTokenizer
from cxreport.errors import UserError
from cxreport.generators.decoding import Hypothesis, beam_search, greedy_search
from cxreport.generators.memory_transformer import MemoryStepper, MemoryTransformer
from cxreport.metrics.bleu import bleu
from cxreport.metrics.cider import cider_d
from cxreport.metrics.rouge import rouge_l
from cxreport.recipe import R2GenOptions

SHARED = Path(os.environ.get("CXREPORT_SHARED", Path(__file__).resolve().parents[2] / "shared"))
"""Real reports, which an item of texts may need."""


@dataclass(frozen=True)
class Item:
    """A file of golden numbers; the tensors are empty for an item of texts."""

    path: Path
    json: dict[str, Any]
    weights: dict[str, torch.Tensor]
    inputs: dict[str, torch.Tensor]
    outputs: dict[str, torch.Tensor]


@dataclass(frozen=True)
class Difference:
    """The largest difference of one output; ``limit`` says what was allowed."""

    output: str
    absolute: float
    relative: float
    limit: str
    within: bool


class CannotCompareError(Exception):
    """The file is missing, damaged or of an unknown item."""


Values = Mapping[str, Any]


def r2gen(item: Item) -> tuple[Values, Values]:
    """R2Gen's encoder-decoder over given patch features: ours and published outputs."""
    config, given = item.json["config"], item.inputs
    options = R2GenOptions(
        width=config["d_model"],
        feed_forward=config["d_ff"],
        heads=config["num_heads"],
        layers=config["num_layers"],
        memory_slots=config["rm_num_slots"],
        memory_heads=config["rm_num_heads"],
    )
    network = MemoryTransformer(config["vocab"], config["d_vf"], options).eval()
    load_published(network, item.weights, r2gen_network_names(network))
    ids, mask, limit = given["ids"], given["mask"][:, 1:], config["max_seq_length"]
    context = network.encode(given["att_feats"])
    embedding = network.embed(ids[:, :-1])
    memory = network.memory(embedding)
    decoded = network.decode(context, None, ids[:, :-1])
    logprobs = network.log_probabilities(decoded)
    taken = -logprobs.gather(2, ids[:, 1:].unsqueeze(2)).squeeze(2)
    ours: dict[str, Any] = {
        "patch_embedding": network.project(given["att_feats"]),
        "encoder_out": context,
        "target_embedding": embedding,
        "relational_memory": memory,
        "mcln_in": embedding,
        "mcln_out": network.decoder_layers[0].self_attention_norm(embedding, memory),
        "decoder_out": decoded,
        "logprobs": logprobs,
        "loss": (taken * mask).sum() / mask.sum(),
    }
    studies, device, size = ids.shape[0], ids.device, config["beam_size"]
    found = beam_search(MemoryStepper(network, context, None), studies, size, limit, device, keep=size)
    best = beam_search(MemoryStepper(network, context, None), studies, size, limit, device)
    ours["beam3_ids"] = _padded([study[0] for study in best], limit)
    ours["beam3_all_ids"] = torch.stack([_padded(study, limit) for study in found])
    ours["beam3_all_scores"] = torch.tensor([[text.score for text in study] for study in found])
    ours["beam3_all_lengths"] = torch.tensor([[len(text.ids) for text in study] for study in found])
    for name, block in (("greedy_ids", False), ("greedy_block_trigrams_ids", True)):
        texts = greedy_search(MemoryStepper(network, context, None), studies, limit, device, block)
        ours[name] = _padded(texts, limit)
    return ours, item.outputs


def word_tokenizer(item: Item) -> tuple[Values, Values]:
    """R2Gen's vocabulary and ids, learnt again from the annotation file of the shared data."""
    config = item.json["config"]
    annotation = SHARED / "data" / "iu_xray" / "annotation.json"
    if not annotation.is_file():
        raise CannotCompareError(f"{item.path} needs {annotation}, which is absent (set CXREPORT_SHARED).")
    records = json.loads(annotation.read_text(encoding="utf-8"))["train"]
    tokenizer = WordTokenizer.train((legacy_iu(record["report"]) for record in records), config["threshold"])
    vocabulary = {
        "size_with_unk": len(tokenizer),
        "output_layer_rows": len(tokenizer) + 1,
        "first_50": list(tokenizer.words[:50]),
        "last_50": list(tokenizer.words[-50:]),
        "unk_id": tokenizer.words.index("<unk>") + 1,
        "sha256_newline_joined": hashlib.sha256("\n".join(tokenizer.words).encode()).hexdigest(),
    }
    examples = []
    for example in item.json["examples"]:
        clean = legacy_iu(example["report"])
        cut = tokenizer.encode(clean, config["max_seq_length"])
        ids = {"ids": tokenizer.encode(clean), "ids_truncated": cut}
        text = {"clean": clean, "decoded_from_truncated": tokenizer.decode(cut[1:])}
        examples.append(example | ids | text)
    ours = {f"vocabulary.{key}": value for key, value in vocabulary.items()} | _columns(examples)
    published = {f"vocabulary.{key}": value for key, value in item.json["vocabulary"].items()}
    return ours, published | _columns(item.json["examples"])


def report_cleaners(item: Item) -> tuple[Values, Values]:
    """R2Gen's cleaner for IU X-ray; the two for MIMIC-CXR are not ours."""
    groups = {f"{group}.iu": item.json[group] for group in ("real", "invented")}
    ours = {name: [legacy_iu(text["raw"]) for text in texts] for name, texts in groups.items()}
    return ours, {name: [text["iu"] for text in texts] for name, texts in groups.items()}


def nlg_metrics(item: Item) -> tuple[Values, Values]:
    """BLEU, ROUGE-L and CIDEr-D, corpus and per sample over all sections of the file; METEOR is not ours."""
    ours: dict[str, list[np.ndarray]] = {"Bleu": [], "ROUGE_L": [], "CIDEr": []}
    published: dict[str, list[np.ndarray]] = {name: [] for name in ours}
    sections = [value for value in item.json.values() if isinstance(value, dict) and "per_sample" in value]
    for section in sections:
        pairs = section.get("tokenized") or section.get("pairs") or item.json["pairs"]
        hypotheses = [pair["hyp"] for pair in pairs]
        references = [pair["refs"] if "refs" in pair else [pair["ref"]] for pair in pairs]
        for name, metric in (("Bleu", bleu), ("ROUGE_L", rouge_l), ("CIDEr", cider_d)):
            tally = metric(hypotheses, references)
            columns = [key for key in section["corpus"] if key.startswith(name)]
            ours[name] += [tally.values(), tally.per_sample().T.ravel()]
            for part in ("corpus", "per_sample"):
                published[name].append(np.ravel([section[part][key] for key in columns]))
    return _tensors(ours), _tensors(published)


PARITY: dict[str, Callable[[Item], tuple[Values, Values]]] = {
    "r2gen": r2gen,
    "word_tokenizer": word_tokenizer,
    "report_cleaners": report_cleaners,
    "nlg_metrics": nlg_metrics,
}
"""Item to a function that returns our outputs and the published ones, by name."""


def compare(path: Path) -> list[Difference]:
    """The difference of every output of a file; raises :class:`CannotCompareError`."""
    item = _read(path)
    if item.json.get("item") not in PARITY:
        known = ", ".join(sorted(PARITY))
        raise CannotCompareError(f"{path} holds the unknown item {item.json.get('item')!r}; known: {known}.")
    try:
        with torch.no_grad():
            ours, published = PARITY[item.json["item"]](item)
    except (KeyError, UserError) as error:
        raise CannotCompareError(f"{path} cannot be compared: {error}") from error
    if missing := sorted(published.keys() - ours.keys()):
        raise CannotCompareError(f"{path} has outputs that nothing here computes: {', '.join(missing)}.")
    tolerance = item.json["tolerance"]
    return [_difference(name, ours[name], published[name], tolerance) for name in sorted(published)]


def main(arguments: Sequence[str]) -> int:
    """Print all differences; 0 within tolerance, 1 above, 2 for a file that cannot be compared."""
    if not arguments:
        print("usage: python tests/parity.py FILE.safetensors...", file=sys.stderr)
        return 2
    status = 0
    for argument in arguments:
        try:
            differences = compare(Path(argument))
        except CannotCompareError as error:
            print(error, file=sys.stderr)
            return 2
        print(argument)
        for each in differences:
            verdict = "ok" if each.within else "ABOVE"
            sizes = f"abs {each.absolute:9.2e}  rel {each.relative:9.2e}"
            print(f"  {each.output:34} {sizes}  {each.limit:24} {verdict}")
            status = status if each.within else 1
    return status


def _read(path: Path) -> Item:
    description = path.with_suffix(".json")
    try:
        tree = json.loads(description.read_text(encoding="utf-8"))
        tensors = load_file(path) if path.suffix == ".safetensors" else {}
    except (OSError, ValueError, SafetensorError) as error:
        raise CannotCompareError(f"{path} cannot be read, or not the JSON beside it: {error}.") from None
    if not isinstance(tree, dict):
        raise CannotCompareError(f"{description} does not describe an item.")

    def group(prefix: str) -> dict[str, torch.Tensor]:
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

    return Item(path, tree, group("weights."), group("inputs."), group("outputs."))


def _difference(name: str, ours: Any, published: Any, tolerance: Any) -> Difference:
    """Floating-point outputs within atol + rtol, everything else exactly."""
    if not _is_float(published):
        same = torch.equal(ours, published) if isinstance(published, torch.Tensor) else ours == published
        return Difference(name, 0.0 if same else np.inf, 0.0 if same else np.inf, "exact", same)
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(published, dtype=np.float64)
    own = tolerance.get(name)
    atol, rtol = (own, 0.0) if isinstance(own, int | float) else (tolerance["atol"], tolerance["rtol"])
    limit = f"atol {atol:g} rtol {rtol:g}"
    if a.shape != b.shape:
        return Difference(name, np.inf, np.inf, limit, False)
    absolute = np.abs(a - b)
    relative = absolute / np.maximum(np.abs(b), np.finfo(np.float32).tiny)
    within = bool(np.all(absolute <= atol + rtol * np.abs(b)))
    return Difference(name, float(absolute.max(initial=0)), float(relative.max(initial=0)), limit, within)


def _is_float(value: Any) -> bool:
    return value.is_floating_point() if isinstance(value, torch.Tensor) else isinstance(value, float)


def _padded(texts: Sequence[Hypothesis], length: int) -> torch.Tensor:
    rows = [torch.tensor(text.ids) for text in texts]
    return torch.stack([functional.pad(row, (0, length - len(row)), value=END) for row in rows])


def _columns(examples: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {f"examples.{key}": [example[key] for example in examples] for key in examples[0]}


def _tensors(parts: Mapping[str, Sequence[np.ndarray]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.concatenate(arrays)) for name, arrays in parts.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
