"""The package RaTEScore itself on random models; skipped where no Python with it is named.

CXREPORT_METRICS_PYTHON=/path/to/python pytest tests/metrics/models/test_ratescore_package.py
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from cxreport.metrics.models.ratescore import ratescore

WORDS = (
    "no left right pleural effusion is seen heart normal small large opacity lung the and in . pneumothorax"
)
HYPOTHESES = ["no pleural effusion is seen . heart normal .", "", "the opacity in the lung ."]
REFERENCES = [
    "large right pleural effusion is seen .",
    "heart normal .",
    "opacity and effusion in the lung .",
]

PUBLISHED = """
import json, sys
from RaTEScore import RaTEScore
folder, (hyps, refs) = sys.argv[1], json.load(sys.stdin)
scorer = RaTEScore(folder + "/ratescore-ner", folder + "/ratescore-synonyms", batch_size=4, use_gpu=False)
print(json.dumps([float(score) for score in scorer.compute_score(hyps, refs)]))
"""


@pytest.fixture
def python() -> str:
    """A Python that imports RaTEScore."""
    python = os.environ.get("CXREPORT_METRICS_PYTHON", "")
    asked = [python, "-c", "import RaTEScore"]
    if not python or subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("CXREPORT_METRICS_PYTHON names no Python with the package RaTEScore")
    return python


def test_scores_are_the_packages(python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Path(__file__).with_name("ratescore_folders.py")
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    command = [python, str(script), str(tmp_path / "models"), *WORDS.split()]
    subprocess.run(command, env=environment, check=True)
    monkeypatch.setenv("CXREPORT_METRIC_MODELS", str(tmp_path / "models"))
    written = [(h, r) for h, r in zip(HYPOTHESES, REFERENCES, strict=True) if h]
    published = subprocess.run(
        [python, "-c", PUBLISHED, str(tmp_path / "models")],
        input=json.dumps(list(zip(*written, strict=True))),
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    first, last = json.loads(published.stdout.splitlines()[-1])
    assert 0 < first < 1
    assert ratescore(HYPOTHESES, REFERENCES).per_sample()[:, 0] == pytest.approx([first, 0, last])
