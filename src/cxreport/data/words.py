"""R2Gen's word tokenizer: one id per whitespace word of an already cleaned report.

Source: published R2Gen ``modules/tokenizers.py``. The vocabulary comes from the train split only.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from cxreport.errors import UserError

UNKNOWN = "<unk>"
END = 0
"""The id that begins, ends and pads a report."""


def word_ends(text: str) -> tuple[int, ...]:
    """How many characters of `text` stand once each of its words, and then its end, is written."""
    return (*(match.end() for match in re.finditer(r"\S+", text)), len(text))


class WordTokenizer:
    """Words and their ids. Ids of words start at 1; :data:`END` is begin, end and padding."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._ids = {word: number for number, word in enumerate(self.words, start=1)}
        self._unknown = self._ids[UNKNOWN]

    @classmethod
    def train(cls, reports: Iterable[str], threshold: int) -> WordTokenizer:
        """Every word that `reports` hold at least `threshold` times, and ``<unk>``, sorted by code point."""
        counts = Counter(word for report in reports for word in report.split())
        return cls(sorted({word for word, count in counts.items() if count >= threshold} | {UNKNOWN}))

    def __len__(self) -> int:
        """Number of words, ``<unk>`` included; ids run from 0 to this number."""
        return len(self.words)

    def encode(self, report: str, max_length: int | None = None) -> list[int]:
        """Begin, words, end; only the first `max_length` of them, so a long report loses its end."""
        ids = [END, *(self._ids.get(word, self._unknown) for word in report.split()), END]
        return ids[:max_length]

    def decode(self, ids: Iterable[int]) -> str:
        """Words joined by blanks, up to the first :data:`END`; `ids` come without the one that begins."""
        words = []
        for number in ids:
            if number == END:
                break
            words.append(self.words[number - 1])
        return " ".join(words)

    def save(self, path: Path) -> None:
        """Write the words, in order of their ids, as JSON."""
        tree = {"type": "words", "words": self.words}
        path.write_text(json.dumps(tree, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> WordTokenizer:
        """Read what :meth:`save` wrote; UserError for a missing file or one of another kind."""
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"Cannot read the tokenizer {path}: {error.strerror}.") from None
        except ValueError:
            raise UserError(f"{path} is not a tokenizer file: it is not JSON.") from None
        words = tree.get("words") if isinstance(tree, dict) and tree.get("type") == "words" else None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise UserError(f'{path} is not a word tokenizer: it needs type "words" and a list of words.')
        if UNKNOWN not in words or len(set(words)) != len(words):
            raise UserError(f"{path} is not a word tokenizer: words must be unique and hold {UNKNOWN}.")
        return cls(words)
