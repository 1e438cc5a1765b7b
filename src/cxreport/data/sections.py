"""Sections of a whole report: the rules of MIMIC-CXR's official sectioner, and which sections a study needs.

Source of the rules: MIT-LCP/mimic-cxr, ``txt/section_parser.py`` and ``txt/create_section_files.py``. The
rules are theirs with their faults, so that our sections are those of ``mimic_cxr_sectioned.csv``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from cxreport.study import Report

SECTIONER = "mimic-cxr"
SECTIONER_VERSION = "1"
"""Raised whenever the same text gives other sections."""

SectionPolicy = Literal["any", "findings", "impression", "both", "none"]
"""Which sections a study must have; ``any`` asks for findings or impression, ``none`` for none."""

LAST_PARAGRAPH = "last_paragraph"

_HEADER = re.compile(r"\n ([A-Z ()/,-]+):\s")
_BLANK_LINE = "\n \n"

_NAMES = {
    "impression": (
        "conclusion, findings and impression, findings/impression, findings/ impression, ndication, "
        "impresson, imprression, imoression, impressoin, imprssion, impresion, imperssion, mpression, "
        "impession"
    ),
    "findings": (
        "finding, findins, findindgs, findgings, findngs, findnings, finidngs, reference findings"
    ),
    "indication": "reason for examination, reason for exam, clinical indication, idication",
    "history": "clinical history, clinical information, patient history, pfi",
    "comparison": (
        "comparisons, reference exam, comparison exam, comparison film, comparision, comparsion, "
        "comparrison, comparisions"
    ),
    "examination": "exam, type of examination",
    "recommendations": "recommendation(s), recommendation",
    "wet read": "wetread",
}  # fmt: skip
"""Headers by the name that they become; ``ndication`` is a fault of the official table."""

_NAME_OF = {header: name for name, headers in _NAMES.items() for header in headers.split(", ")}
_OWN_NAMES = ("preamble", "examination", "technique", "notification", "date", "comment", "wet read")
_NAME_OF |= {name: name for name in (*_OWN_NAMES, "recommendations", "indication")}
_WITHIN = ("impression", "findings", "history", "comparison", "addendum")
"""A header that holds one of these words becomes it; the first counts."""
_TITLES = re.compile(
    "chest|portable|pa and lat|lateral and pa|ap and lateral|lateral and ap|frontal and|two views"
    "|frontal view|pa view|ap view|one view|lateral view|bone window|frontal upright|frontal semi-upright"
    "|ribs"
)
"""A header that names only the examination heads the findings."""

HAND_RULED = frozenset((
    50058765, 50196495, 50525523, 50743547, 50798377, 50808053, 50913680, 51410602, 51491012,
    51966317, 52035334, 52119491, 52648681, 52674888, 53071062, 53182247, 53202765, 53356173,
    53488209, 53514462, 53607029, 54168089, 54231141, 54365831, 54654948, 54875119, 54986978,
    55124749, 55157853, 55258338, 56412866, 56451190, 56482935, 56579911, 56724958, 56760320,
    57150433, 57564132, 57936451, 58157373, 58235663, 58375018, 59003148, 59067458, 59087630,
    59215320, 59279892, 59330497, 59363654, 59505494, 59562049, 59768032, 59889364, 59982525,
))  # fmt: skip
"""Numbers of the 54 studies for which the official script has a rule by hand; its CSV lacks them."""


class Section(NamedTuple):
    """A section: its normalised name and its text as it stands in the report."""

    name: str
    text: str


def split_sections(text: str) -> list[Section]:
    """The sections of a report in its order, empty findings and impressions dropped.

    A header is a line break, one blank, capitals, a colon and white space. What stands before the first is
    the ``preamble``; a text without headers is one section ``full report``. Where there are neither
    findings nor impression, what follows the first blank line of the last section is :data:`LAST_PARAGRAPH`.
    """
    header = _HEADER.search(text)
    if header is None:
        found = [Section("full report", text)]
    else:
        found = [Section("preamble", text[: header.start(1)])]
    while header is not None:
        start = header.end()
        # The rest of the header's line is passed over, as the official parser does: a header that follows
        # an empty one at once is not split off.
        following = _HEADER.search(text, max(start, text.find("\n", start)))
        end = len(text) if following is None else following.start()
        found.append(Section(section_name(header[1]), text[start:end]))
        header = following
    main = ("impression", "findings")
    found = [section for section in found if section.name not in main or section.text.strip()]
    if found and not any(section.name in main for section in found):
        before, blank_line, after = found[-1].text.partition(_BLANK_LINE)
        if blank_line:
            found[-1:] = [Section(found[-1].name, before), Section(LAST_PARAGRAPH, after)]
    return found


def section_name(header: str) -> str:
    """The normalised name of a header, such as ``findings`` for ``CHEST, TWO VIEWS``."""
    header = header.strip().lower()
    if header in _NAME_OF:
        return _NAME_OF[header]
    within = next((name for name in _WITHIN if name in header), None)
    return within or ("findings" if _TITLES.search(header) else header)


def official_sections(text: str) -> dict[str, str]:
    """Section name to stripped text; of repeated sections the last one, as in ``mimic_cxr_sectioned.csv``."""
    return {section.name: section.text.strip() for section in split_sections(text)}


def report_of(sections: Mapping[str, str]) -> Report:
    """The report of the sections; ``history`` stands in for an absent indication."""
    return Report(
        findings=sections.get("findings", ""),
        impression=sections.get("impression", ""),
        indication=sections.get("indication", "") or sections.get("history", ""),
        comparison=sections.get("comparison", ""),
    )


def lacks(report: Report, policy: SectionPolicy) -> str:
    """Why `report` does not meet `policy`, as a reason to count; empty where it does."""
    if policy == "none":
        return ""
    findings, impression = bool(report.findings.strip()), bool(report.impression.strip())
    if not findings and not impression:
        return "empty report"
    if policy in ("findings", "both") and not findings:
        return "no findings section"
    if policy in ("impression", "both") and not impression:
        return "no impression section"
    return ""
