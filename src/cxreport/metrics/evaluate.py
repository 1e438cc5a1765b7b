"""Scores with intervals for files of drafts, or for two lists of texts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxreport.errors import UserError
from cxreport.metrics.comparison import LEVEL, POWER, ROUNDS, compare
from cxreport.metrics.controls import image_free, read_train_reports
from cxreport.metrics.findings import FindingCounts
from cxreport.metrics.outside import add_facts, read_any
from cxreport.metrics.predictions import Prediction, Predictions, read_text_pair
from cxreport.metrics.protocols import DEFAULT, Protocol, ReferenceCutter, one_protocol, protocol_of
from cxreport.metrics.scoring import FINDINGS, Choice, Measured, mean_measured, measure, not_computed
from cxreport.metrics.settings import is_headline, is_single_label, notes_of, settings_of
from cxreport.metrics.statistics import Tally
from cxreport.metrics.subgroups import subgroup_scores
from cxreport.metrics.testset import TestSet, aligned, counts_of, prepare, resolved_protocol
from cxreport.phantom.parser import parse

Progress = Callable[[str, int, int], None]
"""Called with the name of a step, how much of it is done, and how much there is."""

DEFAULT_SEED = 9223
MIN_POSITIVES = 20
"""A kind of finding enters the macro averages when the scored studies have it this often."""


@dataclass(frozen=True)
class Options:
    """How to score.

    ``protocol`` and ``metrics`` are names (None: the file's own or :data:`DEFAULT`, and every metric that
    needs no weights). ``meteor`` is ``python`` or ``jar``. ``by`` are facts to make subgroups of, ``facts``
    a CSV file of them. ``train_reports`` makes the baselines from training reports computable;
    ``tokenizer`` is the folder that sub-word protocols need. Without ``baselines`` no control is scored.
    """

    protocol: str | None = None
    metrics: tuple[str, ...] | None = None
    seed: int = DEFAULT_SEED
    min_positives: int = MIN_POSITIVES
    meteor: str = "python"
    baselines: bool = True
    by: tuple[str, ...] = ()
    facts: Path | None = None
    train_reports: Path | None = None
    tokenizer: Path | None = None


_DEFAULTS = Options()


@dataclass(frozen=True)
class Evaluation:
    """Scores as plain JSON values, and what they were made of.

    ``test_set`` and ``measured`` are those of the first file; ``protocol`` is the one in ``scores``.
    """

    scores: dict[str, Any]
    test_set: TestSet
    measured: Measured
    protocol: Protocol


def score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    metrics: Sequence[str] | None = None,
    protocol: str = DEFAULT,
    patients: Sequence[str] | None = None,
    seed: int = DEFAULT_SEED,
) -> dict[str, dict[str, Any]]:
    """``{name: {"value", "ci95", "n"}}`` of N drafts against their N references.

    With `patients` (N names) whole patients are drawn for the intervals. A missing metric has value None
    and a ``reason``. Raises UserError for unknown names and for texts of different number.
    """
    if len(hypotheses) != len(references) or not len(hypotheses):
        raise UserError(f"{len(hypotheses)} drafts for {len(references)} references: give one for each.")
    if patients is not None and len(patients) != len(references):
        raise UserError(f"{len(patients)} patients for {len(references)} studies: give one for each.")
    for what, texts in (("draft", hypotheses), ("reference", references)):
        place = next((place for place, text in enumerate(texts) if not isinstance(text, str)), None)
        if place is not None:
            raise UserError(f"{what} {place} is {texts[place]!r:.40} and not a text; an empty one is ''.")
    names: Sequence[str | None] = patients if patients is not None else [None] * len(references)
    studies = tuple(
        Prediction(str(number), draft, truth, patient_id=patient)
        for number, (draft, truth, patient) in enumerate(zip(hypotheses, references, names, strict=True))
    )
    options = Options(protocol, tuple(metrics) if metrics is not None else None, seed, baselines=False)
    scores: dict[str, dict[str, Any]] = _evaluate([Predictions("texts", studies)], None, options).scores[
        "scores"
    ]
    return scores


def evaluate_file(path: Path, options: Options = _DEFAULTS) -> dict[str, Any]:
    """The scores of one file, see :func:`evaluate_files`."""
    return evaluate_files([path], options).scores


def evaluate_files(
    paths: Sequence[Path],
    options: Options = _DEFAULTS,
    *,
    other: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score one system's drafts: of one file, or of several files from training with several seeds.

    The files may be ``predictions.jsonl``, a ReXrank submission or a CSV table. Studies without a reference
    are left out and counted under ``excluded``; studies without a draft are scored as empty drafts and
    listed under ``missing_drafts``. With several files a value is the mean over them, with its standard
    deviation under ``sd``. `other` is a second system to compare with. Findings are scored when every line
    has a known truth and a text in the phantoms' grammar. Raises UserError for an unreadable or
    inconsistent file, files of different protocols, and when no study has a reference.
    """
    guess = protocol_of(options.protocol or DEFAULT)
    second = read_any(other, guess) if other else None
    return _evaluate([read_any(path, guess) for path in paths], second, options, progress)


def evaluate_texts(
    hypotheses: Path,
    references: Path,
    options: Options = _DEFAULTS,
    *,
    other: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score two text files, one report a line, line by line; `other` has the drafts of a second system.

    An empty line is an empty report, among drafts and among references. Raises UserError for files of
    different length.
    """
    second = read_text_pair(other, references) if other else None
    return _evaluate([read_text_pair(hypotheses, references)], second, options, progress)


class _Scorer:
    """Measures drafts against the references of one test set, and tells how far it is."""

    def __init__(
        self,
        test_set: TestSet,
        choice: Choice,
        protocol: Protocol,
        options: Options,
        bar: Progress,
        systems: int,
    ) -> None:
        self._test_set, self._choice, self._protocol, self._options = test_set, choice, protocol, options
        self._groups = test_set.groups
        self._bar, self._done, self._total = bar, 0, systems * len(choice.metrics)

    def measured(self, drafts: Sequence[str]) -> Measured:
        """The chosen metrics of `drafts`."""
        return measure(
            drafts,
            self._test_set.references,
            self._choice,
            self._protocol,
            truths=self._test_set.truths,
            min_positives=self._options.min_positives,
            done=self._step,
        )

    def scores(self, measured: Measured) -> dict[str, dict[str, Any]]:
        """Values and intervals."""
        count = len(self._test_set.study_ids)
        return measured.scores(seed=self._options.seed, groups=self._groups, count=count)

    def control_scores(self, drafts: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The scores of a control, without those of single labels that nobody asked for."""
        asked = self._choice.scores or ()
        rows = self.scores(self.measured(drafts))
        return {name: row for name, row in rows.items() if not is_single_label(name) or name in asked}

    def _step(self) -> None:
        self._done += 1
        self._bar("scores", self._done, self._total)


def _evaluate(
    runs: Sequence[Predictions], other: Predictions | None, options: Options, progress: Progress | None = None
) -> Evaluation:
    protocol, train, sets = _prepared([*runs, other] if other else runs, options)
    first = sets[0]
    choice = Choice.of(options.metrics, protocol, meteor=options.meteor)
    controls = _controls(first, protocol, train, options)
    scorer = _Scorer(first, choice, protocol, options, progress or _no_progress, len(sets) + len(controls))
    own = [scorer.measured(one.hypotheses) for one in sets[: len(runs)]]
    mean = mean_measured(own)
    scores: dict[str, Any] = {
        "protocol": protocol.name,
        "protocol_settings": protocol.settings,
        "files": [one.source for one in sets[: len(runs)]],
        "n": len(first.study_ids),
        **counts_of(sets[: len(runs)]),
        "seed": options.seed,
        "scores": scorer.scores(mean),
    }
    if len(runs) > 1:
        _add_deviations(scores["scores"], own)
    scores["controls"] = {name: scorer.control_scores(drafts) for name, drafts in controls.items()}
    if first.truths is not None and FINDINGS in choice.metrics:
        counts = FindingCounts.of(first.truths, [parse(draft) for draft in first.hypotheses])
        scores["findings"] = counts.tables(min_positives=options.min_positives)
    names = _compared_names(mean, options)
    if options.by:
        scores["subgroups"] = _subgroups(mean.only(names), first, options)
    if other:
        second = mean_measured([scorer.measured(sets[-1].hypotheses)] * len(runs))  # exchanged with every run
        scores["comparison"] = _comparison(mean, second, names, sets, options)
    scores["not_computed"] = {} if options.metrics else not_computed(choice.metrics)
    scores["settings"] = settings_of(
        scores["scores"], by_patient=first.patients is not None, meteor=options.meteor
    )
    scores["notes"] = notes_of(scores)
    return Evaluation(scores, first, own[0], protocol)


def _prepared(
    loaded: Sequence[Predictions], options: Options
) -> tuple[Protocol, list[str] | None, list[TestSet]]:
    """The one protocol of all files, the prepared train reports, and the aligned test sets."""
    if options.facts:
        loaded = [add_facts(predictions, options.facts) for predictions in loaded]
    protocols = [resolved_protocol(options.protocol, predictions, DEFAULT) for predictions in loaded]
    one_protocol(
        {
            predictions.source: {"protocol": protocol.name, "protocol_settings": protocol.settings}
            for predictions, protocol in zip(loaded, protocols, strict=True)
        }
    )
    raw = read_train_reports(options.train_reports, protocols[0]) if options.train_reports else None
    cut = ReferenceCutter(protocols[0], train_reports=raw, tokenizer=options.tokenizer)
    sets = aligned([prepare(predictions, cut.protocol, cut) for predictions in loaded])
    if raw is None:
        return cut.protocol, None, sets
    prepared = [text for text in map(cut.protocol.prepared, raw) if text.strip()]
    if not prepared:
        raise UserError(f"--train-reports: no report in {options.train_reports} has a word.")
    return cut.protocol, prepared, sets


def _controls(
    test_set: TestSet, protocol: Protocol, train: list[str] | None, options: Options
) -> dict[str, Sequence[str]]:
    """The controls of the file, and the image-free baselines that it does not have already."""
    if not options.baselines:
        return {}
    baselines = image_free(test_set.references, protocol, train, options.seed)
    return {**baselines, **test_set.controls}


def _add_deviations(rows: dict[str, dict[str, Any]], runs: Sequence[Measured]) -> None:
    """Standard deviation (n - 1) over runs, and the value of every run."""
    by_run = [
        run.plain
        | {
            name: float(value)
            for tally in run.tallies
            for name, value in zip(tally.names, tally.values(), strict=True)
        }
        for run in runs
    ]
    for name, row in rows.items():
        if row["value"] is not None:
            values = [values[name] for values in by_run]
            row |= {"sd": statistics.stdev(values), "runs": values}


def _compared_names(measured: Measured, options: Options) -> list[str]:
    """The scores that subgroups and comparisons are about: those asked for, else the headline."""
    names = [name for tally in measured.tallies for name in tally.names]
    if options.metrics is None:
        return [name for name in names if is_headline(name)]
    return [name for name in names if not is_single_label(name) or name in options.metrics]


def _subgroups(tallies: Sequence[Tally], test_set: TestSet, options: Options) -> dict[str, Any]:
    return {
        fact: subgroup_scores(tallies, test_set.facts, fact, seed=options.seed, groups=test_set.groups)
        for fact in options.by
    }


def _comparison(
    mean: Measured, second: Measured, names: Sequence[str], sets: Sequence[TestSet], options: Options
) -> dict[str, Any]:
    common = {name for tally in second.tallies for name in tally.names} & set(names)
    if not common:
        raise UserError(
            "--compare: none of the chosen metrics can compare two systems; name others in --metrics."
        )
    groups = sets[0].groups
    return {
        "with": sets[-1].source,
        "missing_drafts": list(sets[-1].missing),
        "unit": "patients" if groups is not None else "studies",
        "rounds": ROUNDS,
        "level": LEVEL,
        "power": POWER,
        "scores": compare(mean.only(common), second.only(common), seed=options.seed, groups=groups),
    }


def _no_progress(step: str, done: int, total: int) -> None:
    """Nobody watches."""
