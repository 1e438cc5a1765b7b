"""Studies as batches: decoded once, augmented from explicit seeds, collated with a view mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms.v2 import functional as transforms

from cxreport.data.augmentation import augmented, cropped_and_flipped, resized_crops
from cxreport.data.exclusions import Exclusions
from cxreport.data.images import decode
from cxreport.data.text import target_text
from cxreport.errors import UserError
from cxreport.options import DataOptions
from cxreport.study import SidedKind, Study, View, sided_kinds

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CACHE_BYTES = 2 * 2**30
"""Decoded images (one byte a pixel) are kept in memory when a whole split needs no more than this."""
LENGTH_POOL = 32
"""Batches among which texts of like length are looked for."""

_NO_IMAGES = torch.empty(0, 3, 1, 1)
_PUBLISHED_RESIZE = 256 / 224


@dataclass(frozen=True, slots=True)
class Batch:
    """B studies with up to V views each; V is 0 where only reports are read.

    ``images`` (B, V, 3, H, W) float32: grey repeated to three channels, ImageNet mean and standard
    deviation; all zeros where ``view_mask`` (B, V) is False. Present views come first. ``reports`` are
    cleaned target texts, empty where a study has none.
    ``findings`` are the true (kind, side) pairs of each study, None where they are not known; ``labels`` are
    those of :class:`cxreport.study.Study`.
    """

    images: Tensor
    view_mask: Tensor
    study_ids: list[str]
    reports: list[str]
    findings: list[frozenset[SidedKind] | None] = field(default_factory=list)
    patient_ids: list[str] = field(default_factory=list)
    labels: list[dict[str, int]] = field(default_factory=list)
    draws: list[int] = field(default_factory=list)
    """A seed for each study, from the run's seed, the epoch, its place and how often it came before."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch with its tensors on `device`."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=non_blocking),
            view_mask=self.view_mask.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory; the loader calls it on machines with a GPU."""
        return replace(self, images=self.images.pin_memory(), view_mask=self.view_mask.pin_memory())

    def __len__(self) -> int:
        return len(self.study_ids)


@dataclass(frozen=True, slots=True)
class Item:
    """One study ready to collate: ``images`` (v, 3, H, W) float32."""

    images: Tensor
    study_id: str
    report: str
    findings: frozenset[SidedKind] | None = None
    patient_id: str = ""
    labels: dict[str, int] = field(default_factory=dict)
    draw: int = 0


def usable(studies: Sequence[Study], options: DataOptions) -> tuple[list[int], Exclusions]:
    """Indices of the studies that have a target text, and the others counted."""
    kept: list[int] = []
    exclusions = Exclusions()
    for index, study in enumerate(studies):
        if target_text(study.report, options):
            kept.append(index)
        else:
            exclusions.add(study.study_id, f"no text in section {options.section}")
    return kept, exclusions


def chosen_views(study: Study, options: DataOptions) -> list[View]:
    """The views of `study` that the model sees, at most ``max_views``.

    In the order of ``options.views``, every projection getting its first view before any gets a second;
    an unknown projection counts as frontal. A study with none of these projections gives what it has.
    """
    ranked = []
    for order, projection in enumerate(options.views):
        views = [view for view in study.views if (view.projection or "frontal") == projection]
        ranked += [(repeat, order, view) for repeat, view in enumerate(views)]
    ranked = sorted(ranked, key=lambda entry: entry[:2])[: options.max_views]
    in_order = sorted(ranked, key=lambda entry: (entry[1], entry[0]))
    return [view for *_, view in in_order] or list(study.views[: options.max_views])


class StudyImages(Dataset[Item]):
    """Map dataset of studies as images and target texts.

    Study i is item i, and item i + n * len(studies) where an epoch shows it for the n-th time again.
    Augmentation is drawn from (seed, epoch, i, n), so it depends neither on workers nor on where a run was
    resumed; see :func:`augmented` and, for ``legacy-r2gen``, :func:`cropped_and_flipped`.
    Decoded images stay in memory when the split needs at most :data:`CACHE_BYTES`; loader processes keep
    nothing, because each would hold its own copy.
    """

    def __init__(self, studies: Sequence[Study], options: DataOptions, *, augment: bool, seed: int) -> None:
        self._studies = studies
        self._options = options
        self._augment = augment
        self._seed = seed
        self._epoch = 0
        self._published = augment and options.augmentation == "legacy-r2gen"
        self._resized = augment and options.augmentation == "legacy-arm"
        side = round(options.image_size * _PUBLISHED_RESIZE) if self._published else options.image_size
        self._side = side
        most = len(studies) * options.max_views * side**2
        self._cache: dict[int, _Decoded] | None = {} if options.workers == 0 and most <= CACHE_BYTES else None

    def set_epoch(self, epoch: int) -> None:
        """Draw augmentation for this epoch from now on."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._studies)

    def __getitem__(self, index: int) -> Item:
        repeat, index = divmod(index, len(self._studies))
        decoded = self._decoded(index)
        rng = np.random.default_rng((self._seed, self._epoch, index, repeat))
        views = decoded.views
        if self._published:
            views = [cropped_and_flipped(view, self._options.image_size, rng) for view in views]
        pixels = torch.stack(views).float().div_(255)
        if self._resized:
            pixels = resized_crops(pixels, rng)
        elif self._augment and not self._published:
            pixels = augmented(pixels, rng)
        draw = draw_of(self._seed, self._epoch, index, repeat)
        return replace(decoded.item, images=normalised(pixels), draw=draw)

    def _decoded(self, index: int) -> _Decoded:
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        study = self._studies[index]
        chosen = chosen_views(study, self._options)
        if not chosen:
            raise UserError(f"Study {study.study_id} has no image; import it again with its images.")
        views = [torch.from_numpy(decode(view, self._side, keep_aspect=self._published)) for view in chosen]
        decoded = _Decoded(views, item_of(study, self._options))
        if self._cache is not None:
            self._cache[index] = decoded
        return decoded


@dataclass(frozen=True, slots=True)
class _Decoded:
    """``views`` are (H, W) uint8, square unless cropped later; ``item`` is the study but for its images."""

    views: list[Tensor]
    item: Item


class StudyReports(Dataset[Item]):
    """Map dataset of studies as target texts alone; images are not decoded, items have no view.

    Items are numbered as in :class:`StudyImages`.
    """

    def __init__(self, studies: Sequence[Study], options: DataOptions, *, seed: int) -> None:
        self._studies = studies
        self._options = options
        self._seed = seed
        self._epoch = 0
        self._items: dict[int, Item] = {}

    def set_epoch(self, epoch: int) -> None:
        """Give this epoch's draws from now on."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._studies)

    def __getitem__(self, index: int) -> Item:
        repeat, index = divmod(index, len(self._studies))
        if index not in self._items:
            self._items[index] = item_of(self._studies[index], self._options)
        return replace(self._items[index], draw=draw_of(self._seed, self._epoch, index, repeat))


def item_of(study: Study, options: DataOptions) -> Item:
    """A study but for its images."""
    findings = None if study.findings is None else sided_kinds(study.findings)
    text = target_text(study.report, options)
    return Item(_NO_IMAGES, study.study_id, text, findings, study.patient_id, study.labels)


def draw_of(seed: int, epoch: int, index: int, repeat: int = 0) -> int:
    """The seed that a study has in an epoch, when it comes for the `repeat`-th time again."""
    words = (seed, epoch, index, 1, repeat) if repeat else (seed, epoch, index, 1)
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def normalised(pixels: Tensor) -> Tensor:
    """Grey `pixels` (..., H, W) in [0, 1] as three equal channels less ImageNet's mean over its deviation.

    Returns (..., 3, H, W) float32.
    """
    channels = pixels.unsqueeze(-3).expand(*pixels.shape[:-2], 3, *pixels.shape[-2:])
    return transforms.normalize(channels, list(IMAGENET_MEAN), list(IMAGENET_STD))


def collate(items: Sequence[Item]) -> Batch:
    """Stack items into a batch with V = the most views among them; absent views are zero and masked."""
    images = pad_sequence([item.images for item in items], batch_first=True)
    counts = torch.tensor([len(item.images) for item in items])
    view_mask = torch.arange(images.shape[1]) < counts[:, None]
    return Batch(
        images,
        view_mask,
        [item.study_id for item in items],
        [item.report for item in items],
        [item.findings for item in items],
        [item.patient_id for item in items],
        [item.labels for item in items],
        [item.draw for item in items],
    )


class EpochSampler(Sampler[int]):
    """Indices of one process's share of an epoch; Lightning calls :meth:`set_epoch`.

    With `shuffle` the order is a permutation drawn from (seed, epoch), filled up from its start so that
    every process gets equally many. Without, the order is that of the dataset and nothing is repeated.
    The order is drawn when the first index is taken, so that ``iter()`` may precede ``set_epoch()``, as
    it does in Lightning when a run is resumed. With `parts` (size, weight), which lie one after another, an
    epoch of the same length takes of each as its weight says, see :func:`mixed_order`; what comes again in
    an epoch is then numbered as a repeat, see :func:`repeats_numbered`. With `lengths` (of all n) and
    `batch_size` what comes in one batch is of like length, see :func:`alike_together`.
    """

    def __init__(
        self,
        n: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        *,
        shuffle: bool = True,
        on_epoch: Callable[[int], None] | None = None,
        parts: Sequence[tuple[int, float]] = (),
        lengths: Sequence[int] = (),
        batch_size: int = 1,
    ) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} must be at least 0 and below world {world}")
        self.epoch = 0
        self._n, self._seed, self._rank, self._world = n, seed, rank, world
        self._shuffle = shuffle
        self._on_epoch = on_epoch
        self._parts = parts
        self._lengths, self._batch_size = np.asarray(lengths), batch_size

    def set_epoch(self, epoch: int) -> None:
        """Use the order of this epoch; `on_epoch` (the dataset's ``set_epoch``) hears of it too."""
        self.epoch = epoch
        if self._on_epoch is not None:
            self._on_epoch(epoch)

    def __len__(self) -> int:
        if self._shuffle:
            return math.ceil(self._n / self._world)
        return len(range(self._rank, self._n, self._world))

    def __iter__(self) -> Iterator[int]:
        if not self._shuffle:
            yield from range(self._rank, self._n, self._world)
            return
        rng = np.random.default_rng((self._seed, self.epoch))
        if self._parts:
            order = repeats_numbered(mixed_order(self._parts, self._n, rng), self._n)
        else:
            order = rng.permutation(self._n)
        order = np.resize(order, len(self) * self._world)
        if len(self._lengths):
            lengths = self._lengths[order % self._n]
            order = order[alike_together(lengths, self._batch_size * self._world, rng)]
        yield from order[self._rank :: self._world].tolist()


def alike_together(lengths: np.ndarray, batch: int, rng: np.random.Generator) -> np.ndarray:
    """An order (N,) of N texts in which every `batch` in a row have like `lengths`; a smaller one is last.

    Of every :data:`LENGTH_POOL` batches in a row the texts are sorted; then whole batches are shuffled.
    """
    pool = LENGTH_POOL * batch
    order = np.concatenate(
        [
            start + np.argsort(lengths[start : start + pool], kind="stable")
            for start in range(0, len(lengths), pool)
        ]
    )
    whole = len(order) // batch
    rows = order[: whole * batch].reshape(whole, batch)
    return np.concatenate([rng.permutation(rows).reshape(-1), order[whole * batch :]])


def mixed_order(parts: Sequence[tuple[int, float]], n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` indices into `parts` (size, weight) that lie one after another, each by its share of the weights.

    Of a part everything comes equally often, give or take one.
    """
    ends = np.cumsum([weight for _, weight in parts])
    counts = np.diff(np.round(n * ends / ends[-1]).astype(int), prepend=0)
    starts = np.cumsum([0] + [size for size, _ in parts])
    drawn = []
    for start, (size, _), count in zip(starts[:-1], parts, counts, strict=True):
        rounds = [rng.permutation(size) for _ in range(-(-int(count) // size))]
        drawn.append(start + np.concatenate([*rounds, np.empty(0, dtype=int)])[:count])
    return rng.permutation(np.concatenate(drawn).astype(int))


def repeats_numbered(order: np.ndarray, n: int) -> np.ndarray:
    """`order` with `n` times k added to a number that came k times before."""
    by_number = order.argsort(kind="stable")
    ordered = order[by_number]
    first = np.searchsorted(ordered, ordered)
    numbered = np.empty_like(order)
    numbered[by_number] = ordered + n * (np.arange(len(order)) - first)
    return numbered


class _LateLoader(DataLoader[Item]):
    """Starts its workers at the first batch, not at ``iter()``: Lightning sets the epoch in between."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        yield from super().__iter__()


def loader(
    studies: Sequence[Study],
    options: DataOptions,
    *,
    batch_size: int,
    train: bool,
    seed: int,
    rank: int = 0,
    world: int = 1,
    parts: Sequence[tuple[int, float]] = (),
    lengths: Sequence[int] = (),
    images: bool = True,
) -> DataLoader[Item]:
    """Batches of `studies`: shuffled and augmented where `train`, else in order and plain.

    With `lengths` of their texts, those of a batch of `train` are of like length. The last batch may be
    smaller; without `images` batches hold the texts alone. The sampler is ``loader.sampler``; a Lightning
    trainer needs ``use_distributed_sampler=False``. Raises UserError when
    `studies` is empty.
    """
    if not len(studies):
        raise UserError("No study is left to make batches of; check the split and the section.")
    items: StudyImages | StudyReports = StudyReports(studies, options, seed=seed)
    if images:
        items = StudyImages(studies, options, augment=train and options.augment, seed=seed)
    heard = items.set_epoch if train else None
    sampler = EpochSampler(
        len(studies),
        seed,
        rank,
        world,
        shuffle=train,
        on_epoch=heard,
        parts=parts if train else (),
        lengths=lengths if train else (),
        batch_size=batch_size,
    )
    return _LateLoader(
        items,
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=collate,
        num_workers=options.workers if images else 0,
        pin_memory=torch.cuda.is_available(),
    )
