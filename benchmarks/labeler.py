"""The English labeler against human codes and against another labeler's output.

    python benchmarks/labeler.py --openi NLMCXR_reports.tgz [--quick] [--json FILE] [--markdown FILE]

1. Open-i: every report with findings or impression, labelled from findings and impression, against the MeSH
   codes that human coders wrote. The odd report numbers are the development half, on which the rules were
   written; docs/labeler.md says when the even ones were read. A report is positive when a code says so.
2. The synthetic reports inside the PyPI package ``radlabels``, with the statuses that RadGraph-XL and its
   alias list gave them. That reference is a program, not a reader. The package is not imported.

The default archive is the one inside the installed package ``torchxrayvision``.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cxreport.metrics.labeler import LABELS, label_matrix
from cxreport.metrics.statistics import bootstrap_interval
from cxreport.phantom.openi import OpeniReport, read_reports

SEED = 9223
RESAMPLES = 2000
MIN_POSITIVES = 20
POSITIVE, NEGATIVE, UNCERTAIN = 1, 2, 3


Columns = dict[str, np.ndarray]


class Code(NamedTuple):
    """A MeSH term that gives a label, with one of the qualifiers `needs` (if any) and none of `lacks`."""

    term: str
    needs: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()

    def matches(self, code: str) -> bool:
        term, *qualifiers = (part.strip() for part in code.split("/"))
        said = {qualifier.lower() for qualifier in qualifiers}
        return term == self.term and (not self.needs or bool(self.needs & said)) and not self.lacks & said


def _codes(*terms: str, needs: str = "", lacks: str = "") -> tuple[Code, ...]:
    return tuple(Code(term, frozenset(needs.split()), frozenset(lacks.split())) for term in terms)


MESH: dict[str, tuple[Code, ...]] = {
    "Enlarged Cardiomediastinum": _codes("Mediastinum", needs="prominent enlarged"),
    "Cardiomegaly": _codes("Cardiomegaly") + _codes("Cardiac Shadow", needs="enlarged borderline"),
    "Lung Opacity": _codes("Infiltrate", "Airspace Disease", "Lung Diseases, Interstitial")
    + _codes("Opacity", lacks="round")
    + _codes("Density", needs="lung retrocardiac", lacks="round")
    + _codes("Markings", needs="interstitial"),
    "Lung Lesion": _codes("Nodule", "Mass") + _codes("Opacity", "Density", needs="round"),
    "Edema": _codes("Pulmonary Edema", "Pulmonary Congestion", "Heart Failure"),
    "Consolidation": _codes("Consolidation"),
    "Pneumonia": _codes("Pneumonia"),
    "Atelectasis": _codes("Pulmonary Atelectasis"),
    "Pneumothorax": _codes("Pneumothorax", "Hydropneumothorax", "Hemopneumothorax"),
    "Pleural Effusion": _codes("Pleural Effusion", "Hydropneumothorax", "Hemothorax", "Hemopneumothorax"),
    "Pleural Other": _codes("Thickening", "Cicatrix", "Calcinosis", needs="pleura") + _codes("Pleura"),
    "Fracture": _codes("Fractures, Bone"),
    "Support Devices": _codes(
        "Catheters, Indwelling",
        "Implanted Medical Device",
        "Medical Device",
        "Tube, Inserted",
        "Surgical Instruments",
        "Sutures",
        "Stents",
    ),
    "No Finding": _codes("normal"),
}
"""Label: the codes that make a report positive. The table of docs/labeler.md is written from it."""

RADLABELS: dict[str, tuple[str, ...]] = {
    "Enlarged Cardiomediastinum": ("enlarged_cardiomediastinum",),
    "Cardiomegaly": ("cardiomegaly",),
    "Lung Opacity": (
        "air_space_opacity",
        "lung_opacity",
        "ground_glass_opacity",
        "infiltration",
        "interstitial_thickening",
        "peribronchial_cuffing",
    ),
    "Lung Lesion": ("lung_nodule_or_mass", "lung_lesion"),
    "Edema": ("pulmonary_edema", "pulmonary_congestion_pulmonary_venous_congestion"),
    "Consolidation": ("consolidation",),
    "Pneumonia": ("pneumonia",),
    "Atelectasis": ("atelectasis", "lobar_segmental_collapse", "whole_lung_or_majority_collapse"),
    "Pneumothorax": ("pneumothorax",),
    "Pleural Effusion": ("pleural_effusion",),
    "Pleural Other": ("pleural_thickening", "pleural_other"),
    "Fracture": ("fracture_generic", "acute_rib_fracture", "non_acute_rib_fracture"),
    "Support Devices": (
        "endotracheal_tube",
        "enteric_tube",
        "intercostal_drain",
        "central_venous_catheter",
        "pacemaker_electronic_cardiac_device_or_wires",
        "tracheostomy_tube",
        "support_devices_generic",
        "implantable_electronic_device",
    ),
}
STATUS_CODES = {"definitely present": POSITIVE, "uncertain": UNCERTAIN, "definitely absent": NEGATIVE}

POLICIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "uncertain0": lambda codes: codes == POSITIVE,
    "uncertain1": lambda codes: (codes == POSITIVE) | (codes == UNCERTAIN),
}
"""What of a label's codes counts as positive. A third, "ignored", leaves uncertain reports out."""


def text_of(report: OpeniReport) -> str:
    """The text that is labelled: findings, then impression."""
    return f"{report.report.findings}\n\n{report.report.impression}"


def mesh_truth(reports: Sequence[OpeniReport]) -> np.ndarray:
    """(N, 14) bool: the labels that the codes of each report give; devices alone are No Finding."""
    truth = [
        [any(rule.matches(code) for rule in MESH[label] for code in one.codes) for label in LABELS]
        for one in reports
    ]
    rows = np.array(truth)
    rows[:, LABELS.index("No Finding")] |= [
        bool(one.codes) and all(map(_is_device, one.codes)) for one in reports
    ]
    return rows


def _is_device(code: str) -> bool:
    return any(rule.matches(code) for rule in MESH["Support Devices"])


def scores(truth: Columns, drafted: Columns) -> dict[str, dict[str, Any]]:
    """Precision, recall and F1 of every column, with 95 % bootstrap intervals over reports.

    `truth` and `drafted` map a name to (N,) bool. All columns share the resamples.
    """
    names = list(truth)
    outcomes = [
        (truth[name] & drafted[name], ~truth[name] & drafted[name], truth[name] & ~drafted[name])
        for name in names
    ]
    counts = np.array(outcomes, dtype=np.float64).reshape(3 * len(names), -1).T  # (N, 3 C)
    sums = counts.sum(axis=0).reshape(len(names), 3).astype(int)
    values = _precision_recall_f1(counts.sum(axis=0))
    low, high = bootstrap_interval(counts, _precision_recall_f1, seed=SEED, resamples=RESAMPLES)
    rows: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(names):
        rows[name] = {
            "positives": int(truth[name].sum()),
            "fp": int(sums[place, 1]),
            "fn": int(sums[place, 2]),
        }
        for key, column in zip(("precision", "recall", "f1"), range(3 * place, 3 * place + 3), strict=True):
            interval = [float(low[column]), float(high[column])]
            rows[name][key] = {"value": float(values[column]), "ci95": interval}
    return rows


def _precision_recall_f1(sums: np.ndarray) -> np.ndarray:
    """Counts (..., 3 C) of true positives, false positives and misses to scores (..., 3 C); 0 / 0 is 0."""
    tp, fp, fn = np.moveaxis(sums.reshape(*sums.shape[:-1], -1, 3), -1, 0)
    parts = ((tp, tp + fp), (tp, tp + fn), (2 * tp, 2 * tp + fp + fn))
    shares = [np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0) for part, whole in parts]
    return np.stack(shares, axis=-1).reshape(sums.shape)


def table(truth: np.ndarray, codes: np.ndarray, uncoded: np.ndarray) -> dict[str, Any]:
    """Scores of every label and policy, and the macro F1 over the labels with enough positives.

    Reports without codes do not count for No Finding; "ignored" leaves uncertain reports out of a label.
    """
    rows: dict[str, Any] = {label: {} for label in LABELS}
    for policy in (*POLICIES, "ignored"):
        true: Columns = {}
        drafted: Columns = {}
        for column, label in enumerate(LABELS):
            code = codes[:, column]
            used = ~uncoded if label == "No Finding" else np.ones(len(truth), dtype=bool)
            used = used & (code != UNCERTAIN) if policy == "ignored" else used
            positive = POLICIES.get(policy, POLICIES["uncertain0"])(code)
            true[label], drafted[label] = truth[:, column] & used, positive & used
        for label, score in scores(true, drafted).items():
            rows[label][policy] = score
    counted = [label for label, row in rows.items() if row["uncertain0"]["positives"] >= MIN_POSITIVES]
    macro = {
        name: float(np.mean([rows[label][name]["f1"]["value"] for label in counted])) if counted else 0.0
        for name in (*POLICIES, "ignored")
    }
    return {"n": len(truth), "labels": rows, "macro_f1": macro, "macro_labels": counted}


def openi(archive: Path | None, quick: bool) -> tuple[dict[str, Any], list[OpeniReport]]:
    """The tables of both halves and of all reports, with the policy chosen for each label on the first."""
    every = read_reports(archive)
    reports = [one for one in every if one.report.findings or one.report.impression]
    reports = reports[:400] if quick else reports
    truth, codes = mesh_truth(reports), label_matrix([text_of(one) for one in reports])
    uncoded = np.array(["No Indexing" in one.codes for one in reports])
    odd = np.array([one.number % 2 == 1 for one in reports])
    halves = {"development": odd, "held out": ~odd, "all": np.ones(len(reports), dtype=bool)}
    tables = {name: table(truth[half], codes[half], uncoded[half]) for name, half in halves.items()}
    chosen = {
        label: max(POLICIES, key=lambda name: row[name]["f1"]["value"])
        for label, row in tables["development"]["labels"].items()
    }
    for result in tables.values():
        result["macro_f1"]["chosen"] = float(
            np.mean(
                [result["labels"][label][chosen[label]]["f1"]["value"] for label in result["macro_labels"]]
            )
        )
    return {
        "reports": len(every),
        "labelled": len(reports),
        "not_coded": int(uncoded.sum()),
        "policy": chosen,
        "tables": tables,
    }, reports


def radlabels_reports() -> tuple[list[str], np.ndarray] | None:
    """Texts and status codes (N, 14) of the synthetic reports; None where the package is absent."""
    spec = find_spec("radlabels")
    folder = next(iter((spec and spec.submodule_search_locations) or ()), None)
    if folder is None:
        return None
    samples = Path(folder) / "samples"
    labelled = json.loads((samples / "synthetic_labels.json").read_text(encoding="utf-8"))
    texts = [(samples / "synthetic_reports" / f"{name}.txt").read_text(encoding="utf-8") for name in labelled]
    strength = (POSITIVE, UNCERTAIN, NEGATIVE)
    codes = np.zeros((len(texts), len(LABELS)), dtype=np.int8)
    for row, statuses in zip(codes, labelled.values(), strict=True):
        for column, label in enumerate(LABELS):
            said = {STATUS_CODES[statuses[name]] for name in RADLABELS.get(label, ()) if name in statuses}
            row[column] = next((code for code in strength if code in said), 0)
    return texts, codes


def radlabels(quick: bool) -> dict[str, Any]:
    """The same table against the statuses of the synthetic reports."""
    found = radlabels_reports()
    if found is None:
        return {"missing": "pip install --no-deps radlabels"}
    texts, truth = found[0][: 100 if quick else None], found[1][: 100 if quick else None]
    codes = label_matrix(texts)
    labels = {label: LABELS.index(label) for label in RADLABELS}
    rows: dict[str, Any] = {label: {} for label in labels}
    for policy, positive in POLICIES.items():
        true = {label: positive(truth[:, column]) for label, column in labels.items()}
        drafted = {label: positive(codes[:, column]) for label, column in labels.items()}
        for label, score in scores(true, drafted).items():
            rows[label][policy] = score
    counted = [row for row in rows.values() if row["uncertain0"]["positives"] >= MIN_POSITIVES]
    macro = {
        name: float(np.mean([row[name]["f1"]["value"] for row in counted])) if counted else 0.0
        for name in POLICIES
    }
    return {"n": len(texts), "labels": rows, "macro_f1": macro}


def disagreements(reports: Sequence[OpeniReport], policy: dict[str, str], count: int) -> list[dict[str, Any]]:
    """A fixed random sample of the held-out half's disagreements, for a reader."""
    held_out = [one for one in reports if one.number % 2 == 0]
    truth, codes = mesh_truth(held_out), label_matrix([text_of(one) for one in held_out])
    found = [
        {
            "study": one.study_id,
            "label": label,
            "coder": bool(truth[row, column]),
            "labeler": {0: "absent", 1: "positive", 2: "negative", 3: "uncertain"}[int(codes[row, column])],
            "codes": list(one.codes),
            "text": text_of(one),
        }
        for row, one in enumerate(held_out)
        for column, label in enumerate(LABELS)
        if label != "No Finding"
        and bool(truth[row, column]) != bool(POLICIES[policy[label]](codes[row : row + 1, column])[0])
    ]
    return random.Random(SEED).sample(found, min(count, len(found)))


def _cell(score: dict[str, Any]) -> str:
    low, high = score["ci95"]
    return f"{score['value']:.3f} [{low:.3f}, {high:.3f}]"


def markdown(result: dict[str, Any]) -> Iterable[str]:
    """The tables of docs/labeler.md."""
    mesh = result["openi"]
    yield "| label | MeSH codes |"
    yield "|---|---|"
    for label, rules in MESH.items():
        yield f"| {label} | {'; '.join(map(_rule, rules))} |"
    for name in ("held out", "development", "all"):
        part = mesh["tables"][name]
        yield f"\n{name}, {part['n']} reports\n"
        yield "| label | n | policy | precision | recall | F1 | F1 other policy | F1 ignored |"
        yield "|---|---|---|---|---|---|---|---|"
        for label, row in part["labels"].items():
            policy = mesh["policy"][label]
            (other,) = set(POLICIES) - {policy}
            best = row[policy]
            cells = [_cell(best[key]) for key in ("precision", "recall", "f1")]
            cells += [f"{row[name]['f1']['value']:.3f}" for name in (other, "ignored")]
            yield f"| {label} | {best['positives']} | {policy[-1]} | {' | '.join(cells)} |"
        macro = part["macro_f1"]
        yield (
            f"| macro of {len(part['macro_labels'])} labels | | | | | {macro['chosen']:.3f} | 0: "
            f"{macro['uncertain0']:.3f}, 1: {macro['uncertain1']:.3f} | {macro['ignored']:.3f} |"
        )
    if "labels" in result["radlabels"]:
        yield f"\nradlabels, {result['radlabels']['n']} reports\n"
        yield "| label | n | precision (0) | recall (0) | F1 (0) | n (1) | F1 (1) |"
        yield "|---|---|---|---|---|---|---|"
        for label, row in result["radlabels"]["labels"].items():
            zero, one = row["uncertain0"], row["uncertain1"]
            cells = [_cell(zero[key]) for key in ("precision", "recall", "f1")]
            cells += [str(one["positives"]), _cell(one["f1"])]
            yield f"| {label} | {zero['positives']} | {' | '.join(cells)} |"
        macro = result["radlabels"]["macro_f1"]
        yield f"| macro | | | | {macro['uncertain0']:.3f} | | {macro['uncertain1']:.3f} |"


def _rule(rule: Code) -> str:
    needs = f" with {' or '.join(sorted(rule.needs))}" if rule.needs else ""
    lacks = f" without {' or '.join(sorted(rule.lacks))}" if rule.lacks else ""
    return f"{rule.term}{needs}{lacks}"


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--openi", type=Path, help="NLMCXR_reports.tgz")
    parser.add_argument("--sample", type=int, default=0, help="print so many held-out disagreements")
    parser.add_argument("--quick", action="store_true", help="few reports")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    parser.add_argument("--markdown", type=Path, help="file for the tables")
    options = parser.parse_args()
    mesh, reports = openi(options.openi, options.quick)
    result = {"openi": mesh, "radlabels": radlabels(options.quick)}
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    lines = "\n".join(markdown(result))
    if options.markdown:
        options.markdown.write_text(lines + "\n", encoding="utf-8")
    print(lines)
    for item in disagreements(reports, mesh["policy"], options.sample):
        print(json.dumps(item, ensure_ascii=False))


if __name__ == "__main__":
    main()
