"""Do the maps of evidence point at what their sentences say? The pointing game on phantoms.

    cxreport generate RUN PHANTOMS --out predictions.jsonl --evidence gradient
    python benchmarks/evidence.py predictions.jsonl PHANTOMS [--json FILE]

The peers are chance (the share of the image that the true box covers) and the maps of the other sentences of
the same draft. Intervals: percentile bootstrap over studies, 95 %.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cxreport.data.store import PreparedDataset
from cxreport.metrics.pointing import pointing

SEED = 9223


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("predictions", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    with options.predictions.open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    dataset = PreparedDataset.open(options.dataset)
    truth = {study.study_id: study.findings or () for study in dataset.split(records[0]["split"])}
    tally = pointing(records, [truth[record["study_id"]] for record in records])
    scores = tally.scores(seed=SEED)
    sentences = int(tally.statistics[:, 3].sum())
    print(f"{sentences} sentences about true findings with a box, {len(records)} studies")
    for name, row in scores.items():
        low, high = row["ci95"]
        print(f"{name:18} {row['value']:.3f} [{low:.3f}, {high:.3f}]")
    if options.json:
        options.json.write_text(json.dumps({"sentences": sentences, "scores": scores}, indent=1) + "\n")


if __name__ == "__main__":
    main()
