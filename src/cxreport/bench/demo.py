"""The whole road once: phantoms, a small R2Gen, drafts, scores, a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from cxreport.bench.page import write_page
from cxreport.checkpoints import load_model
from cxreport.data.sources.phantom import SOURCE_VERSION, phantom_studies
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.generators.drafting import draft_split
from cxreport.metrics.evaluate import evaluate_file
from cxreport.recipe import Recipe
from cxreport.training import fit

STUDIES = 2400
SIZE = 192
SEED = 9223

Bars = Callable[[], AbstractContextManager[Callable[[str, int, int], None]]]
"""Opens progress bars: each is called with the name of a step, how much is done, how much there is."""


def run_demo(
    out: Path, bars: Bars, *, studies: int = STUDIES, size: int = SIZE, changes: tuple[str, ...] = ()
) -> tuple[dict[str, Any], Path]:
    """Run the demo in `out` and return its scores and its page; a demo that was stopped goes on.

    `changes` are ``--set`` changes to the recipe ``demo``. Writes ``data/``, ``run/`` and ``report.html``.
    Raises UserError where a step does, for one when `out` holds a demo with other options.
    """
    recipe = Recipe.load("demo", changes)
    data, run = out / "data", out / "run"
    if data.exists():
        dataset = PreparedDataset.open(data)
    else:
        with bars() as bar:
            dataset = write_dataset(
                phantom_studies(studies, size, "grammar", SEED),
                data,
                source="phantom",
                source_version=SOURCE_VERSION,
                options={"language": "grammar", "studies": studies, "size": size, "seed": SEED},
                total=studies,
                progress=lambda done: bar("phantoms", done, studies),
            )
    generator, _ = load_model(fit(recipe, dataset, run, resume=run.exists()))
    predictions = run / "predictions.jsonl"
    if not predictions.exists():
        with bars() as bar:
            draft_split(generator, recipe, dataset, "test", predictions, progress=bar)
    scores = evaluate_file(predictions)
    (run / "scores.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    page = out / "report.html"
    write_page(run, dataset, scores, page)
    return scores, page
