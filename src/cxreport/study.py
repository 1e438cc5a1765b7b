"""The nouns that every room shares: study, view, report, finding, label, draft."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Projection = Literal["frontal", "lateral"]
Side = Literal["left", "right", "bilateral"]
Split = Literal["train", "val", "test"]
Box = tuple[float, float, float, float]
SidedKind = tuple[str, str | None]
"""A finding as it is counted: its kind and its side, left, right or None."""

PROJECTIONS: tuple[Projection, ...] = ("frontal", "lateral")
SPLITS: tuple[Split, ...] = ("train", "val", "test")
SEVERITIES = ("mild", "moderate", "severe")

LABELS = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
    "No Finding",
)
"""The 14 CheXpert labels, in CheXbert's order."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with, or put into, a chest.

    ``kind`` is a name of :data:`cxreport.phantom.kinds.KINDS` or a source's own word. ``side`` is the
    patient's side and None where the kind has none (cardiomegaly). ``zone`` says where in the side,
    ``severity`` is one of :data:`SEVERITIES` or None. ``boxes`` maps a projection to
    ``(left, top, right, bottom)`` as fractions of the view's width and height.
    """

    kind: str
    side: Side | None = None
    zone: str | None = None
    severity: str | None = None
    boxes: dict[str, Box] = field(default_factory=dict)


def sided_kinds(findings: Iterable[Finding]) -> frozenset[SidedKind]:
    """The (kind, side) pairs of `findings`; a bilateral finding is two."""
    sides: dict[Side | None, tuple[Side, ...]] = {"bilateral": ("left", "right")}
    return frozenset((f.kind, side) for f in findings for side in sides.get(f.side, (f.side,)))


@dataclass(frozen=True, slots=True)
class View:
    """One image of a study: the encoded bytes (PNG or JPEG, 8-bit grey), never a path."""

    image: bytes
    width: int
    height: int
    projection: Projection | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The sections of a radiology report; an absent section is the empty string."""

    findings: str = ""
    impression: str = ""
    indication: str = ""
    comparison: str = ""


@dataclass(frozen=True, slots=True)
class Study:
    """One exam of one patient: its views, its report and what is known to be true about it.

    ``labels`` maps names of :data:`LABELS` to 1 (present), 0 (absent) or -1 (uncertain); a missing name
    is not mentioned. ``findings`` is None where no truth is known, an empty tuple where the chest is
    known to be normal.
    """

    study_id: str
    patient_id: str
    views: tuple[View, ...]
    report: Report = Report()
    split: Split | None = None
    labels: dict[str, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageMap:
    """What parts of one view a sentence rests on.

    ``view`` counts the views that the generator saw; ``values`` are row by row over a grid of
    ``grid`` = (h, w) equal cells, 0 at least and 1 in the highest cell (all 0 where nothing counts).
    """

    view: int
    grid: tuple[int, int]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class BankEntry:
    """A train study that a memory bank gave to a draft.

    ``entry`` is its row of the bank, ``study`` the first 16 digits of the SHA-256 of its id: the id itself
    stays in the bank. A higher ``score`` is nearer.
    """

    entry: int
    study: str
    score: float


@dataclass(frozen=True, slots=True)
class SentenceEvidence:
    """What one sentence of a draft rests on.

    The sentence is ``text[start:end]`` of the draft. ``mean_logprob`` is over the tokens that wrote it, 0.0
    for a sentence that was not written token by token.
    """

    start: int
    end: int
    mean_logprob: float = 0.0
    maps: tuple[ImageMap, ...] = ()
    bank: tuple[BankEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """What a generator wrote for one study.

    ``token_logprobs`` has one natural-log probability per written token, the end token included, and
    ``token_ends`` how many characters of the text stand once that token is written. ``sentences`` are filled
    only where evidence was asked for. ``finished`` is False where ``decoding.max_length`` cut the text.
    """

    text: str
    token_logprobs: tuple[float, ...] = ()
    seconds: float = 0.0
    token_ends: tuple[int, ...] = ()
    sentences: tuple[SentenceEvidence, ...] = ()
    finished: bool = True

    @property
    def mean_logprob(self) -> float:
        """Mean log-probability per token; 0.0 for a draft that was not written token by token."""
        return sum(self.token_logprobs) / len(self.token_logprobs) if self.token_logprobs else 0.0
