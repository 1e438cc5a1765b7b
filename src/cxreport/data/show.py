"""A prepared dataset as one page: what it counts, how it writes, and some studies drawn at random.

The page is a single HTML file without scripts that loads nothing from elsewhere.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from PIL import Image

from cxreport import __version__
from cxreport.data.images import decode
from cxreport.data.store import PreparedDataset, Studies
from cxreport.data.text import clean
from cxreport.errors import UserError
from cxreport.study import PROJECTIONS, Study, View

SAMPLES = 24
PICTURE = 256
"""Longer side of a picture on the page, in pixels."""
_SECTIONS = ("findings", "impression", "indication", "comparison")
_QUANTILES = (0, 0.05, 0.5, 0.95, 1)
_BINS = 40
_FREQUENT = 30

Table = tuple[Sequence[str], list[tuple[object, ...]]]


@dataclass(frozen=True, slots=True)
class Sample:
    """One study on the page; ``pictures`` are (base64 JPEG, projection), ``chips`` (text, class)."""

    study_id: str
    split: str
    pictures: list[tuple[str, str]]
    chips: list[tuple[str, str]]
    sections: list[tuple[str, str]]


def write_show(
    dataset: PreparedDataset,
    out: Path,
    *,
    samples: int = SAMPLES,
    seed: int = 9223,
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Write the page of `dataset` to the file `out`.

    Counts are of all studies; images are decoded of the `samples` only. `progress` is called with
    ``splits``, those done and their number. Raises UserError when a split cannot be read.
    """
    splits = {name: dataset.split(name) for name in dataset.splits}
    words: dict[str, Counter[str]] = {}
    lengths: dict[tuple[str, str], list[int]] = {}
    for number, (name, studies) in enumerate(splits.items(), start=1):
        words[name], counted = _texts(studies)
        lengths |= {(section, name): lengths_ for section, lengths_ in counted.items() if lengths_}
        if progress is not None:
            progress("splits", number, len(splits))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        files("cxreport.data").joinpath("show.html").read_text(encoding="utf-8")
    )
    html = template.render(
        name=dataset.path.resolve().name,
        version=__version__,
        info=dataset.info,
        sha256=dataset.sha256[:12],
        options=[(key, _short(value)) for key, value in dataset.info["options"].items()],
        total=sum(map(len, splits.values())),
        splits=tuple(splits),
        views=_views(splits),
        exclusions=list(dataset.exclusions.counts.items()),
        labels=_labels(splits),
        findings=_findings(splits),
        lengths=_lengths(lengths),
        histograms=_histograms(lengths),
        vocabulary=_vocabulary(words),
        frequent=sum(words.values(), Counter()).most_common(_FREQUENT),
        samples=_samples(splits, samples, seed),
        seed=seed,
    )
    out.write_text(html, encoding="utf-8")


def _short(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _texts(studies: Studies) -> tuple[Counter[str], dict[str, list[int]]]:
    """How often each word of findings and impression occurs, and the words of every section."""
    words: Counter[str] = Counter()
    lengths: dict[str, list[int]] = {section: [] for section in _SECTIONS}
    for report in studies.reports:
        for section in _SECTIONS:
            tokens = clean(getattr(report, section)).split()
            own = [token for token in tokens if any(map(str.isalnum, token))]
            if own:
                lengths[section].append(len(own))
            if section in ("findings", "impression"):
                words.update(own)
    return words, lengths


def _views(splits: Mapping[str, Studies]) -> Table:
    rows: list[tuple[object, ...]] = []
    for name, studies in splits.items():
        projections = studies.projections
        counts = Counter(projection or "unknown" for views in projections for projection in views)
        rows.append(
            (
                name,
                len(studies),
                sum(counts.values()),
                *(counts[kind] for kind in (*PROJECTIONS, "unknown")),
                sum(not views for views in projections),
                max(map(len, projections), default=0),
            )
        )
    header = ("split", "studies", "views", *PROJECTIONS, "unknown", "without view", "most views")
    return header, rows


def _labels(splits: Mapping[str, Studies]) -> list[tuple[str, ...]]:
    present: dict[str, Counter[str]] = {name: Counter() for name in splits}
    uncertain: dict[str, Counter[str]] = {name: Counter() for name in splits}
    named: dict[str, None] = {}
    for name, studies in splits.items():
        for labels in studies.labels:
            named |= dict.fromkeys(labels)
            present[name].update(label for label, value in labels.items() if value == 1)
            uncertain[name].update(label for label, value in labels.items() if value == -1)

    def cell(split: str, label: str) -> str:
        doubt = uncertain[split][label]
        return f"{present[split][label]}" + (f" ({doubt})" if doubt else "")

    return [(label, *(cell(split, label) for split in splits)) for label in sorted(named)]


def _findings(splits: Mapping[str, Studies]) -> list[tuple[object, ...]]:
    counts: dict[str, Counter[str]] = {}
    known = Counter[str]()
    for name, studies in splits.items():
        kinds = studies.finding_kinds
        known[name] = sum(found is not None for found in kinds)
        counts[name] = Counter(kind for found in kinds for kind in set(found or ()))
    if not sum(known.values()):
        return []
    every = sum(counts.values(), Counter[str]())
    rows: list[tuple[object, ...]] = [
        (kind, *(counts[split][kind] for split in splits)) for kind in sorted(every)
    ]
    return [*rows, ("studies with known truth", *(known[split] for split in splits))]


def _lengths(lengths: Mapping[tuple[str, str], list[int]]) -> list[tuple[object, ...]]:
    return [
        (
            section,
            split,
            len(counts),
            *(round(value) for value in np.quantile(counts, (0, 0.05, 0.5, 0.95, 1))),
        )
        for section in _SECTIONS
        for (name, split), counts in lengths.items()
        if name == section
    ]


def _histograms(
    lengths: Mapping[tuple[str, str], list[int]],
) -> list[tuple[str, list[tuple[float, str]], int]]:
    """For findings and impression: bars as (height in percent, text), and the longest report."""
    found = []
    for section in ("findings", "impression"):
        counts = [length for (name, _), own in lengths.items() if name == section for length in own]
        if counts:
            edges = np.unique(np.linspace(1, max(counts) + 1, _BINS + 1).astype(int))
            heights, _ = np.histogram(counts, edges)
            bars = [
                (round(100 * height / max(heights), 1), f"{low} to {high - 1} words: {height}")
                for height, low, high in zip(heights.tolist(), edges, edges[1:], strict=False)
            ]
            found.append((section, bars, max(counts)))
    return found


def _vocabulary(words: Mapping[str, Counter[str]]) -> list[tuple[object, ...]]:
    train = words.get("train", Counter())
    return [
        (
            split,
            counts.total(),
            len(counts),
            sum(count == 1 for count in counts.values()),
            "" if split == "train" else sum(word not in train for word in counts),
        )
        for split, counts in words.items()
    ]


def _samples(splits: Mapping[str, Studies], count: int, seed: int) -> list[Sample]:
    """`count` studies of all splits, drawn from `seed`, in the order of the dataset."""
    sizes = [len(studies) for studies in splits.values()]
    places = np.random.default_rng(seed).permutation(sum(sizes))[:count]
    found = []
    for place in sorted(places.tolist()):
        for name, studies in splits.items():
            if place < len(studies):
                found.append(_sample(studies[place], name))
                break
            place -= len(studies)
    return found


def _sample(study: Study, split: str) -> Sample:
    kinds = {1: "present", -1: "uncertain", 0: "absent"}
    chips = [(label, kinds.get(value, "")) for label, value in study.labels.items() if value]
    chips += [(" ".join(filter(None, (f.side, f.kind, f.severity))), "finding") for f in study.findings or ()]
    texts = [(section, getattr(study.report, section)) for section in _SECTIONS]
    return Sample(
        study.study_id,
        split,
        [(_picture(view), view.projection or "unknown") for view in study.views],
        chips,
        [(section, text) for section, text in texts if text],
    )


def _picture(view: View) -> str:
    """The view as a small JPEG in base64; a grey square where it cannot be decoded."""
    try:
        shorter = max(1, PICTURE * min(view.width, view.height) // max(view.width, view.height, 1))
        image = Image.fromarray(decode(view, shorter, keep_aspect=True))
    except UserError:
        image = Image.new("L", (PICTURE, PICTURE), 128)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=85)
    return base64.b64encode(encoded.getvalue()).decode("ascii")
