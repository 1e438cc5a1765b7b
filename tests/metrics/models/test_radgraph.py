"""RadGraph-F1 from annotations by hand, and the road to the package and back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cxreport.errors import UserError
from cxreport.metrics.models.radgraph import annotate, combined, radgraph_f1, tally_of
from cxreport.metrics.unavailable import MetricUnavailable

OBSERVED, ABSENT = "Observation::definitely present", "Observation::definitely absent"
PLACE = "Anatomy::definitely present"


def entities(*rows: tuple[str, str, list[list[str]]]) -> dict[str, dict[str, object]]:
    return {
        str(number): {"tokens": tokens, "label": label, "relations": relations}
        for number, (tokens, label, relations) in enumerate(rows, start=1)
    }


RIGHT_EFFUSION = entities(
    ("small", OBSERVED, [["modify", "2"]]),
    ("effusion", OBSERVED, [["located_at", "3"]]),
    ("pleural", PLACE, []),
)
EFFUSION = entities(("effusion", OBSERVED, [["located_at", "2"]]), ("pleural", PLACE, []))
UNRELATED = entities(("effusion", OBSERVED, []), ("pleural", PLACE, []))
NO_EFFUSION = entities(("effusion", ABSENT, []))


def test_levels_by_hand() -> None:
    """Two of three entities agree: F1 4/5; without their relation the other levels lose them."""
    related, unrelated, absent, empty = (
        tally_of([draft], [RIGHT_EFFUSION]).values().tolist()
        for draft in (EFFUSION, UNRELATED, NO_EFFUSION, {})
    )
    assert related == pytest.approx([0.8, 0.8, 0.8])
    assert unrelated == pytest.approx([0.8, 0.4, 0.4])
    assert absent == [0, 0, 0]
    assert empty == [0, 0, 0]
    assert tally_of([EFFUSION, NO_EFFUSION], [EFFUSION, EFFUSION]).values() == pytest.approx([0.5, 0.5, 0.5])


def test_equal_texts_without_relations_have_half_of_the_combined_score() -> None:
    """The trap behind odd RadCliQ values: no relations, so the relation F1 is 0 even for equal texts."""
    assert combined(UNRELATED, UNRELATED) == 0.5
    assert combined(EFFUSION, EFFUSION) == 1.0


STAND_IN = """
class RadGraph:
    def __init__(self, model_type, model_cache_dir, cuda):
        print("Using device: cpu")
        import os
        assert os.path.isdir(os.path.join(model_cache_dir, model_type))
        assert os.environ["HF_HUB_OFFLINE"] == "1"

    def __call__(self, texts):
        print("noise on stdout")
        words = texts[0].split()
        found = {str(i): {"tokens": w, "label": "x", "relations": []} for i, w in enumerate(words)}
        return {"0": {"entities": found}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like unpacked weights."""
    folder = tmp_path / "models" / "radgraph-xl"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "weights.th").touch()
    monkeypatch.setenv("CXREPORT_METRIC_MODELS", str(folder.parent))
    monkeypatch.delenv("CXREPORT_METRICS_PYTHON", raising=False)
    return folder


def test_texts_go_to_the_package_once_and_blank_ones_never(
    folder: Path, package: Callable[[str, str], None]
) -> None:
    package("radgraph", STAND_IN)
    found = annotate(["no effusion", "", "no effusion", "größer ✓"], "radgraph-xl")
    assert [sorted(entity["tokens"] for entity in text.values()) for text in found] == [
        ["effusion", "no"], [], ["effusion", "no"], ["größer", "✓"]
    ]  # fmt: skip
    scores = radgraph_f1(["no effusion", ""], ["no effusion", "no effusion"]).values()
    assert scores == pytest.approx([0.5, 0.5, 0.5])


def test_a_missing_package_says_what_to_install(folder: Path, package: Callable[[str, str], None]) -> None:
    package("radgraph", "import a_package_that_nobody_has")
    with pytest.raises(MetricUnavailable, match=r"a_package_that_nobody_has.*pip install radgraph"):
        annotate(["no effusion"], "radgraph-xl")


def test_a_failing_package_is_a_sentence(folder: Path, package: Callable[[str, str], None]) -> None:
    package("radgraph", "def RadGraph(**options):\n    raise ValueError('odd weights')")
    with pytest.raises(UserError, match="ValueError: odd weights"):
        annotate(["no effusion"], "radgraph-xl")
    package("nothing", "")
    (Path(os.environ["PYTHONPATH"]) / "radgraph" / "__init__.py").write_text("import os; os._exit(9)")
    with pytest.raises(UserError, match="status 9"):
        annotate(["no effusion"], "radgraph-xl")


def test_an_absent_python_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXREPORT_METRICS_PYTHON", "no-such-python")
    with pytest.raises(UserError, match="no-such-python"):
        annotate(["no effusion"], "radgraph-xl")


def test_absent_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXREPORT_METRIC_MODELS", str(tmp_path))
    with pytest.raises(MetricUnavailable, match=r"unpack radgraph-xl\.tar\.gz"):
        radgraph_f1(["no effusion"], ["no effusion"])
