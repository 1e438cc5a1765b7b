"""METEOR in Python against the published Java program, statistic by statistic, on pairs of four kinds.

    python benchmarks/meteor_agreement.py [--pairs 1000] [--quick] [--json FILE]

Kinds: cleaned findings of two Open-i reports; whole raw reports, one with its words shuffled and cut; a
report beside itself with sentences shuffled and others added; and texts made of random rules of METEOR's
paraphrase table and random words of WordNet with endings, which use the matchers far more than reports do.
Prints the share of pairs in which each of the 23 statistics, all of them, and the score (within 1e-4) agree.
Needs Java.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np

from cxreport.data.text import clean
from cxreport.errors import UserError
from cxreport.metrics.meteor import match_statistics, meteor_tally, score_from_statistics
from cxreport.metrics.meteor.jar import MeteorJar
from cxreport.metrics.meteor.lexicon import Lexicon
from cxreport.metrics.meteor.resources import load_lexicon
from cxreport.phantom.openi import read_reports

SEED = 9223
QUICK_PAIRS = 20
TOLERANCE = 1e-4
SIDES = ("draft", "reference")
STATISTICS = (
    *(f"words, {side}" for side in SIDES),
    *(f"function words, {side}" for side in SIDES),
    *(
        f"{matcher}: {kind} words, {side}"
        for matcher in ("exact", "stem", "synonym", "paraphrase")
        for kind in ("content", "function")
        for side in SIDES
    ),
    "chunks",
    *(f"matched words, {side}" for side in SIDES),
)

Pair = tuple[str, str]


def pairs_of_reports(count: int, generator: random.Random) -> dict[str, list[Pair]]:
    """`count` pairs of each of the three kinds that are made of Open-i reports."""
    reports = [each.report for each in read_reports() if each.report.findings]
    cleaned = [clean(report.findings) for report in reports]
    raw = [f"{report.findings} {report.impression}".strip() for report in reports]

    def shuffled(text: str) -> str:
        words = text.split()
        generator.shuffle(words)
        return " ".join(words[: generator.randint(1, len(words))])

    def rearranged(text: str) -> str:
        sentences = text.split(". ") + generator.choice(raw).split(". ")[:2]
        generator.shuffle(sentences)
        return ". ".join(sentences)

    beside = [generator.choice(raw).lower() for _ in range(count)]
    return {
        "findings": [(generator.choice(cleaned), generator.choice(cleaned)) for _ in range(count)],
        "raw": [(shuffled(generator.choice(raw)), generator.choice(raw)) for _ in range(count)],
        "rearranged": [(rearranged(text), text) for text in beside],
    }


def pairs_of_rules(lexicon: Lexicon, count: int, generator: random.Random) -> list[Pair]:
    """Texts of 2 to 9 phrases each and their paraphrases, some in another order, with inflected words."""
    table, words = lexicon.paraphrases, list(lexicon.paraphrases.words)
    sources = np.flatnonzero(np.diff(table.rule_starts)).tolist()
    lemmas = [lemma.replace("_", " ") for lemma in lexicon.synonyms.lemmas]

    def phrase(node: int) -> str:
        spelled = []
        while node:
            key = int(table.keys[node - 1])
            spelled.append(words[key & 0xFFFFFFFF])
            node = key >> 32
        return " ".join(reversed(spelled))

    def pair() -> Pair:
        nodes = [generator.choice(sources) for _ in range(generator.randint(2, 9))]
        draft = [phrase(generator.choice(table.targets(node))) for node in nodes]
        inflected = generator.sample(lemmas, 3)
        draft += [lemma + generator.choice(("", "s", "ed", "ing", "er", "'s")) for lemma in inflected]
        if generator.random() < 0.5:
            generator.shuffle(draft)
        return " ".join(draft), " ".join([*map(phrase, nodes), *inflected])

    return [pair() for _ in range(count)]


def agreement(pairs: list[Pair], lexicon: Lexicon, jar: MeteorJar) -> dict[str, float]:
    """Shares of pairs that agree, and the largest difference of a score and of the corpus score."""
    ours = match_statistics(pairs, lexicon)
    theirs = np.array([jar.statistics(draft, [reference]) for draft, reference in pairs])
    differences = np.abs(score_from_statistics(ours) - score_from_statistics(theirs))
    corpus = meteor_tally(ours).values() - meteor_tally(theirs).values()
    return {
        **dict(zip(STATISTICS, (ours == theirs).mean(axis=0).tolist(), strict=True)),
        "all statistics": float(np.mean(np.all(ours == theirs, axis=1))),
        "score within 1e-4": float(np.mean(differences <= TOLERANCE)),
        "largest difference of a score": float(differences.max()),
        "difference of the corpus score": float(np.abs(corpus).max()),
        "pairs": len(pairs),
    }


def main() -> None:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(description="METEOR in Python against the published Java program.")
    parser.add_argument("--pairs", type=int, default=1000, help="pairs of each kind")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PAIRS} pairs of each kind")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    options = parser.parse_args()
    count = QUICK_PAIRS if options.quick else options.pairs
    generator = random.Random(SEED)
    try:
        lexicon = load_lexicon()
        kinds = pairs_of_reports(count, generator)
        kinds["rules"] = pairs_of_rules(lexicon, count, generator)
        with MeteorJar() as jar:
            results = {kind: agreement(pairs, lexicon, jar) for kind, pairs in kinds.items()}
    except UserError as error:
        parser.exit(1, f"{error}\n")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print("statistic".ljust(40), *(kind.rjust(12) for kind in results))
    for name in next(iter(results.values())):
        print(name.ljust(40), *(f"{row[name]:12.6g}" for row in results.values()))


if __name__ == "__main__":
    main()
