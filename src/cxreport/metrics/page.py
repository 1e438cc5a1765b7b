"""Scores as a page: tables, and the worst, median and best studies, differences coloured by finding.

The page is a single HTML file without scripts that loads nothing from elsewhere. It holds reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxreport import DISCLAIMER, __version__
from cxreport.metrics.clinical import POSITIVE, UNCERTAIN, rule_labels
from cxreport.metrics.evaluate import Evaluation
from cxreport.metrics.per_sample import sample_rows
from cxreport.metrics.tables import tables_of
from cxreport.study import LABELS

if TYPE_CHECKING:
    from cxreport.metrics.labeler import Mention

SHOWN = 5
"""Studies of each kind on the page."""

RANKED_BY = ("rouge_l", "bleu1", "meteor", "cider")
"""Studies with equally many labels in dispute are ranked by the first of these that was computed."""

_SAID = ("positive", "uncertain")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a text; ``label`` is None outside mentions; ``differs``: the other text disagrees."""

    text: str
    label: str | None = None
    status: str = ""
    differs: bool = False


@dataclass(frozen=True, slots=True)
class StudyView:
    """One study on the page; ``marks`` are (label, what is wrong with it)."""

    study_id: str
    scores: list[tuple[str, float]]
    reference: list[Piece]
    draft: list[Piece]
    marks: list[tuple[str, str]]


def write_study_page(evaluation: Evaluation, out: Path) -> None:
    """Write the page of `evaluation` to `out`."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files("cxreport.metrics").joinpath("page.html").read_text(encoding="utf-8")
    ranking, chosen = ranked_studies(evaluation)
    html = environment.from_string(source).render(
        version=__version__,
        disclaimer=DISCLAIMER,
        scores=evaluation.scores,
        tables=tables_of(evaluation.scores),
        ranking=ranking,
        hues={label: place * 360 // len(LABELS) for place, label in enumerate(LABELS)},
        groups=[(title, [study_view(evaluation, place) for place in places]) for title, places in chosen],
    )
    out.write_text(html, encoding="utf-8")


def ranked_studies(evaluation: Evaluation, shown: int = SHOWN) -> tuple[str, list[tuple[str, list[int]]]]:
    """What studies are ranked by, and the places of the worst, median and best of them.

    First come studies in which report and draft disagree about the most labels. No study stands twice.
    """
    rows = list(sample_rows(evaluation))
    name = next((name for name in RANKED_BY if name in rows[0]), None)
    disputes = _disputes(evaluation)
    order = sorted(range(len(rows)), key=lambda place: (-disputes[place], rows[place][name] if name else 0))
    shown = min(shown, -(-len(order) // 3))
    worst, rest = order[:shown], order[shown:]
    split = max(len(rest) - shown, 0)
    middle, best = rest[:split], rest[split:][::-1]
    start = max((len(middle) - shown) // 2, 0)
    groups = [("Worst", worst), ("Median", middle[start : start + shown]), ("Best", best)]
    ranking = "the number of findings in dispute" + (f", then {name}" if name else "")
    return ranking, [(title, places) for title, places in groups if places]


def study_view(evaluation: Evaluation, place: int) -> StudyView:
    """The study at `place` of the test set, its mentions marked."""
    from cxreport.metrics.labeler import label_report

    test_set, protocol = evaluation.test_set, evaluation.protocol
    texts = protocol.whole([test_set.references[place], test_set.hypotheses[place]])
    truth, said = (label_report(text, protocol.language) for text in texts)
    differing = {label for label in LABELS if (truth.labels[label] in _SAID) != (said.labels[label] in _SAID)}
    marks = [
        (label, "missed" if truth.labels[label] in _SAID else "invented")
        for label in LABELS
        if label in differing
    ]
    row = {name: value for name, value in _row(evaluation, place).items() if name in RANKED_BY}
    return StudyView(
        study_id=test_set.study_ids[place],
        scores=[(name, value) for name, value in row.items() if value is not None],
        reference=pieces(texts[0], truth.mentions, differing),
        draft=pieces(texts[1], said.mentions, differing),
        marks=marks,
    )


def pieces(text: str, mentions: Sequence[Mention], differing: set[str]) -> list[Piece]:
    """`text` cut at its mentions; of mentions that overlap the first stands."""
    found: list[Piece] = []
    end = 0
    for mention in sorted(mentions, key=lambda one: (one.start, -one.end)):
        if mention.start < end:
            continue
        if mention.start > end:
            found.append(Piece(text[end : mention.start]))
        differs = mention.label in differing
        found.append(Piece(text[mention.start : mention.end], mention.label, mention.status, differs))
        end = mention.end
    return [*found, Piece(text[end:])] if end < len(text) else found


def _disputes(evaluation: Evaluation) -> list[int]:
    """For every study the number of labels that one text asserts and the other does not."""
    test_set, protocol = evaluation.test_set, evaluation.protocol
    truth, said = (
        np.isin(rule_labels(protocol.whole(texts), protocol.language), (POSITIVE, UNCERTAIN))
        for texts in (test_set.references, test_set.hypotheses)
    )
    disputes: list[int] = (truth != said).sum(axis=1).tolist()
    return disputes


def _row(evaluation: Evaluation, place: int) -> Mapping[str, Any]:
    scores: dict[str, Any] = {}
    for tally in evaluation.measured.tallies:
        names = [name for name in tally.names if name in RANKED_BY]
        if names:
            part = tally.only(names)
            scores |= dict(zip(names, part.aggregate(part.statistics[place]).tolist(), strict=True))
    return scores
