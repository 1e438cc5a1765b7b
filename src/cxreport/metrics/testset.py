"""Test sets: drafts beside references, prepared by a protocol; nothing left out without being counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cxreport.errors import UserError
from cxreport.metrics.findings import Item
from cxreport.metrics.predictions import Prediction, Predictions
from cxreport.metrics.protocols import RAW, Protocol, ReferenceCutter, protocol_of
from cxreport.metrics.statistics import group_numbers
from cxreport.phantom.parser import LANGUAGES

EMPTY_REFERENCE = "empty reference"


@dataclass(frozen=True)
class TestSet:
    """Prepared drafts and references of N studies, in order.

    ``missing`` are studies for which the system wrote nothing; their drafts are empty texts. ``excluded``
    lists studies without a reference by reason. ``patients`` are names of the groups that the bootstrap
    draws, None where no patient is known. ``controls`` are other drafts of the same studies.
    """

    __test__ = False

    source: str
    study_ids: tuple[str, ...]
    hypotheses: tuple[str, ...]
    references: tuple[str, ...]
    controls: dict[str, tuple[str, ...]] = field(default_factory=dict)
    truths: tuple[frozenset[Item], ...] | None = None
    patients: tuple[str, ...] | None = None
    facts: tuple[dict[str, str], ...] = ()
    missing: tuple[str, ...] = ()
    excluded: dict[str, list[str]] = field(default_factory=dict)

    @property
    def groups(self) -> np.ndarray | None:
        """The number of every study's patient (N,), None where no patient is known."""
        return None if self.patients is None else group_numbers(self.patients)


def counts_of(runs: Sequence[TestSet]) -> dict[str, Any]:
    """How many patients there are; what is missing, empty or left out in any run of one system."""
    first = runs[0]
    missing = {study_id for one in runs for study_id in one.missing}
    return {
        "patients": None if first.patients is None else len(set(first.patients)),
        "missing_drafts": [study_id for study_id in first.study_ids if study_id in missing],
        "empty_drafts": sum(not text.strip() for one in runs for text in one.hypotheses),
        "empty_references": sum(not text.strip() for text in first.references),
        "excluded": first.excluded,
    }


def resolved_protocol(name: str | None, predictions: Predictions, default: str) -> Protocol:
    """The protocol to score `predictions` with: the one called `name`, else the file's own, else `default`.

    Raises UserError where the file's texts were prepared in a way that the protocol cannot undo.
    """
    if predictions.prepared is None:
        return protocol_of(name or default)
    try:
        own = protocol_of(predictions.prepared)
    except UserError as error:
        raise UserError(f"{predictions.source}: {error}") from None
    wanted = protocol_of(name) if name else own
    if wanted.name == RAW or (wanted.section, wanted.cleaner) == (own.section, own.cleaner):
        return wanted
    raise UserError(
        f"The texts of {predictions.source} stand as {own.name}, which does not lead back to what protocol"
        f" {wanted.name} needs (section {wanted.section}, cleaner {wanted.cleaner or 'none'}); draft them"
        " again with that data.section and data.cleaner, or score them as they stand."
    )


def prepare(predictions: Predictions, protocol: Protocol, cut: ReferenceCutter) -> TestSet:
    """The test set of `predictions`; texts that the file's own protocol prepared are not cleaned again.

    Raises UserError when no study has a reference.
    """

    def clean(text: str) -> str:
        return text if predictions.prepared else protocol.prepared(text)

    studies = [study for study in predictions.studies if study.reference is not None]
    excluded = [study.study_id for study in predictions.studies if study.reference is None]
    if not studies:
        raise UserError(
            f"{predictions.source} has no reference report in any of its {len(excluded)} studies, so there is"
            " nothing to score against; draft studies that have reports."
        )
    return TestSet(
        source=predictions.source,
        study_ids=tuple(study.study_id for study in studies),
        hypotheses=tuple(clean(study.hypothesis or "") for study in studies),
        references=tuple(cut(clean(study.reference or "")) for study in studies),
        controls={
            name: tuple(clean(study.controls[name]) for study in studies) for name in studies[0].controls
        },
        truths=_truths(studies),
        patients=_patients(studies),
        facts=tuple(study.facts for study in studies),
        missing=tuple(study.study_id for study in studies if study.hypothesis is None),
        excluded={EMPTY_REFERENCE: excluded} if excluded else {},
    )


def aligned(sets: Sequence[TestSet]) -> list[TestSet]:
    """The same systems on the union of their studies, in the order of the first set that has each.

    A study that a system did not draft is an empty draft of it and stands in its ``missing``; the
    intersection is never taken. Controls stay where a set has all studies. Raises UserError where two sets
    have different references of one study.
    """
    rows: dict[str, tuple[TestSet, int]] = {}
    for one in sets:
        for place, study_id in enumerate(one.study_ids):
            owner, there = rows.setdefault(study_id, (one, place))
            if owner.references[there] != one.references[place]:
                raise UserError(
                    f"{owner.source} and {one.source} have different references for study {study_id!r};"
                    " two systems compare only on the same reports."
                )
    return [_on(one, rows) for one in sets]


def _on(one: TestSet, rows: dict[str, tuple[TestSet, int]]) -> TestSet:
    if tuple(rows) == one.study_ids:
        return one
    own = dict(zip(one.study_ids, one.hypotheses, strict=True))
    places = {study_id: place for place, study_id in enumerate(one.study_ids)}
    whole = own.keys() == rows.keys()
    known = list(rows.values())
    patients = [
        owner.patients[place] if owner.patients else f"study {study_id}"
        for study_id, (owner, place) in rows.items()
    ]
    truths = [owner.truths[place] if owner.truths else None for owner, place in known]
    controls = {
        name: tuple(texts[places[study_id]] for study_id in rows)
        for name, texts in one.controls.items()
        if whole
    }
    return replace(
        one,
        study_ids=tuple(rows),
        hypotheses=tuple(own.get(study_id, "") for study_id in rows),
        references=tuple(owner.references[place] for owner, place in known),
        controls=controls,
        truths=tuple(truth for truth in truths if truth is not None) if None not in truths else None,
        patients=tuple(patients) if any(owner.patients for owner, _ in known) else None,
        facts=tuple(owner.facts[place] for owner, place in known),
        missing=(*one.missing, *(study_id for study_id in rows if study_id not in own)),
    )


def _truths(studies: Sequence[Prediction]) -> tuple[frozenset[Item], ...] | None:
    """The known findings of every study, or None unless all are known and written in the grammar."""
    known = tuple(s.truth for s in studies if s.truth is not None and s.language in LANGUAGES)
    return known if len(known) == len(studies) else None


def _patients(studies: Sequence[Prediction]) -> tuple[str, ...] | None:
    """The patient of every study; one whose patient is not known counts as a patient of its own."""
    if not any(study.patient_id for study in studies):
        return None
    return tuple(f"patient {s.patient_id}" if s.patient_id else f"study {s.study_id}" for s in studies)
