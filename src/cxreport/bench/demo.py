"""The whole road once: phantoms, a small R2Gen, drafts, scores, a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from cxreport.bench.page import write_page
from cxreport.checkpoints import CONFIG, load_model
from cxreport.data.sources.phantom import SOURCE_VERSION, options_of, phantom_studies
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.errors import UserError
from cxreport.generators.drafting import draft_split
from cxreport.metrics.evaluate import evaluate_file
from cxreport.recipe import Recipe
from cxreport.training import fit

STUDIES = 2800
SIZE = 128
SEED = 9223
DATA, RUN, PAGE = "data", "run", "report.html"

Bars = Callable[[], AbstractContextManager[Callable[[str, int, int], None]]]
"""Opens progress bars: each is called with the name of a step, how much is done, how much there is."""


def run_demo(
    out: Path, bars: Bars, *, studies: int = STUDIES, size: int = SIZE, changes: tuple[str, ...] = ()
) -> tuple[dict[str, Any], Path]:
    """Run the demo in `out` and return its scores and its page; a demo that was stopped goes on.

    `changes` are ``--set`` changes to the recipe ``demo``. Writes ``data/``, ``run/`` and ``report.html``.
    Raises UserError where a step does, and when `out` holds a demo with other options or anything else.
    """
    recipe = Recipe.load("demo", changes)
    data, run, page = out / DATA, out / RUN, out / PAGE
    options = options_of(studies, size, "grammar", SEED)
    dataset = _earlier(out, options)
    if dataset is None:
        with bars() as bar:
            dataset = write_dataset(
                phantom_studies(studies, size, "grammar", SEED),
                data,
                source="phantom",
                source_version=SOURCE_VERSION,
                options=options,
                total=studies,
                progress=lambda done: bar("phantoms", done, studies),
            )
    model = fit(recipe, dataset, run, resume=run.exists())
    predictions = run / "predictions.jsonl"
    if not predictions.exists() or predictions.stat().st_mtime < (model / CONFIG).stat().st_mtime:
        generator, _ = load_model(model)
        with bars() as bar:
            draft_split(generator, recipe, dataset, "test", predictions, progress=bar)
    scores = evaluate_file(predictions)
    (run / "scores.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    write_page(run, dataset, scores, page)
    return scores, page


def _earlier(out: Path, options: dict[str, Any]) -> PreparedDataset | None:
    """The dataset of the demo in `out`, None where nothing is there; UserError for anything else there."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise UserError(f"{out} is a file; choose another --out.")
    names = {path.name for path in out.iterdir() if not path.name.startswith(f".{DATA}.")}
    if not names:
        return None
    if DATA not in names or names - {DATA, RUN, PAGE}:
        other = min(names - {DATA, RUN, PAGE}, default=min(names))
        raise UserError(f"{out} is neither empty nor a demo (it holds {other}); choose another --out.")
    dataset = PreparedDataset.open(out / DATA)
    here = {"source": "phantom", "source_version": SOURCE_VERSION, "options": options}
    if {key: dataset.info[key] for key in here} != here:
        raise UserError(
            f"{dataset.path} was made by something else or with other options; choose another --out."
        )
    return dataset
