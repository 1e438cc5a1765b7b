"""Banks: vectors made from train studies, which a generator looks up while it writes.

A bank is three files, in a folder of its own or in a model folder: ``bank.safetensors`` (the vectors),
``bank.jsonl`` (an entry a line: whose study it is) and ``bank.json`` (what it was made from, and the SHA-256
of the other two).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from cxreport.data.shards import write_json
from cxreport.data.splits import sha256_of_ids
from cxreport.errors import UserError
from cxreport.memories.search import Method, NearestVectors
from cxreport.options import DataOptions
from cxreport.study import BankEntry
from cxreport.weights.folder import digest_of, read_tensors, write_tensors

FORMAT = "cxreport-bank-1"
NAME = "bank"
_REMEDY = "make it again with `cxreport bank make`"


@dataclass(frozen=True, slots=True)
class Entry:
    """Whose study a vector comes from.

    ``kind`` says what the vector is: ``study`` for the pooled features of a study. ``text`` is the study's
    target text, or empty. ``labels`` are those of :class:`cxreport.study.Study`. ``pictures`` are the
    perceptual hashes (:mod:`cxreport.data.hashing`) of its views, in hexadecimal digits.
    """

    study_id: str
    patient_id: str
    kind: str = "study"
    text: str = ""
    labels: Mapping[str, int] = field(default_factory=dict)
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """What a bank was made from.

    ``dataset`` has ``source``, ``source_version`` and ``sha256`` of the prepared dataset; ``encoder`` has the
    ``sha256`` of the weights that made the vectors (empty for a bank that is not filled yet), and what else
    names it; ``data`` are image size, section and cleaner; ``made`` says how, in a few words.
    """

    dataset: Mapping[str, str]
    encoder: Mapping[str, str] = field(default_factory=dict)
    data: DataOptions = field(default_factory=DataOptions)
    made: str = ""
    split: str = "train"


class Bank:
    """N entries with a vector each.

    Attributes:
        vectors: (N, D) float32, on the processor.
        entries: N of them.
        origin: what they were made from.
        images: (N, H, W) uint8, one view of each entry, for few entries whose vectors an encoder that is
            still trained makes again; None for most banks.

    Raises UserError for a bank without entries, from another split than train, or with vectors that are not
    finite; ValueError for numbers that do not match.
    """

    def __init__(
        self, vectors: Tensor, entries: Sequence[Entry], origin: Origin, images: Tensor | None = None
    ) -> None:
        if origin.split != "train":
            raise UserError(f"A bank is made from the train split only, not from {origin.split}.")
        if not len(entries):
            raise UserError("The bank is empty; make it from a train split that has studies.")
        if vectors.ndim != 2 or len(vectors) != len(entries):
            raise ValueError(f"vectors {tuple(vectors.shape)} for {len(entries)} entries")
        if images is not None and (images.ndim != 3 or len(images) != len(entries)):
            raise ValueError(f"images {tuple(images.shape)} for {len(entries)} entries")
        if not torch.isfinite(vectors).all():
            raise UserError("The bank has vectors that are not numbers; the encoder's training diverged.")
        self.vectors = vectors.detach().cpu().float().contiguous()
        self.entries = list(entries)
        self.origin = origin
        self.images = images

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def width(self) -> int:
        """D, the numbers of a vector."""
        return self.vectors.shape[1]

    def need_width(self, width: int) -> None:
        """UserError unless the vectors are (N, `width`)."""
        if self.width != width:
            raise UserError(
                f"The bank has vectors of width {self.width}, and {width} are needed;"
                " make it with the encoder that looks things up in it."
            )

    def select(self, places: Iterable[int]) -> Bank:
        """The bank of the entries at `places`, in that order; UserError when there are none."""
        chosen = [int(place) for place in places]
        rows = torch.tensor(chosen, dtype=torch.long)
        images = None if self.images is None else self.images[rows]
        return Bank(self.vectors[rows], [self.entries[place] for place in chosen], self.origin, images)

    def where(self, wanted: Callable[[Entry], bool]) -> list[int]:
        """Places of the `wanted` entries."""
        return [place for place, entry in enumerate(self.entries) if wanted(entry)]

    def places_of(self, study_id: str, patient_id: str) -> list[int]:
        """Places of the entries of a study and of a patient; an empty id has none."""
        studies = self._owned.get(("study", study_id), []) if study_id else []
        patients = self._owned.get(("patient", patient_id), []) if patient_id else []
        return sorted({*studies, *patients})

    def nearest(
        self,
        queries: Tensor,
        k: int,
        *,
        study_ids: Sequence[str] = (),
        patient_ids: Sequence[str] = (),
        method: Method | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Places (M, k) and cosines (M, k) of the nearest entries, best first, of equal ones the earlier.

        `queries` are (M, D); `study_ids` and `patient_ids` say whose they are (empty where not known), and an
        entry of a query's study or patient is never found. Exact: with torch below
        :data:`cxreport.memories.search.FAISS_FROM` entries, with faiss from there on, or by `method`. Raises
        UserError for another width, and where fewer than `k` entries are left.
        """
        self.need_width(queries.shape[1])
        without = [self.places_of(*ids) for ids in self._pairs(study_ids, patient_ids)]
        try:
            return self._search(method).nearest(queries, k, without)
        except ValueError:
            own = max(map(len, without), default=0)
            raise UserError(
                f"The bank has {len(self)} entries, up to {own} of a query's own patient, and the nearest"
                f" {k} are asked for; make a larger bank or ask for fewer."
            ) from None

    def shown(self, places: Sequence[int], scores: Sequence[float]) -> tuple[BankEntry, ...]:
        """Entries as the evidence of a draft: a study's id stays in the bank, its hash is told."""
        return tuple(
            BankEntry(
                int(place), hashlib.sha256(self.entries[place].study_id.encode()).hexdigest()[:16], score
            )
            for place, score in zip(places, scores, strict=True)
        )

    @cached_property
    def sha256(self) -> str:
        """Hex digest over the vectors, images, entries and origin."""
        digest = hashlib.sha256(json.dumps(_origin_tree(self.origin), sort_keys=True).encode())
        digest.update(self.vectors.numpy().data)
        if self.images is not None:
            digest.update(self.images.contiguous().numpy().data)
        for entry in self.entries:
            digest.update(_line(entry).encode())
        return digest.hexdigest()

    def facts(self) -> dict[str, Any]:
        """What a model's provenance says of it."""
        ids = {entry.study_id for entry in self.entries}
        kinds = sorted({entry.kind for entry in self.entries})
        return {
            **_origin_tree(self.origin),
            "kinds": kinds,
            "entries": len(self),
            "studies": len(ids),
            "patients": len({entry.patient_id for entry in self.entries}),
            "study_ids_sha256": sha256_of_ids(ids),
            "width": self.width,
            "with_text": sum(bool(entry.text) for entry in self.entries),
            "with_labels": sum(bool(entry.labels) for entry in self.entries),
            "with_pictures": sum(bool(entry.pictures) for entry in self.entries),
            "sha256": self.sha256,
        }

    def save(self, folder: Path, name: str = NAME) -> None:
        """Write the three files into `folder`; UserError when that is not possible."""
        vectors, lines = folder / f"{name}.safetensors", folder / f"{name}.jsonl"
        tensors = {"vectors": self.vectors} | ({} if self.images is None else {"images": self.images})
        try:
            write_tensors(vectors, tensors)
            with lines.open("w", encoding="utf-8") as file:
                file.writelines(map(_line, self.entries))
            files = {path.name: digest_of(path) for path in (vectors, lines)}
            tree = {"format": FORMAT, **self.facts(), "files": files}
            write_json(folder / f"{name}.json", tree | {"manifest_sha256": _digest(tree)})
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(f"Cannot write the bank to {folder}: {reason}.") from error

    @classmethod
    def load(cls, folder: Path, name: str = NAME) -> Bank:
        """Read a bank; UserError, naming the file, when one is missing, damaged or was edited."""
        tree = read_manifest(folder, name)
        vectors, lines = folder / f"{name}.safetensors", folder / f"{name}.jsonl"
        tensors = read_tensors(vectors)
        try:
            with lines.open(encoding="utf-8") as file:
                entries = [_entry(line) for line in file]
            origin = Origin(
                tree["dataset"], tree["encoder"], DataOptions(**tree["data"]), tree["made"], tree["split"]
            )
            return cls(tensors["vectors"], entries, origin, tensors.get("images"))
        except (KeyError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"The bank in {folder} is damaged ({reason}); {_REMEDY}.") from None

    @cached_property
    def _searches(self) -> dict[Method | None, NearestVectors]:
        return {}

    def _search(self, method: Method | None) -> NearestVectors:
        if method not in self._searches:
            self._searches[method] = NearestVectors(self.vectors, method)
        return self._searches[method]

    @cached_property
    def _owned(self) -> dict[tuple[str, str], list[int]]:
        """Places by ("study" or "patient", id)."""
        owned: dict[tuple[str, str], list[int]] = {}
        for place, entry in enumerate(self.entries):
            owned.setdefault(("study", entry.study_id), []).append(place)
            owned.setdefault(("patient", entry.patient_id), []).append(place)
        return owned

    @staticmethod
    def _pairs(study_ids: Sequence[str], patient_ids: Sequence[str]) -> Iterable[tuple[str, str]]:
        count = max(len(study_ids), len(patient_ids))
        studies, patients = list(study_ids) or [""] * count, list(patient_ids) or [""] * count
        return zip(studies, patients, strict=True)


def bank_names(folder: Path) -> list[str]:
    """The names of the banks in `folder`, sorted; UserError where there is none."""
    names = sorted(path.stem for path in folder.glob("*.jsonl") if path.with_suffix(".json").is_file())
    if not names:
        raise UserError(f"There is no bank in {folder}; {_REMEDY}.")
    return names


def read_manifest(folder: Path, name: str = NAME) -> dict[str, Any]:
    """``bank.json``, when it and the files that it names are as they were written; UserError otherwise."""
    path = folder / f"{name}.json"
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"There is no whole bank in {folder} ({path.name}: {error.strerror}); {_REMEDY}."
        ) from None
    except ValueError:
        raise UserError(f"{path} is damaged (not JSON); {_REMEDY}.") from None
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise UserError(f"{path} is not of the format {FORMAT}; {_REMEDY}.")
    if tree.pop("manifest_sha256", None) != _digest(tree):
        raise UserError(f"{path} was edited after the bank was made; {_REMEDY}.")
    for file in (f"{name}.safetensors", f"{name}.jsonl"):
        if not (folder / file).is_file():
            raise UserError(f"{folder / file} is missing; {_REMEDY}.")
        if digest_of(folder / file) != tree["files"].get(file):
            raise UserError(f"{folder / file} is damaged or was edited (its SHA-256 differs); {_REMEDY}.")
    return tree


def _origin_tree(origin: Origin) -> dict[str, Any]:
    return {
        "split": origin.split,
        "dataset": dict(origin.dataset),
        "encoder": dict(origin.encoder),
        "data": origin.data.model_dump(mode="json"),
        "made": origin.made,
    }


def _line(entry: Entry) -> str:
    return json.dumps(asdict(entry), ensure_ascii=False) + "\n"


def _entry(line: str) -> Entry:
    tree = json.loads(line)
    return Entry(**{**tree, "pictures": tuple(tree["pictures"])})


def _digest(tree: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()
