"""Choosing metrics by name, and computing them on two lists of texts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cxreport.errors import UserError
from cxreport.metrics import CLINICAL_METRICS, LANGUAGE_METRICS, ON_REQUEST, Metric, metric_function
from cxreport.metrics.counts import check_f1
from cxreport.metrics.diversity import diversity_values, most_common_share, repeated_sentences
from cxreport.metrics.findings import FindingCounts, Item
from cxreport.metrics.protocols import Protocol
from cxreport.metrics.statistics import Tally, mean_over, scores_of
from cxreport.metrics.unavailable import MetricUnavailable
from cxreport.phantom.parser import parse

DIVERSITY, FINDINGS = "diversity", "findings"
"""Groups of scores beside the registries: of the drafts among themselves, and of phantoms' known truth."""

ENGLISH = frozenset({"meteor", "chexpert.rules", "sides", "priors", "contradictions"})
"""Metrics that read English only; Chinese texts are not scored with them unless by name."""

_DIVERSITY_NAMES = (
    *("unique_ratio", "distinct1", "distinct2", "vocabulary_coverage"),
    *("most_common_share", "repeated_sentences"),
)
_NAMES_ELSEWHERE = {"mean_words": "length_ratio", "side_accuracy": FINDINGS}


@dataclass(frozen=True)
class Choice:
    """The metrics to compute, and of their scores the ones to keep (None: all).

    A metric in ``required`` was asked for by name, so it is an error when it cannot be computed. ``meteor``
    is ``python`` or ``jar``, the published program.
    """

    metrics: tuple[str, ...]
    scores: frozenset[str] | None = None
    required: frozenset[str] = frozenset()
    meteor: str = "python"

    @classmethod
    def of(cls, names: Sequence[str] | None, protocol: Protocol, *, meteor: str = "python") -> Choice:
        """The metrics called `names`: of a registry, a group, or single scores; None is the default set.

        The default set is every metric that needs no weights and reads the protocol's language.
        Raises UserError for a name that nothing has.
        """
        if names is None:
            metrics = [name for name in _registered() if name not in ON_REQUEST]
            if protocol.language == "zh":
                metrics = [name for name in metrics if name not in ENGLISH] + ["chexpert.rules_zh"]
            jar = {"meteor"} if meteor == "jar" else set()
            return cls((*metrics, DIVERSITY, FINDINGS), None, frozenset(jar), meteor)
        owners = {name: _owner(name) for name in names}
        whole = {name for name in names if owners[name] == name}
        single = {name for name in names if owners[name] not in whole}
        chosen = tuple(dict.fromkeys(owners.values()))
        return cls(chosen, frozenset(single | whole) if single else None, frozenset(chosen), meteor)

    def function(self, metric: str) -> Metric:
        """The function that computes `metric`."""
        if metric == "meteor" and self.meteor == "jar":
            from cxreport.metrics.meteor.jar import meteor_jar

            return meteor_jar
        return metric_function(metric)

    def keeps(self, metric: str, score: str) -> bool:
        """Whether the score called `score` of `metric` was asked for."""
        return self.scores is None or metric in self.scores or score in self.scores


@dataclass
class Measured:
    """What one system's drafts scored: tallies, values without interval, and reasons for what is missing."""

    tallies: list[Tally] = field(default_factory=list)
    plain: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def scores(self, *, seed: int, groups: np.ndarray | None, count: int) -> dict[str, dict[str, Any]]:
        """``{name: {"value", "ci95", "n"}}``; a missing score has value None and a ``reason``."""
        rows = scores_of(self.tallies, seed=seed, groups=groups)
        rows |= {name: {"value": value, "ci95": None, "n": count} for name, value in self.plain.items()}
        check_f1(rows)
        return rows | {
            name: {"value": None, "ci95": None, "n": count, "reason": reason}
            for name, reason in self.missing.items()
        }

    def only(self, names: Collection[str]) -> list[Tally]:
        """The tallies cut down to the scores called `names`."""
        kept = [(tally, [name for name in tally.names if name in names]) for tally in self.tallies]
        return [tally.only(found) for tally, found in kept if found]


def measure(
    hypotheses: Sequence[str],
    references: Sequence[str],
    choice: Choice,
    protocol: Protocol,
    *,
    truths: Sequence[frozenset[Item]] | None = None,
    min_positives: int = 20,
    done: Callable[[], None] = lambda: None,
) -> Measured:
    """Compute the chosen metrics on texts that the protocol has prepared.

    `truths` are the known findings of phantoms whose drafts are in the grammar; without them there are no
    finding scores. `done` is called after every metric. Raises MetricUnavailable for a required metric that
    cannot be computed here, and UserError for a score that no chosen metric has.
    """
    measured = Measured()
    words = protocol.tokenized(hypotheses), protocol.tokenized(references)
    whole = protocol.whole(hypotheses), protocol.whole(references)
    for name in choice.metrics:
        if name == DIVERSITY:
            _add(measured, choice, name, most_common_share(words[0]), repeated_sentences(words[0]))
            found = diversity_values(*words)
            measured.plain |= {key: found[key] for key in found if choice.keeps(name, key)}
        elif name == FINDINGS:
            if truths is None and name in choice.required:
                raise UserError(
                    "--metrics findings needs phantoms: a known truth and the grammar's words in every line."
                )
            if truths is not None:
                counts = FindingCounts.of(truths, [parse(draft) for draft in hypotheses])
                _add(measured, choice, name, counts.tally(min_positives=min_positives))
        else:
            texts = words if name in LANGUAGE_METRICS else whole
            try:
                _add(measured, choice, name, choice.function(name)(*texts))
            except MetricUnavailable as reason:
                if name in choice.required:
                    raise
                measured.missing[name] = str(reason)
        done()
    _check_all_found(choice, measured)
    return measured


def not_computed(metrics: Collection[str]) -> dict[str, str]:
    """The registered metrics that are not among `metrics`, and why: they are computed only on request."""
    return {name: "computed only on request" for name in _registered() if name not in metrics}


def mean_measured(runs: Sequence[Measured]) -> Measured:
    """The mean of several runs of one system on the same studies; scores that only some have are left out."""
    if len(runs) == 1:
        return runs[0]
    common = set.intersection(*({name for tally in run.tallies for name in tally.names} for run in runs))
    tallies = [mean_over(same) for same in zip(*(run.only(common) for run in runs), strict=True)]
    plain = {name: sum(run.plain[name] for run in runs) / len(runs) for name in runs[0].plain}
    return Measured(tallies, plain, runs[0].missing)


def _add(measured: Measured, choice: Choice, metric: str, *tallies: Tally) -> None:
    for tally in tallies:
        kept = [name for name in tally.names if choice.keeps(metric, name)]
        if kept:
            measured.tallies.append(tally if len(kept) == len(tally.names) else tally.only(kept))


def _check_all_found(choice: Choice, measured: Measured) -> None:
    found = {name for tally in measured.tallies for name in tally.names} | measured.plain.keys()
    absent = sorted((choice.scores or frozenset()) - found - set(choice.metrics) - measured.missing.keys())
    if absent and FINDINGS not in choice.metrics:
        raise UserError(f"--metrics: no score is called {absent[0]!r}; {_known()}.")


def _registered() -> dict[str, str]:
    return LANGUAGE_METRICS | CLINICAL_METRICS


def _owner(name: str) -> str:
    """The metric or group that has the score called `name`, or is called so."""
    metrics = (*_registered(), DIVERSITY, FINDINGS)
    if name in metrics:
        return name
    if name in _NAMES_ELSEWHERE:
        return _NAMES_ELSEWHERE[name]
    if name in _DIVERSITY_NAMES:
        return DIVERSITY
    if name.startswith("finding_"):
        return FINDINGS
    parts = name.split(".")
    if parts[0].startswith("chexpert") and len(parts) == 5 and f"chexpert.{parts[1]}" in metrics:
        return f"chexpert.{parts[1]}"
    owners = [metric for metric in metrics if name.startswith(metric)]
    if owners:
        return max(owners, key=len)
    owner = next((metric for metric in _registered() if name in _score_names(metric)), None)
    if owner is None:
        raise UserError(f"--metrics: nothing is called {name!r}; {_known()}.")
    return owner


def _score_names(metric: str) -> tuple[str, ...]:
    """The names of the scores of a metric that needs no weights, from a try; none where it needs them."""
    if metric in ON_REQUEST:
        return ()
    try:
        return metric_function(metric)(["edema ."], ["edema ."]).names
    except MetricUnavailable:
        return ()


def _known() -> str:
    return (
        f"choose from {', '.join((*_registered(), DIVERSITY, FINDINGS))}, or one of their scores, such as"
        " bleu4 or chexpert14.rules.macro.uncertain0.f1"
    )
