"""Drafts that compare with an earlier exam that they have never seen.

A generator that gets one exam cannot know of a change; reports in which radiologists compare teach it to
claim one (Ramesh et al., ML4H 2022). These rules find the claim in English texts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from cxreport.metrics.counts import ratio
from cxreport.metrics.statistics import Tally

_EXAM = r"(?:study|studies|exam\w*|radiographs?|x-?rays?|films?|images?|imaging|ct|scans?)"
_THING = (
    r"(?:effusions?|opacit\w+|consolidations?|edema|atelectasis|pneumothora\w+|cardiomegaly|appearance|nodules?"
    r"|mass|masses|silhouette|infiltrates?|congestion|heart|mediastinum|exam\w*|chest|positions?)"
)
_CLAIMS = re.compile(
    r"\b(?:"
    + "|".join(
        (
            r"unchanged",
            r"(?:no|without)\s+(?:\w+\s+){0,2}changes?(?!\s+of\b)(?=\s+(?:in|from|since|to|compared)\b)",
            r"no\s+(?:significant\s+|relevant\s+|short\s+)?interval\s+change",
            r"interval\s+(?:\w+\s+){0,2}(?:increase|decrease|removal|placement|development|resolution|worsening"
            r"|improvement|clearing|progression|enlargement|change)\w*",
            r"(?:in|since)\s+the\s+interval",
            r"compar(?:ed|ison)\s+(?:to|with)|in\s+comparison",
            rf"(?:prior|previous|earlier|preceding)\s+(?:\w+\s+){{0,3}}{_EXAM}",
            r"previously\s+(?:seen|noted|described|demonstrated|identified|visualized|reported)",
            r"since\s+(?:the\s+)?(?:prior|previous|last)",
            r"again\s+(?:seen|noted|demonstrated|identified|visualized|is|are)|redemonstrat\w+",
            rf"(?:stable|persistent|improved|improving|worsened|worsening|resolved|resolving)\s+(?:\w+\s+){{0,3}}{_THING}",
            r"(?:is|are|has|have|appears?|remains?)\s+(?:\w+\s+)?"
            r"(?:stable|improved|worsened|resolved|progressed|persisted|cleared)",
            r"(?:has|have)\s+(?:\w+\s+)?(?:increased|decreased)",
            r"(?:has|have)\s+been\s+(?:removed|placed|advanced|withdrawn|exchanged|retracted)",
            rf"new(?:ly)?\s+(?:\w+\s+){{0,2}}{_THING}",
        )
    )
    + r")\b",
    re.IGNORECASE,
)
_NO_EXAM = re.compile(
    r"\b(?:no|without|none|not|unavailable)\b[^.]*\b(?:priors?|previous|comparisons?|earlier)\b"
    r"|\b(?:priors?|previous|comparisons?)\b[^.]*\b(?:none|not|unavailable)\b",
    re.IGNORECASE,
)
_CHANGE = re.compile(r"\b(?:change|new|interval|since|compared)\b", re.IGNORECASE)


def prior_claims(text: str) -> list[str]:
    """The words with which `text` compares with an earlier exam, in order; empty for a text that does not.

    That no earlier exam is available is no comparison.
    """
    sentences = re.split(r"(?<=[.;\n])\s+", text)
    told = (sentence for sentence in sentences if not _says_none(sentence))
    return [" ".join(match.group().split()) for sentence in told for match in _CLAIMS.finditer(sentence)]


def prior_hallucinations(hypotheses: Sequence[str], references: Sequence[str]) -> Tally:
    """How often drafts claim a comparison, and how often one that the reference does not make.

    ``prior_claim_rate`` is over all drafts. ``prior_hallucination_rate`` is over the studies whose reference
    compares with nothing; it is left out where every reference compares.
    """
    claims = np.array([bool(prior_claims(text)) for text in hypotheses], dtype=bool)
    alone = np.array([not prior_claims(text) for text in references], dtype=bool)
    statistics = np.stack([claims, claims & alone, np.ones(len(claims)), alone], axis=1).astype(np.float64)
    names = ("prior_claim_rate", "prior_hallucination_rate")[: 1 + bool(alone.any())]
    return Tally(names, statistics, lambda sums: ratio(sums[..., :2], sums[..., 2:])[..., : len(names)])


def _says_none(sentence: str) -> bool:
    return bool(_NO_EXAM.search(sentence)) and not _CHANGE.search(sentence)
