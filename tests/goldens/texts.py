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
from cxreport.metrics.meteor import match_statistics, meteor_tally
from cxreport.metrics.meteor.resources import load_lexicon
from cxreport.metrics.ptb import ptb_words
from cxreport.metrics.rouge import rouge_l
from cxreport.metrics.unavailable import MetricUnavailable
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
    """BLEU, ROUGE-L, CIDEr-D and METEOR, corpus and per sample over all sections of the file; PTB's words.

    METEOR is scored from the published match statistics. Our own matcher must count the same statistics;
    where its word lists are not installed that output is left out.
    """
    sections = [value for value in item.json.values() if isinstance(value, dict) and "per_sample" in value]
    ours: dict[str, list[np.ndarray]] = {name: [] for name in ("Bleu", "ROUGE_L", "CIDEr", "METEOR")}
    published: dict[str, list[np.ndarray]] = {name: [] for name in ours}
    for section in sections:
        texts = _texts(section, item)
        tallies = {"Bleu": bleu(*texts), "ROUGE_L": rouge_l(*texts), "CIDEr": cider_d(*texts)}
        if "meteor_match_statistics" in section:
            tallies["METEOR"] = meteor_tally(_statistics(section))
        for name, tally in tallies.items():
            columns = [key for key in section["corpus"] if key.startswith(name)]
            ours[name] += [tally.values(), tally.per_sample().T.ravel()]
            for part in ("corpus", "per_sample"):
                published[name].append(np.ravel([section[part][key] for key in columns]))
    more, more_published = _meteor_statistics(sections, item)
    words = {name: item.json[name] for name in ("ptb", "ptb_raw")}
    for name, section in words.items():
        raw, published_words = section.get("pairs", item.json["pairs"]), section["tokenized"]
        more[f"{name}.words"] = [" ".join(ptb_words(pair[side])) for pair in raw for side in ("hyp", "ref")]
        more_published[f"{name}.words"] = [pair[side] for pair in published_words for side in ("hyp", "ref")]
    return _tensors(ours) | more, _tensors(published) | more_published


def _texts(section: Mapping[str, Any], item: Item) -> tuple[list[str], list[list[str]]]:
    pairs = section.get("tokenized") or section.get("pairs") or item.json["pairs"]
    return [pair["hyp"] for pair in pairs], [pair.get("refs") or [pair["ref"]] for pair in pairs]


def _statistics(section: Mapping[str, Any]) -> np.ndarray:
    return np.array([[float(number) for number in row.split()] for row in section["meteor_match_statistics"]])


def _meteor_statistics(sections: Sequence[Mapping[str, Any]], item: Item) -> tuple[Values, Values]:
    """The match statistics of drafts with one reference, counted here and by the published program."""
    try:
        lexicon = load_lexicon()
    except MetricUnavailable:
        return {}, {}
    scored = [section for section in sections if "meteor_match_statistics" in section]
    ours, published = [], []
    for section in scored:
        drafts, references = _texts(section, item)
        if all(len(texts) == 1 for texts in references):
            pairs = [(draft, texts[0]) for draft, texts in zip(drafts, references, strict=True)]
            ours.append(match_statistics(pairs, lexicon))
            published.append(_statistics(section))
    name = "METEOR.match_statistics"
    counts = (torch.from_numpy(np.concatenate(rows)).long() for rows in (ours, published))
    return {name: next(counts)}, {name: next(counts)}


def _columns(examples: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {f"examples.{key}": [example[key] for example in examples] for key in examples[0]}


def _tensors(parts: Mapping[str, Sequence[np.ndarray]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.concatenate(arrays)) for name, arrays in parts.items()}
