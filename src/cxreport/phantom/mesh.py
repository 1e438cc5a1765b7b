"""From the MeSH codes of the Open-i reports to findings that a phantom can have.

A code is a term and its qualifiers: ``Pleural Effusion/left/small``, ``Opacity/lung/base/left``. A
code that names a kind of ours gives that kind; one that names only an appearance (an opacity, a blunted
costophrenic angle) gives the kind whose drawing looks like it, and is listed as a look-alike, because the
report of that study does not say the kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np

from cxreport.phantom.kinds import KINDS, zones_of
from cxreport.study import Finding, Side

Reason = Literal["no kind", "place or form"]
"""Why nothing is drawn: the phantom has no such kind, or has it but not in that place or form."""

_NOT_ABNORMAL = frozenset(("normal", "No Indexing", "Technical Quality of Image Unsatisfactory"))
"""Terms that say nothing about the chest's findings."""

_SPINE = frozenset(("spine", "cervical vertebrae", "thoracic vertebrae", "lumbar vertebrae"))
_VESSELS = frozenset(("aorta", "aorta, thoracic"))
_HEART_PLACES = frozenset(("heart", "heart atria", "heart ventricles"))
_UNDRAWABLE = (
    frozenset(("abdomen", "neck", "shoulder", "humerus", "clavicle", "breast", "ribs", "sternum"))
    | frozenset(("mediastinum", "lymph nodes", "hilum", "trachea", "trachea, carina", "paratracheal"))
    | frozenset(("pulmonary artery", "blood vessels", "coronary vessels", "aortic valve", "mitral valve"))
    | frozenset(("interstitial",))
    | _SPINE
    | _VESSELS
    | _HEART_PLACES
)  # fmt: skip
"""Qualifiers that put a finding where, or in a form in which, a phantom does not draw it."""


class Rule(NamedTuple):
    """A term and the kind that is drawn for it.

    The code must have one of the qualifiers ``needs`` (if any), and of the undrawable ones only those
    in ``takes`` (or ``needs``). ``exact`` says that term and kind mean the same.
    """

    term: str
    kind: str
    needs: frozenset[str] = frozenset()
    takes: frozenset[str] = frozenset()
    exact: bool = True


def _rules(
    kind: str, *terms: str, needs: Iterable[str] = (), takes: Iterable[str] = (), exact: bool = True
) -> list[Rule]:
    places = frozenset(needs)
    return [Rule(term, kind, places, frozenset(takes) | places, exact) for term in terms]


_LUNG = ("lung",)
_HILUM = ("hilum",)

RULES: tuple[Rule, ...] = tuple(
    rule
    for rules in (
        _rules("cardiomegaly", "Cardiomegaly"),
        _rules("cardiomegaly", "Cardiac Shadow", needs=("enlarged", "borderline")),
        _rules("cardiomegaly", "Heart Failure", exact=False),
        _rules("pleural_effusion", "Pleural Effusion", "Hydropneumothorax", takes=_HILUM),
        _rules("pleural_effusion", "Hemothorax", "Hemopneumothorax"),
        _rules("pleural_effusion", "Costophrenic Angle", "Sulcus", needs=("blunted",), exact=False),
        _rules("pneumothorax", "Pneumothorax", "Hydropneumothorax", "Hemopneumothorax"),
        _rules("nodule", "Nodule", takes=_HILUM),
        _rules("nodule", "Opacity", "Density", needs=("round",), takes=_HILUM, exact=False),
        _rules("mass", "Mass", takes=_HILUM),
        _rules("atelectasis", "Pulmonary Atelectasis", takes=_HILUM),
        _rules("atelectasis", "Volume Loss", exact=False),
        _rules("atelectasis", "Opacity", needs=("streaky",), takes=_HILUM, exact=False),
        _rules("consolidation", "Consolidation", takes=_HILUM),
        _rules("consolidation", "Airspace Disease", "Infiltrate", "Pneumonia", takes=_HILUM, exact=False),
        _rules(
            "consolidation", "Opacity", "Density", needs=("lung", "retrocardiac"), takes=_HILUM, exact=False
        ),
        _rules("edema", "Pulmonary Edema", takes=("interstitial",)),
        _rules("edema", "Pulmonary Congestion", "Heart Failure", takes=_HILUM, exact=False),
        _rules("calcified_granuloma", "Calcified Granuloma", "Granuloma", takes=_HILUM),
        _rules("calcified_granuloma", "Granulomatous Disease", exact=False),
        _rules("calcified_granuloma", "Calcinosis", needs=_LUNG, takes=_HILUM, exact=False),
        _rules("emphysema", "Emphysema", "Pulmonary Emphysema", "Bullous Emphysema"),
        _rules("emphysema", "Pulmonary Disease, Chronic Obstructive", "Lung, Hyperlucent", exact=False),
        _rules("emphysema", "Lung", needs=("hyperdistention",), exact=False),
        _rules("emphysema", "Diaphragm", needs=("flattened",), exact=False),
        _rules("elevated_hemidiaphragm", "Diaphragm", needs=("elevated",)),
        _rules("elevated_hemidiaphragm", "Diaphragmatic Eventration", exact=False),
        _rules("hiatal_hernia", "Hernia, Hiatal"),
        _rules("rib_fracture", "Fractures, Bone", needs=("ribs",)),
        _rules("rib_fracture", "Deformity", needs=("ribs",), exact=False),
        _rules("scoliosis", "Scoliosis", takes=_SPINE),
        _rules("tortuous_aorta", "Aorta", "Aorta, Thoracic", needs=("tortuous",)),
        _rules("aortic_calcification", "Calcinosis", "Atherosclerosis", needs=_VESSELS),
        _rules("aortic_calcification", "Atherosclerosis", exact=False),
        _rules("scarring", "Cicatrix", takes=_HILUM),
        _rules("scarring", "Thickening", needs=("apex",), exact=False),
        _rules("central_line", "Catheters, Indwelling"),
        _rules("endotracheal_tube", "Tube, Inserted", needs=("trachea", "trachea, carina")),
        _rules("pacemaker", "Implanted Medical Device", takes=_HEART_PLACES, exact=False),
        _rules(
            "sternotomy_wires",
            "Surgical Instruments",
            "Sutures",
            needs=("mediastinum", "sternum", "heart"),
            exact=False,
        ),
        _rules("surgical_clips", "Surgical Instruments", "Sutures", takes=("breast", "hilum")),
    )
    for rule in rules
)
"""The first rule of a term that a code satisfies counts, and every further one for a term of two findings."""

_ONE_A_CHEST = frozenset(("scoliosis", "pacemaker"))
"""Kinds of which the first side counts: a spine is drawn with one curve."""

_TWO_FINDINGS = frozenset(("Hydropneumothorax", "Hemopneumothorax", "Heart Failure"))

_SEVERITIES = {
    "mild": "mild",
    "small": "mild",
    "borderline": "mild",
    "blunted": "mild",
    "moderate": "moderate",
    "severe": "severe",
    "large": "severe",
}
_UPPER, _MIDDLE, _LOWER = (
    ("upper lobe", "apex"),
    ("middle lobe", "lingula", "hilum"),
    ("lower lobe", "base", "retrocardiac"),
)
_THIRDS = dict.fromkeys(_UPPER, "upper") | dict.fromkeys(_MIDDLE, "middle") | dict.fromkeys(_LOWER, "lower")
_ENDS = dict.fromkeys(_UPPER, "apical") | dict.fromkeys(_MIDDLE + _LOWER, "basal")
_ATELECTASES = {
    "streaky": "plate-like",
    "base": "plate-like",
    "lingula": "plate-like",
    "focal": "plate-like",
    "volume loss": "volume loss",
}
_MIDDLES: dict[Side | None, str] = {"left": "lingula", "right": "middle lobe"}
_SIDES: dict[str, Side] = {
    "left": "left",
    "right": "right",
    "lingula": "left",
    "middle lobe": "right",
    "retrocardiac": "left",
}
"""Said outright, or implied where neither side is said."""


@dataclass(slots=True)
class Drawable:
    """What a phantom can draw of a report's codes.

    ``findings`` may lack what the codes do not say (see :func:`complete`). ``exact`` and ``lookalikes``
    are the codes behind them; ``unmapped`` says of every other abnormal code why it is not drawn.
    """

    findings: list[Finding] = field(default_factory=list)
    exact: list[str] = field(default_factory=list)
    lookalikes: list[str] = field(default_factory=list)
    unmapped: list[tuple[str, Reason]] = field(default_factory=list)


def findings_of(codes: Iterable[str]) -> Drawable:
    """The findings that the `codes` of one report stand for; codes that repeat one give it once.

    ``bilateral`` is one finding where the kind has that side, else two; ``multiple`` counts as one. What an
    exact code says of side, zone and severity stands before what a look-alike says.
    """
    drawable = Drawable()
    found: dict[bool, list[Finding]] = {True: [], False: []}
    for code in codes:
        term, *words = (part.strip() for part in code.split("/"))
        if term in _NOT_ABNORMAL:
            continue
        qualifiers = frozenset(word.lower() for word in words)
        of_term = [
            rule for rule in RULES if rule.term == term and (not rule.needs or rule.needs & qualifiers)
        ]
        if not of_term:
            drawable.unmapped.append((code, "no kind"))
            continue
        rules = of_term if term in _TWO_FINDINGS else of_term[:1]
        if any((qualifiers & _UNDRAWABLE) - rule.takes for rule in rules):
            drawable.unmapped.append((code, "place or form"))
            continue
        (drawable.exact if all(rule.exact for rule in rules) else drawable.lookalikes).append(code)
        for rule in rules:
            found[rule.exact].extend(_findings(rule.kind, [term.lower(), *words]))
    for finding in found[True] + found[False]:
        _add(drawable.findings, finding)
    return drawable


def complete(finding: Finding, rng: np.random.Generator) -> Finding:
    """Fill in the side, zone and severity that the kind has and `finding` lacks, evenly drawn.

    A missing side is left or right, never both. Raises ValueError where no side has the zone.
    """
    kind = KINDS[finding.kind]
    side, zone, severity = finding.side, finding.zone, finding.severity
    if kind.sides and side is None:
        sides = [
            one for one in kind.sides if one != "bilateral" and zone in (None, *zones_of(kind.name, one))
        ]
        if not sides:
            raise ValueError(f"{finding.kind} has no zone {zone!r} on any side")
        side = sides[int(rng.integers(len(sides)))]
    if zone is None and (zones := zones_of(kind.name, side)):
        zone = zones[int(rng.integers(len(zones)))]
    if severity is None and kind.severities:
        severity = kind.severities[int(rng.integers(len(kind.severities)))]
    return replace(finding, side=side, zone=zone, severity=severity)


@dataclass(frozen=True, slots=True)
class Coverage:
    """Code mentions over many reports; ``abnormal`` is the sum of the four counts after it."""

    abnormal: int
    exact: int
    lookalike: int
    place_or_form: int
    no_kind: int
    top_unmapped: tuple[tuple[str, int], ...]

    @property
    def of_kinds(self) -> float:
        """The share drawn of the mentions that correspond to a kind."""
        return (self.exact + self.lookalike) / (self.exact + self.lookalike + self.place_or_form)

    @property
    def of_abnormal(self) -> float:
        """The share drawn of all abnormal mentions."""
        return (self.exact + self.lookalike) / self.abnormal


def coverage(reports: Iterable[Sequence[str]], top: int = 20) -> Coverage:
    """Count what becomes of every abnormal code of `reports` (each a report's codes)."""
    counts: Counter[str] = Counter()
    unmapped: Counter[str] = Counter()
    for codes in reports:
        drawable = findings_of(codes)
        counts.update(exact=len(drawable.exact), lookalike=len(drawable.lookalikes))
        counts.update(reason for _, reason in drawable.unmapped)
        unmapped.update(code for code, _ in drawable.unmapped)
    exact, lookalike, place_or_form, no_kind = (
        counts[name] for name in ("exact", "lookalike", "place or form", "no kind")
    )
    return Coverage(
        exact + lookalike + place_or_form + no_kind,
        exact,
        lookalike,
        place_or_form,
        no_kind,
        tuple(sorted(unmapped.items(), key=lambda item: (-item[1], item[0]))[:top]),
    )


def _findings(kind: str, words: Sequence[str]) -> list[Finding]:
    """The one or two findings of `kind` that a code's qualifiers describe."""
    severity = next((_SEVERITIES[word] for word in words if word in _SEVERITIES), None)
    return [
        Finding(kind, side, _zone(kind, side, words), severity if KINDS[kind].severities else None)
        for side in _sides(kind, words)
    ]


def _sides(kind: str, words: Sequence[str]) -> tuple[Side | None, ...]:
    if not KINDS[kind].sides:
        return (None,)
    if "bilateral" in words or {"left", "right"} <= set(words):
        return ("bilateral",) if "bilateral" in KINDS[kind].sides else ("left", "right")
    return (next((side for word, side in _SIDES.items() if word in words), None),)


def _zone(kind: str, side: Side | None, words: Sequence[str]) -> str | None:
    third = next((_THIRDS[word] for word in words if word in _THIRDS), None)
    if kind == "atelectasis":
        return next((_ATELECTASES[word] for word in words if word in _ATELECTASES), None)
    if kind == "scarring":
        return next((_ENDS[word] for word in words if word in _ENDS), None)
    if kind == "consolidation":
        return _MIDDLES.get(side) if third == "middle" else third and f"{third} lobe"
    return third if "middle" in KINDS[kind].zones else None


def _add(findings: list[Finding], new: Finding) -> None:
    """Add `new`, folded with every finding of its kind that it repeats or makes more precise."""
    for index, old in enumerate(findings):
        if (
            old.kind == new.kind
            and _same_side(old, new)
            and (old.zone == new.zone or not (old.zone and new.zone))
        ):
            del findings[index]
            side = "bilateral" if "bilateral" in (old.side, new.side) else old.side or new.side
            zone, severity = old.zone or new.zone, old.severity or new.severity
            _add(findings, replace(old, side=side, zone=zone, severity=severity))
            return
    findings.append(new)


def _same_side(old: Finding, new: Finding) -> bool:
    sides = (old.side, new.side)
    return old.side == new.side or None in sides or "bilateral" in sides or old.kind in _ONE_A_CHEST
