"""Protocols: what exactly is scored against what.

A protocol fixes the section of the report, the cleaner of drafts and references, how references are cut, and
what a word is. In every protocol a study without a draft is scored as an empty draft and counted.

Its id names the choices, ``section.cut.cleaner`` and, where words are not what blanks separate, ``.words``:
``findings.full.clean``, ``both.words59.legacy-iu``, ``findings.full.clean.ptb``. Protocols that others
published have a name of their own in :data:`NAMED`. Sources: R2Gen ``modules/tokenizers.py`` and
``modules/datasets.py``; R2GenGPT ``dataset/data_helper.py`` and ``models/R2GenGPT.py``; ReXrank's submission
format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxreport.errors import UserError

if TYPE_CHECKING:
    from cxreport.metrics.labeler import Language

RAW = "raw"
"""The protocol of texts that nobody cleans: whitespace words, full references, as given."""

DEFAULT = "findings.full.clean"

SECTIONS = ("findings", "impression", "both")
WORDS = {"whitespace": "blanks", "ptb": "the Penn Treebank rules", "characters": "every character"}
"""Names of tokenizers of :data:`cxreport.metrics.tokenize.TOKENIZERS`, and what separates their words."""

_NO_CLEANER = "none"
_CHARACTERS = "characters"
"""The name of the cleaner that parts Chinese characters by blanks, and of the words that are characters."""
_BETWEEN_CHARACTERS = re.compile(r"(?<=[\u3000-\u9fff\uff00-\uffef])\s+(?=[\u3000-\u9fff\uff00-\uffef])")
_CUT = re.compile(r"full|(words|subwords)([1-9]\d{0,4})")
_HEADING = re.compile(r"\b(findings|impression)\s*:", re.IGNORECASE)
_R2GEN_RARE = {"legacy-iu": 3, "legacy-mimic": 10}
"""R2Gen's ``threshold``: words of the train reports rarer than this are ``<unk>``."""


@dataclass(frozen=True)
class Protocol:
    """What is scored against what.

    ``section`` is one of :data:`SECTIONS`; ``cleaner`` a name of :data:`cxreport.data.text.CLEANERS`,
    ``rexrank``, or None for texts as given. ``cut`` is ``full``, ``words<n>`` or ``subwords<n>``: references
    end after so many words, or so many pieces of a language model's tokenizer. ``words`` is a name of
    :data:`WORDS`. ``headings`` writes ``Findings:`` and ``Impression:`` before the sections. With
    ``rare_words`` n, words of references that the train reports have fewer than n times become ``<unk>``.
    """

    name: str
    section: str = "findings"
    cut: str = "full"
    cleaner: str | None = None
    words: str = "whitespace"
    headings: bool = False
    rare_words: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The choices, for ``scores.json``; protocols with equal settings are the same protocol."""
        return {
            "section": "as given" if self.name == RAW else self.section,
            "reference_cut": self.cut,
            "cleaner": self.cleaner or _NO_CLEANER,
            "words": self.words,
            "headings": self.headings,
            "rare_words": f"<unk> below {self.rare_words}" if self.rare_words else "kept",
            "missing_draft": "scored as empty and counted",
        }

    def text_of(self, sections: Mapping[str, str]) -> str:
        """The text of this protocol's section of a report; empty where the report has none."""
        wanted = ("findings", "impression") if self.section == "both" else (self.section,)
        parts = [(name, sections.get(name, "").strip()) for name in wanted]
        title = "{0}: {1}" if self.headings else "{1}"
        return " ".join(title.format(name.capitalize(), text) for name, text in parts if text)

    def prepared(self, text: str) -> str:
        """`text` by the cleaner, words joined by single blanks; ``raw`` changes nothing."""
        if self.cleaner is None:
            return text
        if not text.strip():
            return ""
        return " ".join(_cleaner(self.cleaner, self.name)(text).split())

    @property
    def language(self) -> Language:
        """``zh`` where words are characters, else ``en``: what the built-in rules read the texts as."""
        return "zh" if _CHARACTERS in (self.words, self.cleaner) else "en"

    def whole(self, texts: Iterable[str]) -> list[str]:
        """Prepared texts as a reader sees them: blanks that a cleaner put between Chinese characters go."""
        if self.cleaner != _CHARACTERS:
            return list(texts)
        return [_BETWEEN_CHARACTERS.sub("", text) for text in texts]

    def tokenized(self, texts: Iterable[str]) -> list[str]:
        """Every prepared text as words joined by single blanks; whitespace words leave it as it is."""
        if self.words == "whitespace":
            return list(texts)
        from cxreport.metrics.tokenize import TOKENIZERS

        tokenizer = TOKENIZERS[self.words]
        return [" ".join(tokenizer(text)) for text in texts]


class ReferenceCutter:
    """Cuts prepared references as `protocol` says.

    `train_reports` are raw reports for the vocabulary of ``<unk>``; without them rare words stay, and
    ``protocol`` says so by losing ``rare_words``. `tokenizer` is a folder with a language model's
    ``tokenizer.json``. Raises UserError where a sub-word protocol has no tokenizer.
    """

    def __init__(
        self, protocol: Protocol, *, train_reports: Iterable[str] | None = None, tokenizer: Path | None = None
    ) -> None:
        self.protocol = protocol
        self._change: Callable[[str], str] = lambda text: text
        unit, length = _cut_of(protocol.cut)
        if unit == "subwords":
            self._change = _subword_cutter(protocol, length, tokenizer)
        elif unit == "words":
            self._change = lambda text: " ".join(text.split()[:length])
        if unit == "words" and protocol.cleaner in _R2GEN_RARE and train_reports is not None:
            from cxreport.data.words import WordTokenizer

            threshold = _R2GEN_RARE[protocol.cleaner]
            words = WordTokenizer.train(map(protocol.prepared, train_reports), threshold)
            self._change = lambda text: words.decode(words.encode(text, length + 1)[1:])
            self.protocol = replace(protocol, name=f"{protocol.name}.unk", rare_words=threshold)

    def __call__(self, text: str) -> str:
        """The reference `text`, cut."""
        return self._change(text)


def _rexrank(text: str) -> str:
    """Lower case, full stops set apart: the words that CXR-Report-Metric counts for BLEU."""
    return text.lower().replace(".", " .")


def _cleaner(name: str, protocol: str) -> Callable[[str], str]:
    from cxreport.data.text import CLEANERS

    cleaners = CLEANERS | {"rexrank": _rexrank}
    if name not in cleaners:
        raise UserError(f"Protocol {protocol} needs the cleaner {name}; there are {', '.join(cleaners)}.")
    return cleaners[name]


NAMED: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(RAW),
        Protocol("legacy-r2gen", cut="words59", cleaner="legacy-iu"),
        Protocol("legacy-r2gen-mimic", cut="words99", cleaner="legacy-mimic"),
        Protocol("legacy-r2gengpt", cut="subwords60", cleaner="legacy-iu"),
        Protocol("legacy-r2gengpt-mimic", section="both", cut="subwords100", cleaner="legacy-r2gengpt"),
        Protocol("legacy-r2gengpt-words", cut="words60", cleaner="legacy-iu"),
        Protocol("legacy-r2gengpt-mimic-words", section="both", cut="words100", cleaner="legacy-r2gengpt"),
        Protocol("cxpmrg", cleaner="legacy-r2gengpt"),
        Protocol("rexrank-findings", cleaner="rexrank"),
        Protocol("rexrank-both", section="both", cleaner="rexrank", headings=True),
    )
}
"""Published protocols by name. Those without ``-mimic`` are for IU X-ray, those with it for MIMIC-CXR."""


def protocol_of(name: str) -> Protocol:
    """The protocol of a name of :data:`NAMED` or of an id; UserError for anything else."""
    if name in NAMED:
        return NAMED[name]
    parts = name.split(".")
    if len(parts) == 3:
        parts.append("whitespace")
    if len(parts) != 4 or parts[0] not in SECTIONS or not _CUT.fullmatch(parts[1]) or parts[3] not in WORDS:
        raise UserError(
            f"Unknown protocol {name!r}; name one of {', '.join(NAMED)}, or spell an id such as {DEFAULT}:"
            f" section ({', '.join(SECTIONS)}), cut (full, words60, subwords60), cleaner, and perhaps words"
            f" ({', '.join(WORDS)})."
        )
    section, cut, cleaner, words = parts
    if cleaner == _NO_CLEANER:
        return Protocol(name, section, cut, None, words)
    _cleaner(cleaner, name)
    return Protocol(name, section, cut, cleaner, words)


def one_protocol(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """The protocol that all `scores` (file or name -> scores) were made with; UserError where they differ.

    Scores of different protocols do not compare, so they never share a table.
    """
    first, *others = scores
    for other in others:
        if scores[other]["protocol_settings"] != scores[first]["protocol_settings"]:
            raise UserError(
                f"{first} was scored as {scores[first]['protocol']} but {other} as"
                f" {scores[other]['protocol']};"
                " scores of different protocols do not compare, so score both as one protocol."
            )
    return str(scores[first]["protocol"])


def split_headings(text: str) -> dict[str, str]:
    """Sections of a text with ``Findings:`` and ``Impression:``; what stands before the first is findings.

    Empty for a text without these headings.
    """
    before, *parts = _HEADING.split(text)
    if not parts:
        return {}
    sections = {"findings": before.strip()} if before.strip() else {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        key = name.lower()
        sections[key] = f"{sections.get(key, '')} {body.strip()}".strip()
    return sections


def _cut_of(cut: str) -> tuple[str, int]:
    match = _CUT.fullmatch(cut)
    if match is None:
        raise ValueError(f"no way to cut: {cut}")
    return (match[1] or "full", int(match[2] or 0))


def _subword_cutter(protocol: Protocol, length: int, folder: Path | None) -> Callable[[str], str]:
    if folder is None:
        instead = f"{protocol.name}-words"
        words = f", or use {instead}, which cuts after {length} words" if instead in NAMED else ""
        raise UserError(
            f"Protocol {protocol.name} ends references after {length} sub-words of the language model, so it"
            f" needs --tokenizer FOLDER with that model's tokenizer.json{words}."
        )
    try:
        from tokenizers import Tokenizer

        pieces = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except ImportError:
        raise UserError("Sub-word protocols need the package tokenizers: pip install tokenizers.") from None
    except Exception as error:  # the package raises plain Exception
        raise UserError(f"Cannot read {folder / 'tokenizer.json'}: {error}") from None

    def cut(text: str) -> str:
        ids = pieces.encode(text, add_special_tokens=False).ids
        return text if len(ids) <= length else " ".join(pieces.decode(ids[:length]).split())

    return cut
