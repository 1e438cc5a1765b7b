"""The table: AUROC of every arm with its interval, its difference to fresh weights and to no image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cxreport.bench.recognition.arms import Arm
from cxreport.bench.recognition.cells import MODES, Cell, Mode, Place
from cxreport.bench.recognition.options import RecognitionRecipe
from cxreport.metrics.classification import auroc, f1_and_accuracy, over_runs, patient_weights
from cxreport.metrics.statistics import percentile_interval

FORMAT = "cxreport-recognition-1"
TITLES = {
    "probe": "Linear probe",
    "fine-tuning": "Fine-tuning",
    "image-blind": "Without the image: age, sex and view",
}


def table_of(
    cells: Mapping[Place, Cell],
    arms: Sequence[Arm],
    recipe: RecognitionRecipe,
    truth: np.ndarray,
    patients: list[str],
) -> dict[str, Any]:
    """Rows of all cells that are there, whose test scores meet the `truth` (N,) here for the first time.

    An interval is over patients of the test split, drawn whole, and over seeds, see
    :func:`cxreport.metrics.classification.over_runs`; so is that of a difference, whose two sides are drawn
    together and run with the same subsets.
    """
    weights = patient_weights(patients, seed=recipe.seed, resamples=recipe.resamples)
    rows: list[dict[str, Any]] = []
    drawn: dict[tuple[str, Mode, float], dict[int, tuple[float, np.ndarray]]] = {}
    for cell in cells.values():
        where = (cell.place.arm, cell.place.mode, cell.place.share)
        drawn.setdefault(where, {})[cell.place.seed] = (
            float(auroc(cell.test, truth)),
            auroc(cell.test, truth, weights),
        )
    for mode in MODES:
        for name in dict.fromkeys(place.arm for place in cells if place.mode == mode):
            for share in recipe.shares:
                own = drawn.get((name, mode, share.share))
                if own is None:
                    continue
                picked = [
                    cell
                    for place, cell in cells.items()
                    if (place.arm, place.mode, place.share) == (name, mode, share.share)
                ]
                rows.append(_row(name, mode, share.share, own, picked, truth, recipe.seed))
                fresh = _fresh_of(name, arms)
                if fresh is not None:
                    other = drawn.get((fresh, mode, share.share))
                    rows[-1]["over_fresh"] = _difference(own, other, fresh, recipe.seed)
                if mode != "image-blind":
                    other = drawn.get(("image-blind", "image-blind", share.share))
                    rows[-1]["over_blind"] = _difference(own, other, "image-blind", recipe.seed)
    pairs = [
        {"arm": first, "mode": mode, "share": share, "over": difference}
        for first, second in recipe.pairs
        for (name, mode, share), own in drawn.items()
        if name == first
        and (difference := _difference(own, drawn.get((second, mode, share)), second, recipe.seed))
    ]
    present = float(truth.mean())
    return {
        "format": FORMAT,
        "target": recipe.target,
        "test": {"studies": len(truth), "present": int(truth.sum()), "patients": len(set(patients))},
        "constant": {
            "auroc": float(auroc(np.zeros(len(truth)), truth)),
            "f1": f1_and_accuracy(np.zeros(len(truth)), truth, 0.0)[0],
            "accuracy": max(present, 1 - present),
        },
        "rows": rows,
        "pairs": pairs,
    }


def _row(
    name: str,
    mode: Mode,
    share: float,
    own: Mapping[int, tuple[float, np.ndarray]],
    picked: Sequence[Cell],
    truth: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    areas = [area for area, _ in own.values()]
    resampled = np.stack([resamples for _, resamples in own.values()], axis=1)
    rated = np.array([f1_and_accuracy(cell.test, truth, cell.chosen["threshold"]) for cell in picked])
    return {
        "arm": name,
        "mode": mode,
        "share": share,
        "train": sorted({(cell.learnt["studies"], cell.learnt["present"]) for cell in picked}),
        "auroc": float(np.mean(areas)),
        "ci95": _interval(over_runs(resampled, seed=seed)),
        "ci95_patients_only": _interval(resampled.mean(axis=1)),
        "seeds": dict(zip(map(str, own), areas, strict=True)),
        "deviation_of_seeds": float(np.std(areas, ddof=1)) if len(areas) > 1 else None,
        "f1": float(rated[:, 0].mean()),
        "accuracy": float(rated[:, 1].mean()),
        "chosen": [cell.chosen for cell in picked],
    }


def _difference(
    own: Mapping[int, tuple[float, np.ndarray]],
    other: Mapping[int, tuple[float, np.ndarray]] | None,
    name: str,
    seed: int,
) -> dict[str, Any] | None:
    """The mean difference over the seeds that both have; None where they have none."""
    both = [key for key in own if key in (other or {})]
    if other is None or not both:
        return None
    differences = [own[key][0] - other[key][0] for key in both]
    resampled = np.stack([own[key][1] - other[key][1] for key in both], axis=1)
    return {
        "of": name,
        "value": float(np.mean(differences)),
        "ci95": _interval(over_runs(resampled, seed=seed)),
        "seeds": len(both),
    }


def _fresh_of(name: str, arms: Sequence[Arm]) -> str | None:
    """The arm of fresh weights that `name` is compared with: of the same architecture, else the first one."""
    fresh = [arm for arm in arms if arm.fresh]
    mine = next((arm for arm in arms if arm.name == name), None)
    if mine is None or mine.fresh or not fresh:
        return None
    same = [arm for arm in fresh if arm.options == mine.options.untrained()]
    return (same or fresh)[0].name


def _interval(resampled: np.ndarray) -> list[float]:
    finite = resampled[np.isfinite(resampled)]
    low, high = percentile_interval(finite[:, None])
    return [float(low[0]), float(high[0])]


def markdown(tree: Mapping[str, Any]) -> str:
    """The table as Markdown, a part for every way of learning."""
    test, constant = tree["test"], tree["constant"]
    lines = [
        f"{tree['target']} against the rest. Test: {test['studies']} studies of {test['patients']} patients, "
        f"{test['present']} with it. A constant score has AUROC {constant['auroc']:.2f}; saying always the "
        f"same has accuracy {constant['accuracy']:.3f} or F1 {constant['f1']:.3f}.",
    ]
    for mode, title in TITLES.items():
        rows = [row for row in tree["rows"] if row["mode"] == mode]
        if not rows:
            continue
        lines += ["", f"### {title}", "", *_part(rows)]
    if tree["pairs"]:
        lines += ["", "### Arms against each other", "", *_pairs_part(tree["pairs"])]
    return "\n".join(lines) + "\n"


def _pairs_part(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| arm | less | | labels | AUROC |", "|---|---|---|---:|---:|"]
    for pair in pairs:
        shown = [pair["arm"], pair["over"]["of"], TITLES[pair["mode"]], f"{100 * pair['share']:g} %"]
        lines.append("| " + " | ".join([*shown, _shown_difference(pair["over"])]) + " |")
    return lines


def _part(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    header = ["arm", "labels", "train", "seeds", "AUROC", "95 %", "sd of seeds", "F1", "accuracy"]
    header += ["minus fresh", "minus image-blind"]
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    for row in rows:
        sizes = [str(studies) for studies in sorted({studies for studies, _ in row["train"]})]
        spread = row["deviation_of_seeds"]
        shown = [
            row["arm"],
            f"{100 * row['share']:g} %",
            "-".join(dict.fromkeys((sizes[0], sizes[-1]))),
            str(len(row["seeds"])),
            f"{row['auroc']:.3f}",
            _shown(row["ci95"]),
            "" if spread is None else f"{spread:.3f}",
            f"{row['f1']:.3f}",
            f"{row['accuracy']:.3f}",
            _shown_difference(row.get("over_fresh")),
            _shown_difference(row.get("over_blind")),
        ]
        lines.append("| " + " | ".join(shown) + " |")
    return lines


def _shown(interval: Sequence[float]) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}"


def _shown_difference(difference: Mapping[str, Any] | None) -> str:
    if difference is None:
        return ""
    return f"{difference['value']:+.3f} ({difference['ci95'][0]:+.3f} to {difference['ci95'][1]:+.3f})"
