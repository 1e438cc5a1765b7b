"""The package radgraph itself on random weights; skipped where no Python with it is named.

CXREPORT_METRICS_PYTHON=/path/to/python pytest tests/metrics/models/test_radgraph_package.py
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cxreport.metrics.models.radgraph import annotate, radgraph_f1

HYPOTHESES = [
    "no pleural effusion is seen . heart normal",
    "small left effusion",
    "the opacity in the lung .",
]
REFERENCES = [
    "large right pleural effusion is seen .",
    "small left effusion",
    "opacity and effusion in the lung",
]

PUBLISHED = """
import json, sys
from radgraph import F1RadGraph
f = F1RadGraph(reward_level="all", model_type="radgraph-xl", model_cache_dir=sys.argv[1], cuda=-1)
request = json.load(sys.stdin)
print(json.dumps([[float(x) for x in level] for level in f(**request)[1]]))
"""


@pytest.fixture
def python() -> str:
    """A Python that imports radgraph."""
    python = os.environ.get("CXREPORT_METRICS_PYTHON", "")
    if (
        not python
        or subprocess.run([python, "-c", "import radgraph"], capture_output=True, check=False).returncode
    ):
        pytest.skip("CXREPORT_METRICS_PYTHON names no Python with the package radgraph")
    return python


def test_scores_are_the_packages(
    python: str, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "radgraph"
    script = Path(__file__).with_name("radgraph_folder.py")
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    subprocess.run([python, str(script), str(folder), str(tiny_bert)], env=environment, check=True)
    monkeypatch.setenv("CXREPORT_METRIC_MODELS", str(folder))
    entities = annotate(HYPOTHESES + REFERENCES, "radgraph-xl")
    relations = [entity["relations"] for text in entities for entity in text.values()]
    assert any(relations), "the random weights must find something"
    published = subprocess.run(
        [python, "-c", PUBLISHED, str(folder)],
        input=json.dumps({"hyps": HYPOTHESES, "refs": REFERENCES}),
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    expected = json.loads(published.stdout.splitlines()[-1])
    ours = radgraph_f1(HYPOTHESES, REFERENCES).per_sample().T
    assert ours == pytest.approx(np.array(expected))
    assert 0 < ours[0].mean() < 1
