"""METEOR's word lists, read once from the installed wheel of ``pycocoevalcap`` and kept in a cache file.

The jar in the wheel holds WordNet's synonyms, the function words and the words that keep their dot; the
paraphrase table lies beside it (5.3 million rules, 270 MB of text). Reading them takes half a minute; the
cache holds the same facts as sorted arrays, which are mapped into memory in milliseconds.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import tempfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cxreport.metrics.meteor.lexicon import Lexicon, Paraphrases, Strings, Synonyms
from cxreport.metrics.meteor.normalize import ANY, BEFORE_NUMBER
from cxreport.metrics.unavailable import MetricUnavailable

CACHE_VARIABLE = "CXREPORT_CACHE"
"""Environment variable that names the folder of the cache; default ``$XDG_CACHE_HOME`` or ``~/.cache``."""

_MEMBERS = (
    "function/english.words",
    "nonbreaking/english.prefixes",
    "synonym/english.synsets",
    "synonym/english.exceptions",
)
_LOG = logging.getLogger(__name__)
_VERSION = "1"
_BLOCK_BYTES = 1 << 24
_INSTALL = "pip install 'cxreport[metrics]' (or pip install --no-deps pycocoevalcap)"


@dataclass(frozen=True)
class Wheel:
    """Where the installed wheel keeps METEOR."""

    jar: Path
    paraphrases: Path

    def fingerprint(self) -> str:
        """Sizes of the two files; the wheel has had one version of each since 2020."""
        return f"{self.jar.stat().st_size}-{self.paraphrases.stat().st_size}"


def find_wheel() -> Wheel:
    """The files of ``pycocoevalcap``, which is not imported.

    Raises MetricUnavailable with the command that installs it.
    """
    spec = find_spec("pycocoevalcap")
    for folder in (spec and spec.submodule_search_locations) or ():
        meteor = Path(folder) / "meteor"
        wheel = Wheel(meteor / "meteor-1.5.jar", meteor / "data" / "paraphrase-en.gz")
        if wheel.jar.is_file() and wheel.paraphrases.is_file():
            return wheel
    raise MetricUnavailable(f"METEOR needs the word lists inside the package pycocoevalcap; run {_INSTALL}.")


def cache_path() -> Path:
    """The cache file, there or not."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get(CACHE_VARIABLE) or Path(home) / "cxreport")
    return folder / f"meteor-1.5-en-{_VERSION}.safetensors"


def load_lexicon() -> Lexicon:
    """All word lists of METEOR for English, from the cache; the first call writes it (half a minute).

    A cache of another version, of another wheel, or with damaged content is written anew. Raises
    MetricUnavailable where the wheel is absent or damaged, or the cache cannot be written.
    """
    wheel, path = find_wheel(), cache_path()
    arrays = _read_cache(path, wheel)
    if arrays is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            arrays = _read_wheel(wheel, path)
            _write_cache(path, wheel, arrays)
        except OSError as error:
            raise MetricUnavailable(
                f"METEOR cannot write its cache {path} ({error.strerror}); "
                f"name a folder that can be written in {CACHE_VARIABLE}."
            ) from error
    return _lexicon(arrays)


def _lexicon(arrays: dict[str, np.ndarray]) -> Lexicon:
    def strings(name: str) -> Strings:
        return Strings(arrays[f"{name}.letters"].tobytes(), arrays[f"{name}.ends"])

    dots = strings("dots")
    return Lexicon(
        function_words=frozenset(strings("function")),
        keeps_dot={word: int(kind) for word, kind in zip(dots, arrays["dots.kinds"], strict=True)},
        synonyms=Synonyms(
            strings("lemmas"),
            arrays["lemmas.starts"],
            arrays["lemmas.sets"],
            strings("irregular"),
            arrays["irregular.starts"],
            arrays["irregular.bases"],
        ),
        paraphrases=Paraphrases(
            strings("words"), arrays["phrases.keys"], arrays["rules.starts"], arrays["rules.targets"]
        ),
    )


def _read_cache(path: Path, wheel: Wheel) -> dict[str, np.ndarray] | None:
    """The arrays of a whole cache of this version and this wheel, or None."""
    with suppress(OSError, SafetensorError), safe_open(path, framework="np") as file:
        metadata = file.metadata() or {}
        arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
        expected = {"version": _VERSION, "wheel": wheel.fingerprint(), "crc32": _checksum(arrays)}
        if metadata == expected:
            return arrays
    return None


def _write_cache(path: Path, wheel: Wheel, arrays: dict[str, np.ndarray]) -> None:
    """Writes beside the place and renames, so that no reader sees half a file."""
    metadata = {"version": _VERSION, "wheel": wheel.fingerprint(), "crc32": _checksum(arrays)}
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    os.close(handle)
    try:
        save_file(arrays, name, metadata=metadata)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    checksum = 0
    for name in sorted(arrays):
        shape = json.dumps([name, arrays[name].dtype.str, arrays[name].shape]).encode()
        checksum = zlib.crc32(np.ascontiguousarray(arrays[name]).data, zlib.crc32(shape, checksum))
    return f"{checksum:08x}"


def _read_wheel(wheel: Wheel, path: Path) -> dict[str, np.ndarray]:
    """Every array of the cache, from the files of the wheel."""
    _LOG.warning("Reading METEOR's word lists into %s, once; this takes half a minute.", path)
    try:
        with zipfile.ZipFile(wheel.jar) as jar:
            function, dots, synonyms, exceptions = (
                jar.read(name).decode("utf-8").splitlines() for name in _MEMBERS
            )
        return {
            **_strings("function", sorted(function)),
            **_dots(dots),
            **_synonyms(synonyms, exceptions),
            **_paraphrases(wheel.paraphrases),
        }
    except (EOFError, KeyError, ValueError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error) as error:
        raise MetricUnavailable(
            f"The files of METEOR in {wheel.jar.parent} are damaged ({error}); install them again: "
            f"{_INSTALL}."
        ) from error


def _dots(lines: Iterable[str]) -> dict[str, np.ndarray]:
    """Words that keep their dot; ``No #NUMERIC_ONLY#`` keeps it before a number."""
    split = [line.split() for line in lines]
    kinds = {
        words[0]: BEFORE_NUMBER if words[1:2] == ["#NUMERIC_ONLY#"] else ANY
        for words in split
        if words and not words[0].startswith("#")
    }
    kinds = dict(sorted(kinds.items()))
    return {**_strings("dots", list(kinds)), "dots.kinds": np.array(list(kinds.values()), dtype=np.int8)}


def _synonyms(sets: list[str], exceptions: list[str]) -> dict[str, np.ndarray]:
    """Sets of every lemma, and the lemmas of every irregular form; both files alternate key and values."""
    of_lemma = {
        word: sorted({int(number) for number in numbers.split()})
        for word, numbers in zip(sets[::2], sets[1::2], strict=True)
    }
    lemmas = sorted(of_lemma)
    rank = {word: place for place, word in enumerate(lemmas)}
    bases: dict[str, list[int]] = {}
    for base, forms in zip(exceptions[::2], exceptions[1::2], strict=True):
        for form in forms.split():
            known = bases.setdefault(form, [])
            known += [rank[base]] if base in rank else []
    irregular = sorted(bases)
    return {
        **_strings("lemmas", lemmas),
        **_rows("lemmas", "sets", [of_lemma[word] for word in lemmas]),
        **_strings("irregular", irregular),
        **_rows("irregular", "bases", [bases[word] for word in irregular]),
    }


def _paraphrases(path: Path) -> dict[str, np.ndarray]:
    """The rules as a tree of phrases: see :class:`~cxreport.metrics.meteor.lexicon.Paraphrases`."""
    phrase_ids: dict[bytes, int] = {}
    sources: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for lines in _line_blocks(path):
        for column, phrases in ((sources, lines[1::3]), (targets, lines[2::3])):
            ids = [phrase_ids.setdefault(phrase, len(phrase_ids)) for phrase in phrases]
            column.append(np.array(ids, dtype=np.int32))
    numbers: defaultdict[bytes, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    in_order = chain.from_iterable(map(bytes.split, phrase_ids))
    appeared = np.fromiter(map(numbers.__getitem__, in_order), dtype=np.int32)
    lengths = np.fromiter((len(phrase.split()) for phrase in phrase_ids), dtype=np.int64)
    del phrase_ids
    words = sorted(numbers)
    rank = np.empty(len(words), dtype=np.int64)
    rank[[numbers[word] for word in words]] = np.arange(len(words))
    keys, node_of = _tree(rank[appeared], lengths)
    source, target = node_of[np.concatenate(sources)], node_of[np.concatenate(targets)]
    order = np.argsort(source, kind="stable")
    counts = np.bincount(source, minlength=len(keys) + 1)
    return {
        **_strings("words", [word.decode("utf-8") for word in words]),
        "phrases.keys": keys,
        "rules.starts": np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        "rules.targets": target[order].astype(np.int32),
    }


def _line_blocks(path: Path) -> Iterator[list[bytes]]:
    """Whole rules of three lines: probability, phrase, paraphrase."""
    rest: list[bytes] = [b""]
    with gzip.open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            lines = (rest.pop() + block).split(b"\n")
            lines = rest + lines
            whole = (len(lines) - 1) // 3 * 3
            rest = lines[whole:]
            yield lines[:whole]
    if rest != [b""]:
        raise ValueError("the paraphrase table ends within a rule")


def _tree(words: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys of all nodes but the root, sorted, and the node (P,) of every phrase.

    `words` holds the words of all phrases in a row, `lengths` (P,) how many each has. Node ``n + 1`` has key
    ``keys[n] = parent << 32 | word``; node 0 is the root.
    """
    starts = np.cumsum(lengths) - lengths
    node = np.zeros(len(lengths), dtype=np.int64)
    keys: list[np.ndarray] = []
    nodes = 0
    for depth in range(int(lengths.max(initial=0))):
        going = np.flatnonzero(lengths > depth)
        level, inverse = np.unique(node[going] << 32 | words[starts[going] + depth], return_inverse=True)
        node[going] = nodes + 1 + inverse
        nodes += len(level)
        keys.append(level)
    return np.concatenate([np.zeros(0, dtype=np.int64), *keys]), node


def _strings(name: str, texts: list[str]) -> dict[str, np.ndarray]:
    """Sorted texts as one run of UTF-8 letters and the place where each ends."""
    encoded = [text.encode("utf-8") for text in texts]
    return {
        f"{name}.letters": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        f"{name}.ends": np.cumsum([len(text) for text in encoded], dtype=np.int32),
    }


def _rows(name: str, what: str, rows: list[list[int]]) -> dict[str, np.ndarray]:
    """Rows of numbers as one run of numbers and the place where each row starts."""
    return {
        f"{name}.starts": np.cumsum([0, *map(len, rows)], dtype=np.int32),
        f"{name}.{what}": np.fromiter(chain.from_iterable(rows), dtype=np.int32),
    }
