"""How much of a score costs no vision: drafts that look at no image, in the columns of CXPMRG-Bench.

    python benchmarks/image_free.py ANNOTATION --out FOLDER

ANNOTATION is R2Gen's ``annotation.json`` of IU X-ray. For every protocol and baseline the predictions files
are written to FOLDER, scored, and printed as a table in Markdown. Baselines that draw are drawn with five
seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cxreport.generators.prediction_file import write_predictions
from cxreport.metrics.controls import image_free, read_train_reports
from cxreport.metrics.evaluate import DEFAULT_SEED, Options, evaluate_files
from cxreport.metrics.protocols import Protocol, protocol_of
from cxreport.metrics.tables import BENCHMARK, SYSTEMS, benchmark_table, markdown

PROTOCOLS = {"findings.full.clean": "findings.full.clean", "legacy-r2gen": "findings.full.legacy-iu"}
"""How the drafts are scored -> the protocol under which their files stand."""

SEEDS = (DEFAULT_SEED, 1, 2, 3, 4)
DRAWN = ("random_train", "oracle_neighbour")


def test_studies(annotation: Path) -> list[dict[str, Any]]:
    """The test studies of R2Gen's split: ``id`` and ``report``."""
    studies: list[dict[str, Any]] = json.loads(annotation.read_text(encoding="utf-8"))["test"]
    return studies


def write_baselines(
    annotation: Path, protocol: Protocol, out: Path, limit: int | None
) -> dict[str, list[Path]]:
    """Predictions files of every baseline, one a seed where the seed decides anything."""
    studies = test_studies(annotation)[:limit]
    references = [protocol.prepared(study["report"]) for study in studies]
    train = [protocol.prepared(report) for report in read_train_reports(annotation, protocol)]
    files: dict[str, list[Path]] = {}
    for seed in SEEDS:
        for name, drafts in image_free(references, protocol, train, seed).items():
            if seed != SEEDS[0] and name not in DRAWN:
                continue
            path = out / f"{protocol.name}.{name}.{seed}.jsonl"
            rows = zip(studies, drafts, references, strict=True)
            write_predictions([_record(study, *texts, protocol.name) for study, *texts in rows], path)
            files.setdefault(name, []).append(path)
    return files


def _record(study: dict[str, Any], draft: str, reference: str, protocol: str) -> dict[str, Any]:
    return {
        "study_id": study["id"],
        "patient_id": study["id"].partition("_")[0],
        "split": "test",
        "hypothesis": draft,
        "reference": reference,
        "protocol": protocol,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("annotation", type=Path, help="R2Gen's annotation.json of IU X-ray")
    parser.add_argument("--out", type=Path, required=True, help="folder for the predictions files")
    parser.add_argument("--json", type=Path, help="file for the scores")
    parser.add_argument("--quick", action="store_true", help="the first 60 test studies only")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    for scored_as, written_as in PROTOCOLS.items():
        written = protocol_of(written_as)
        files = write_baselines(arguments.annotation, written, arguments.out, 60 if arguments.quick else None)
        options = Options(
            protocol=scored_as,
            metrics=tuple(BENCHMARK.values()),
            baselines=False,
        )
        systems = {
            SYSTEMS[name]: evaluate_files(files[name], options).scores for name in SYSTEMS if name in files
        }
        results[scored_as] = systems
        first = next(iter(systems.values()))
        sys.stdout.write(f"{first['n']} studies; {first['settings']['ci95']}, seed {first['seed']}\n\n")
        sys.stdout.write(markdown(benchmark_table(systems)) + "\n\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
