"""One run as a page: pictures with true boxes, reports beside drafts, scores, the loss curve.

The page is a single HTML file without scripts that loads nothing from elsewhere.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from cxreport import DISCLAIMER, __version__
from cxreport.data.store import PreparedDataset
from cxreport.metrics.findings import Item
from cxreport.metrics.tables import finding_table, score_table, with_interval
from cxreport.phantom.parser import LANGUAGES, parse
from cxreport.phantom.sheet import caption, colour, marked_view
from cxreport.study import Finding, Study

EXAMPLES = 12
PICTURE = 300
"""Side of a picture on the page, in pixels."""


@dataclass(frozen=True, slots=True)
class Example:
    """One study on the page; `marks` are (text, found | missed | invented)."""

    study_id: str
    pictures: list[str]
    legend: list[tuple[str, str]]
    reference: str
    hypothesis: str
    marks: list[tuple[str, str]]


def write_page(run: Path, dataset: PreparedDataset, scores: Mapping[str, Any], out: Path) -> None:
    """Write the page of the run folder `run`, whose ``predictions.jsonl`` drafts a split of `dataset`."""
    lines = (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    studies = dataset.split(records[0]["split"])
    chosen = range(0, len(records), max(len(records) // EXAMPLES, 1))[:EXAMPLES]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        files("cxreport.bench").joinpath("page.html").read_text(encoding="utf-8")
    )
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    html = template.render(
        disclaimer=DISCLAIMER,
        version=__version__,
        name=facts["options"]["name"],
        minutes=facts["minutes"],
        parameters=f"{facts['parameters']:,}",
        dataset=dataset.info,
        dataset_sha256=dataset.sha256,
        scores=scores,
        headline=_headline(scores),
        score_table=score_table(dict(scores)),
        finding_table=finding_table(dict(scores)),
        curve=_loss_curve(run / "log.csv"),
        examples=[_example(studies[place], records[place]) for place in chosen],
    )
    out.write_text(html, encoding="utf-8")


def _headline(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The number that decides, for the model and for what could reach it without looking."""
    metric = "finding_f1" if "finding_f1" in scores["scores"] else "bleu4"
    systems = {"model": scores["scores"], **scores["controls"]}
    names = {
        "model": "this model",
        "shuffled_images": "same model, other patient's images",
        "most_frequent": "most frequent report",
        "random_train": "random report",
    }
    return [
        (label, with_interval(systems[name].get(metric))) for name, label in names.items() if name in systems
    ]


def _example(study: Study, record: Mapping[str, Any]) -> Example:
    findings: Sequence[Finding] = study.findings or ()
    truth = {tuple(item) for item in record["truth"] or ()}
    said = parse(record["hypothesis"]) if record["language"] in LANGUAGES else frozenset()
    marks = [(_words(item), "found") for item in sorted(truth & said, key=str)]
    if record["language"] in LANGUAGES:
        marks += [(_words(item), "missed") for item in sorted(truth - said, key=str)]
        marks += [(_words(item), "invented") for item in sorted(said - truth, key=str)]
    return Example(
        study_id=study.study_id,
        pictures=[_png(marked_view(view, findings, PICTURE)) for view in study.views],
        legend=[(caption(finding), colour(place)) for place, finding in enumerate(findings)],
        reference=record["reference"],
        hypothesis=record["hypothesis"],
        marks=marks,
    )


def _words(item: Item | tuple[Any, ...]) -> str:
    kind, side = item
    return f"{side} {kind}".replace("_", " ") if side else kind.replace("_", " ")


def _png(picture: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _loss_curve(log: Path) -> str:
    """Training and validation loss by epoch, as a picture."""
    from matplotlib.figure import Figure

    with log.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(5.2, 2.6), layout="constrained")
    axes = figure.add_subplot()
    for column, label in (("train_loss", "train"), ("val_loss", "val")):
        axes.plot([int(row["epoch"]) for row in rows], [float(row[column]) for row in rows], label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss per word")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
