"""Cleaners, vocabularies and word metrics."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from cxreport.data.legacy_text import legacy_iu, legacy_mimic, legacy_r2gengpt
from cxreport.data.words import WordTokenizer
from cxreport.metrics.bleu import bleu
from cxreport.metrics.cider import cider_d
from cxreport.metrics.rouge import rouge_l
from goldens import SHARED, CannotCompareError, Item, Values


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
    """The cleaners of R2Gen for IU X-ray and MIMIC-CXR and of R2GenGPT, on every string of the file."""
    cleaners = {"iu": legacy_iu, "mimic_r2gen": legacy_mimic, "mimic_r2gengpt": legacy_r2gengpt}
    ours, published = {}, {}
    for group in ("real", "invented"):
        for name, cleaner in cleaners.items():
            ours[f"{group}.{name}"] = [cleaner(text["raw"]) for text in item.json[group]]
            published[f"{group}.{name}"] = [text[name] for text in item.json[group]]
    return ours, published


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


def _columns(examples: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {f"examples.{key}": [example[key] for example in examples] for key in examples[0]}


def _tensors(parts: Mapping[str, Sequence[np.ndarray]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.concatenate(arrays)) for name, arrays in parts.items()}
