"""How a grammar writes the report of a phantom: every sentence says one true thing.

A report starts with what is wrong, in the order of the kinds, one sentence a finding, and ends with a
few normal statements of which none contradicts a finding. The words of a language stand in a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cxreport.phantom.kinds import KINDS, zones_of
from cxreport.study import SEVERITIES, Finding, Report, Side

LUNG_KINDS = (
    frozenset(("consolidation", "atelectasis", "edema", "emphysema", "scarring"))
    | frozenset(("nodule", "calcified_granuloma", "mass"))
    | frozenset(("pleural_effusion", "pneumothorax"))
)
CENTRAL_KINDS = frozenset(("tortuous_aorta", "aortic_calcification", "hiatal_hernia"))
BONE_KINDS = frozenset(("rib_fracture", "scoliosis"))
"""What a normal statement on lungs, mediastinum or bones denies."""

NormalStatements = tuple[tuple[frozenset[str], tuple[str, ...]], ...]

_NORMAL_COUNTS = {0: (5, 6), 1: (4, 5), 2: (4, 4), 3: (3, 4), 4: (2, 3)}
_FEWEST_NORMAL_COUNTS = (2, 2)
_IMPRESSION_LENGTH = 3


@dataclass(frozen=True, slots=True)
class Wording:
    """How one kind of finding is said; the first form of each tuple is the terse one of the impression.

    Forms name ``{severity}``, ``{adverb}``, ``{side}``, ``{zonal}`` (adjective), ``{zone}`` (noun) and
    ``{zones}`` (plural). ``zones`` maps a zone to those three words; ``severities`` are its own where given.
    """

    forms: tuple[str, ...]
    bilateral: tuple[str, ...] = ()
    severities: tuple[str, str, str] | None = None
    zones: dict[str, tuple[str, str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grammar:
    """The words of a language.

    ``wordings`` stand by kind, or by ``kind/zone`` where the zone changes the whole sentence.
    ``normal_statements`` pair the kinds that a statement denies with its forms; ``denials`` name kinds that a
    sentence of ``denial_forms`` can deny together, joined by ``listed``. ``between`` parts sentences;
    ``finished`` makes a sentence of a filled form.
    """

    wordings: Mapping[str, Wording]
    severities: tuple[str, str, str]
    adverbs: tuple[str, str, str]
    sides: Mapping[Side, str]
    normal_statements: NormalStatements
    denials: Mapping[str, str]
    denial_forms: tuple[str, ...]
    listed: Callable[[Sequence[str]], str]
    normal_impressions: tuple[str, ...]
    between: str
    finished: Callable[[str], str]

    def write(self, findings: Sequence[Finding], rng: np.random.Generator) -> Report:
        """Dictate the findings and impression of a phantom that has `findings`; `rng` chooses the words.

        Every finding must be complete: it has a side, a zone and a severity wherever its kind has them.
        Raises ValueError for an unknown kind and for a side, zone or severity that its kind cannot have.
        """
        order = list(KINDS)
        for finding in findings:
            _check(finding)
        ordered = sorted(findings, key=lambda finding: (order.index(finding.kind), finding.side or ""))
        abnormal = [self._say(finding, _pick(self._forms(finding), rng)) for finding in ordered]
        normal = self._normal_statements({finding.kind for finding in ordered}, len(ordered), rng)
        notable = [finding for finding in ordered if not KINDS[finding.kind].device]
        impression = [self._say(finding, self._forms(finding)[0]) for finding in notable[:_IMPRESSION_LENGTH]]
        return Report(
            findings=self.between.join(abnormal + normal),
            impression=self.between.join(impression or [_pick(self.normal_impressions, rng)]),
        )

    def _wording(self, finding: Finding) -> Wording:
        return self.wordings.get(f"{finding.kind}/{finding.zone}") or self.wordings[finding.kind]

    def _forms(self, finding: Finding) -> tuple[str, ...]:
        wording = self._wording(finding)
        return wording.bilateral if finding.side == "bilateral" else wording.forms

    def _say(self, finding: Finding, form: str) -> str:
        wording = self._wording(finding)
        grade = SEVERITIES.index(finding.severity) if finding.severity else 0
        zonal, zone, zones = wording.zones.get(finding.zone or "", ("", "", ""))
        sentence = form.format(
            severity=(wording.severities or self.severities)[grade],
            adverb=self.adverbs[grade],
            side=self.sides[finding.side] if finding.side else "",
            zonal=zonal,
            zone=zone,
            zones=zones,
        )
        return self.finished(sentence)

    def _normal_statements(self, present: set[str], n_findings: int, rng: np.random.Generator) -> list[str]:
        """A few true normal statements; the fewer, the more there is to say about findings."""
        statements = [_pick(forms, rng) for denied, forms in self.normal_statements if not denied & present]
        absent = [words for kind, words in self.denials.items() if kind not in present]
        if absent:
            absent = [absent[i] for i in rng.permutation(len(absent))[: rng.integers(1, len(absent) + 1)]]
            statements.append(_pick(self.denial_forms, rng).format(self.listed(absent)))
        fewest, most = _NORMAL_COUNTS.get(n_findings, _FEWEST_NORMAL_COUNTS)
        count = min(int(rng.integers(fewest, most + 1)), len(statements))
        return [statements[i] for i in rng.permutation(len(statements))[:count]]


def _check(finding: Finding) -> None:
    kind = KINDS.get(finding.kind)
    if kind is None:
        raise ValueError(f"a phantom has no finding of kind {finding.kind!r}")
    allowed = (
        ("side", finding.side, kind.sides),
        ("zone", finding.zone, zones_of(finding.kind, finding.side)),
        ("severity", finding.severity, kind.severities),
    )
    for name, value, values in allowed:
        if value not in (values or (None,)):
            raise ValueError(f"the {name} of {finding.kind} is {value!r}, not one of {values or (None,)}")


def _pick(forms: Sequence[str], rng: np.random.Generator) -> str:
    return forms[int(rng.integers(len(forms)))]
