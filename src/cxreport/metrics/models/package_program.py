"""Runs one package of a metric; started by ``package_process.py``, perhaps under another Python.

    python package_program.py JOB < request.json > answer.json

It imports nothing of ours. What the package prints goes to stderr. The answer is ``{"result": ...}``,
``{"missing": package}`` or ``{"error": sentence}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any


def radgraph(request: dict[str, Any]) -> Any:
    """Entities and relations of every text: a list of ``{id: {"tokens", "label", "relations"}}``."""
    from radgraph import RadGraph  # type: ignore[import-not-found, unused-ignore]

    model = RadGraph(model_type=request["model"], model_cache_dir=request["folder"], cuda=request["device"])
    annotated = []
    for text in request["texts"]:
        found = model([text]) if text.strip() else {}
        annotated.append(found["0"]["entities"] if "0" in found else {})
    return annotated


def ratescore(request: dict[str, Any]) -> Any:
    """One RaTEScore per pair."""
    import torch
    from RaTEScore import RaTEScore  # type: ignore[import-not-found, unused-ignore]

    model = RaTEScore(
        bert_model=request["ner"],
        eval_model=request["synonyms"],
        batch_size=16,
        use_gpu=torch.cuda.is_available(),
    )
    return [float(score) for score in model.compute_score(request["hypotheses"], request["references"])]


def green(request: dict[str, Any]) -> Any:
    """One GREEN score per pair; None where the model's answer could not be read."""
    from radeval.metrics.green_score import GREEN  # type: ignore[import-not-found, unused-ignore]

    model = GREEN(request["folder"], output_dir=request["scratch"])
    _, _, scores, _ = model(request["references"], request["hypotheses"])
    return [None if score is None or score != score else float(score) for score in scores]


JOBS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "radgraph": radgraph,
    "ratescore": ratescore,
    "green": green,
}


def main() -> None:
    """Answer on stdout; everything else that is printed goes to stderr."""
    beside = os.path.dirname(os.path.abspath(__file__))  # files of ours with the names of packages
    sys.path[:] = [place for place in sys.path if os.path.abspath(place) != beside]
    request = json.load(sys.stdin)
    answer: dict[str, Any]
    with contextlib.redirect_stdout(sys.stderr), os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        try:
            answer = {"result": JOBS[sys.argv[1]](request)}
        except ModuleNotFoundError as error:
            answer = {"missing": (error.name or str(error)).partition(".")[0]}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        json.dump(answer, out)


if __name__ == "__main__":
    main()
