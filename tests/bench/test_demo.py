"""The whole road in small: it ends in a page that shows what it should, and goes on after a stop."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cxreport import DISCLAIMER
from cxreport.bench.demo import run_demo
from cxreport.bench.page import EXAMPLES
from cxreport.errors import UserError

TINY = (
    "data.image_size=32",
    "model.width=16",
    "model.feed_forward=16",
    "model.heads=2",
    "model.memory_heads=2",
    "model.layers=1",
    "model.encoder.width=4",
    "training.epochs=2",
    "training.batch_size=16",
    "decoding.max_length=12",
)


class Steps:
    """Bars that remember what they were told."""

    def __init__(self) -> None:
        self.last: dict[str, tuple[int, int]] = {}

    @contextmanager
    def __call__(self) -> Iterator:
        def bar(step: str, done: int, total: int) -> None:
            self.last[step] = (done, total)

        yield bar


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, Steps]:
    out, steps = tmp_path_factory.mktemp("demo") / "out", Steps()
    scores, page = run_demo(out, steps, studies=60, size=32, changes=TINY)
    assert page == out / "report.html"
    return out, scores, steps


def test_every_step_reports_its_end(demo: tuple[Path, dict, Steps]) -> None:
    _, _, steps = demo
    assert {"phantoms", "drafts"} <= steps.last.keys()
    assert all(done == total for done, total in steps.last.values())


def test_scores_hold_the_model_and_every_control(demo: tuple[Path, dict, Steps]) -> None:
    out, scores, _ = demo
    assert scores == json.loads((out / "run" / "scores.json").read_text())
    assert scores["n"] == 12
    controls = {"most_frequent", "random_train", "nearest_neighbour", "shuffled_images", "all_normal"}
    assert set(scores["controls"]) == controls
    assert scores["scores"]["bleu1"]["ci95"][0] <= scores["scores"]["bleu1"]["value"]


def test_page_shows_pictures_reports_and_scores(demo: tuple[Path, dict, Steps]) -> None:
    out, scores, _ = demo
    html = (out / "report.html").read_text()
    assert DISCLAIMER in html
    assert html.count('class="study"') == EXAMPLES
    assert html.count("data:image/png") == 2 * EXAMPLES + 1
    assert f"{scores['scores']['bleu1']['value']:.3f}" in html
    lines = [json.loads(line) for line in (out / "run" / "predictions.jsonl").read_text().splitlines()]
    assert lines[0]["reference"] in html
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", html), "the page must load nothing"
    assert "<script" not in html


def test_a_finished_demo_is_not_done_again(demo: tuple[Path, dict, Steps]) -> None:
    out, scores, _ = demo
    before = (out / "run" / "model" / "model.safetensors").stat().st_mtime_ns
    steps = Steps()
    again, _ = run_demo(out, steps, studies=60, size=32, changes=TINY)
    assert again == scores
    assert (out / "run" / "model" / "model.safetensors").stat().st_mtime_ns == before
    assert steps.last == {}


def test_drafts_of_an_older_model_are_drafted_again(demo: tuple[Path, dict, Steps]) -> None:
    out, scores, _ = demo
    predictions, config = out / "run" / "predictions.jsonl", out / "run" / "model" / "config.json"
    before = predictions.stat().st_mtime_ns
    os.utime(config, ns=(before + 10**9, before + 10**9))
    os.utime(predictions, ns=(before, before))
    steps = Steps()
    again, _ = run_demo(out, steps, studies=60, size=32, changes=TINY)
    assert steps.last["drafts"] == (12, 12)
    assert again == scores
    os.utime(config, ns=(before, before))


def test_a_demo_with_other_options_is_refused(demo: tuple[Path, dict, Steps]) -> None:
    out, _, _ = demo
    with pytest.raises(UserError, match=r"data was made by something else or with other options; choose"):
        run_demo(out, Steps(), studies=70, size=32, changes=TINY)


@pytest.mark.parametrize("name", ["thesis.txt", "report.html", "run"])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("years of work")
    with pytest.raises(UserError, match=rf"neither empty nor a demo \(it holds {name}\)"):
        run_demo(tmp_path, Steps(), studies=60, size=32, changes=TINY)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with pytest.raises(UserError, match="is a file"):
        run_demo(tmp_path / name, Steps(), studies=60, size=32, changes=TINY)


def test_text_of_a_report_cannot_become_markup(demo: tuple[Path, dict, Steps], tmp_path: Path) -> None:
    from cxreport.bench.page import write_page
    from cxreport.data.store import PreparedDataset

    out, scores, _ = demo
    run = tmp_path / "run"
    run.mkdir()
    for name in ("log.csv", "run.json"):
        (run / name).write_text((out / "run" / name).read_text())
    lines = [json.loads(line) for line in (out / "run" / "predictions.jsonl").read_text().splitlines()]
    for line in lines:
        line["hypothesis"] = "<img src=x onerror=alert(1)>"
    (run / "predictions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    write_page(run, PreparedDataset.open(out / "data"), scores, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert "<img src=x" not in html
    assert "&lt;img src=x" in html
