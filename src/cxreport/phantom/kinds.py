"""The findings that a phantom can have: which sides, zones and severities, and their CheXpert labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cxreport.study import LABELS, SEVERITIES, Finding, Side, SidedKind


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of finding may look like.

    ``sides`` empty means that the kind has no side; ``zones`` empty that it has no zone (or only one);
    ``labels`` are the CheXpert labels that its presence sets; ``prevalence`` is the share of grammar
    studies that have it, a choice of ours (common in reality -> more common here), not an estimate.
    """

    name: str
    labels: tuple[str, ...]
    prevalence: float
    sides: tuple[Side, ...] = ()
    zones: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    device: bool = False


_ONE_SIDE: tuple[Side, ...] = ("left", "right")
_ANY_SIDE: tuple[Side, ...] = ("left", "right", "bilateral")
_THIRDS = ("upper", "middle", "lower")
_LOBES = ("upper lobe", "middle lobe", "lingula", "lower lobe")
_NODULAR = ("Lung Lesion",)

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("cardiomegaly", ("Cardiomegaly", "Enlarged Cardiomediastinum"), 0.18, severities=SEVERITIES),
        Kind("pleural_effusion", ("Pleural Effusion",), 0.20, _ANY_SIDE, severities=SEVERITIES),
        Kind("pneumothorax", ("Pneumothorax",), 0.14, _ONE_SIDE, severities=SEVERITIES),
        Kind("consolidation", ("Consolidation", "Lung Opacity"), 0.18, _ONE_SIDE, _LOBES, SEVERITIES),
        Kind("atelectasis", ("Atelectasis", "Lung Opacity"), 0.14, _ANY_SIDE, ("plate-like", "volume loss")),
        Kind("edema", ("Edema", "Lung Opacity"), 0.12, severities=SEVERITIES),
        Kind("nodule", _NODULAR, 0.12, _ONE_SIDE, _THIRDS),
        Kind("calcified_granuloma", _NODULAR, 0.10, _ONE_SIDE, _THIRDS),
        Kind("mass", _NODULAR, 0.14, _ONE_SIDE, _THIRDS),
        Kind("emphysema", (), 0.12, severities=SEVERITIES),
        Kind("elevated_hemidiaphragm", (), 0.12, _ONE_SIDE),
        Kind("hiatal_hernia", (), 0.10),
        Kind("rib_fracture", ("Fracture",), 0.08, _ONE_SIDE, _THIRDS),
        Kind("scoliosis", (), 0.14, _ONE_SIDE, severities=SEVERITIES),
        Kind("tortuous_aorta", (), 0.12),
        Kind("aortic_calcification", (), 0.10),
        Kind("scarring", ("Lung Opacity",), 0.10, _ANY_SIDE, ("apical", "basal")),
        Kind("central_line", ("Support Devices",), 0.16, _ONE_SIDE, device=True),
        Kind("endotracheal_tube", ("Support Devices",), 0.12, device=True),
        Kind("pacemaker", ("Support Devices",), 0.14, _ONE_SIDE, device=True),
        Kind("sternotomy_wires", ("Support Devices",), 0.14, device=True),
        Kind("surgical_clips", ("Support Devices",), 0.10, _ONE_SIDE, device=True),
    )
}
"""Every kind by name. For scoliosis the side is that of the convexity; for a consolidation ``middle
lobe`` exists on the right and ``lingula`` on the left only; for atelectasis the zone is the form."""


SIDED_KINDS: tuple[SidedKind, ...] = tuple(
    (kind.name, side) for kind in KINDS.values() for side in (_ONE_SIDE if kind.sides else (None,))
)
"""Everything that a phantom can have, as it is counted: kind and side."""


def zones_of(kind: str, side: Side | None) -> tuple[str, ...]:
    """The zones that `kind` may have on `side`."""
    zones = KINDS[kind].zones
    if kind == "consolidation":
        absent = "lingula" if side == "right" else "middle lobe"
        zones = tuple(zone for zone in zones if zone != absent)
    return zones


def chexpert_labels(findings: Iterable[Finding]) -> dict[str, int]:
    """All 14 CheXpert labels as 1 or 0; ``No Finding`` is 1 when nothing but devices is present.

    Devices do not count against ``No Finding``, as in the CheXpert paper (Irvin et al. 2019, sec. 3).
    A kind outside the 13 other labels (scoliosis) leaves ``No Finding`` at 0.
    """
    findings = list(findings)
    present = {label for finding in findings for label in KINDS[finding.kind].labels}
    labels = {label: int(label in present) for label in LABELS}
    labels["No Finding"] = int(all(KINDS[finding.kind].device for finding in findings))
    return labels
