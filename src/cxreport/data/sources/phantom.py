"""Phantoms as a source: random findings in the grammar's words, or the real Open-i reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cxreport.data.workers import cores, pool_of
from cxreport.errors import UserError
from cxreport.phantom.kinds import chexpert_labels
from cxreport.phantom.language import ENGLISH
from cxreport.phantom.language_zh import CHINESE
from cxreport.phantom.make import render_study, sample_findings
from cxreport.phantom.mesh import complete, findings_of
from cxreport.phantom.openi import join_r2gen, read_reports
from cxreport.study import SPLITS, Finding, Report, Split, Study

Language = Literal["grammar", "grammar-zh", "openi"]
GRAMMARS = {"grammar": ENGLISH, "grammar-zh": CHINESE}
SHARES = (7, 1, 2)
"""Train, val and test among ten grammar phantoms."""
SOURCE_VERSION = "1"
"""Raised whenever the same seed gives other pixels or other words."""
_CHUNK = 16


@dataclass(frozen=True, slots=True)
class _Order:
    """What one phantom is made from; everything random in it follows from `seed` and `place`."""

    place: int
    study_id: str
    split: Split
    size: int
    seed: int
    language: Language
    report: Report | None = None
    codes: tuple[str, ...] = ()


def phantom_studies(
    count: int | None, size: int, language: Language, seed: int, archive: Path | None = None
) -> Iterator[Study]:
    """Render phantoms, in order, on all cores; the same arguments give the same pixels and words.

    Args:
        count: number of studies; for ``openi`` this many of the 2,955 reports of R2Gen's split (all where
            there are fewer), with the shares of the splits kept, and None for all of them.
        size: side of the square views, in pixels.
        language: ``grammar`` or ``grammar-zh`` (random findings, in English or Chinese words; both have the
            same chests and findings), or ``openi`` (the findings that a report's codes name).
        seed: 0 or more.
        archive: where ``NLMCXR_reports.tgz`` lies, else the installed torchxrayvision is searched.

    Raises:
        UserError: a bad size or count, or the Open-i reports are absent.
    """
    if not 32 <= size <= 2048:
        raise UserError(f"--size must lie between 32 and 2048 pixels, not {size}.")
    if count is not None and count < 10:
        raise UserError(f"--studies must be at least 10, so that every split has some, not {count}.")
    if language in GRAMMARS and count is None:
        raise UserError("Say how many phantoms to make with --studies.")
    orders = (
        _grammar_orders(count or 0, size, seed, language)
        if language in GRAMMARS
        else _openi_orders(count, size, seed, archive)
    )
    workers = cores()
    if workers == 1 or (count is not None and count < 4 * _CHUNK):
        yield from map(_study, orders)
        return
    with pool_of(workers) as pool:
        try:
            yield from pool.map(_study, orders, chunksize=_CHUNK)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def count_of(count: int | None, language: Language, archive: Path | None = None) -> int:
    """How many studies :func:`phantom_studies` will yield."""
    if language in GRAMMARS:
        return count or 0
    return len(_openi_orders(count, 32, 0, archive))


def options_of(count: int, size: int, language: Language, seed: int) -> dict[str, Any]:
    """The options of a dataset of phantoms, as its ``dataset.json`` keeps them."""
    options: dict[str, Any] = {"language": language, "studies": count, "size": size, "seed": seed}
    if language == "openi":
        options["labels"] = "what was drawn, look-alikes included; not labels of the reports"
    return options


def _apportioned(count: int, weights: Sequence[int]) -> dict[Split, int]:
    """`count` studies over the splits by `weights`, to the last one (largest remainder).

    Ten or more leave no split empty whose weight is at least a tenth of all.
    """
    total = sum(weights)
    counts = {split: count * weight // total for split, weight in zip(SPLITS, weights, strict=True)}
    remainders = {split: count * weight % total for split, weight in zip(SPLITS, weights, strict=True)}
    for split in sorted(SPLITS, key=lambda split: -remainders[split])[: count - sum(counts.values())]:
        counts[split] += 1
    return counts


def _grammar_orders(count: int, size: int, seed: int, language: Language) -> list[_Order]:
    splits = [split for split, number in _apportioned(count, SHARES).items() for _ in range(number)]
    return [
        _Order(place, f"phantom-{seed}-{place:06d}", split, size, seed, language)
        for place, split in enumerate(splits)
    ]


def _openi_orders(count: int | None, size: int, seed: int, archive: Path | None) -> list[_Order]:
    joined = list(join_r2gen(read_reports(archive)))
    in_split = Counter(split for split, _, _ in joined)
    wanted = _apportioned(min(count or len(joined), len(joined)), [in_split[split] for split in SPLITS])
    taken: Counter[str] = Counter()
    orders: list[_Order] = []
    for split, study_id, record in joined:
        if taken[split] < wanted[split]:
            taken[split] += 1
            orders.append(
                _Order(len(orders), study_id, split, size, seed, "openi", record.report, record.codes)
            )
    return orders


def _study(order: _Order) -> Study:
    rng = np.random.default_rng([order.seed, order.place])
    metadata: dict[str, Any] = {"language": order.language, "undrawn_codes": []}
    if order.report is None:
        wanted: tuple[Finding, ...] = sample_findings(rng)
        report = GRAMMARS[order.language].write(wanted, rng)
    else:
        drawable = findings_of(order.codes)
        metadata["undrawn_codes"] = [code for code, _ in drawable.unmapped]
        metadata["lookalike_codes"] = drawable.lookalikes
        wanted, report = tuple(complete(finding, rng) for finding in drawable.findings), order.report
    views, findings, chest = render_study(wanted, order.size, rng)
    return Study(
        study_id=order.study_id,
        patient_id=order.study_id,
        views=views,
        report=report,
        split=order.split,
        labels=chexpert_labels(findings),
        findings=findings,
        metadata={**metadata, "age": chest.age, "sex": chest.sex},
    )
