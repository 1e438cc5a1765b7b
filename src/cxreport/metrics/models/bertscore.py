"""BERTScore (Zhang et al., ICLR 2020) through its package ``bert_score``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cxreport.errors import UserError
from cxreport.metrics.models.folders import model_folder
from cxreport.metrics.statistics import Tally
from cxreport.metrics.unavailable import MetricUnavailable

NAMES = ("bertscore_precision", "bertscore_recall", "bertscore_f1")

_BATCH = 64


def bertscore(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    model: str | Path = "distilroberta-base",
    layer: int | None = None,
    rescaled: bool = True,
) -> Tally:
    """Mean BERTScore precision, recall and F1 over samples, without idf.

    Args:
        hypotheses: drafts.
        references: one reference per draft.
        model: a name of :data:`cxreport.metrics.models.folders.MODELS`, or a folder with a model and its
            tokenizer.
        layer: whose tokens are compared; by default the package's choice for a model of that name.
        rescaled: between the package's baseline for that model and 1, as ReXrank reports it.

    A pair in which either text is blank scores 0. Raises MetricUnavailable when the package or the weights
    are absent, UserError when they cannot be read or the package does not know the layer or the baseline.
    """
    spec = find_spec("bert_score")
    if spec is None or spec.origin is None:
        raise MetricUnavailable(
            "BERTScore needs the package bert-score; run `pip install 'cxreport[bertscore]'`."
        )
    folder = model_folder(model) if isinstance(model, str) else model
    if not (folder / "config.json").is_file():
        raise MetricUnavailable(f"There is no model in {folder}: name a folder with config.json and weights.")
    baseline = Path(spec.origin).parent / "rescale_baseline" / "en" / f"{folder_name(model)}.tsv"
    if rescaled and not baseline.is_file():
        raise UserError(f"bert-score has no baseline for {folder_name(model)}; score it with rescaled=False.")
    pairs = list(zip(hypotheses, references, strict=True))
    written = [place for place, pair in enumerate(pairs) if all(text.strip() for text in pair)]
    statistics = np.zeros((len(pairs), len(NAMES) + 1))
    statistics[:, -1] = 1
    if written:
        options = {
            "model_type": str(folder),
            "num_layers": layer if layer is not None else _usual_layer(folder_name(model)),
            "rescale_with_baseline": rescaled,
            "baseline_path": str(baseline) if rescaled else None,
        }
        statistics[written, :-1] = _scores([pairs[place] for place in written], options)
    return Tally(NAMES, statistics, lambda sums: sums[..., :-1] / sums[..., -1:])


def folder_name(model: str | Path) -> str:
    """What the package calls a model: its name, or the name of its folder."""
    return model if isinstance(model, str) else model.name


def _usual_layer(name: str) -> int:
    from bert_score.utils import model2layers

    if name not in model2layers:
        raise UserError(f"bert-score has chosen no layer for {name}; say which with layer=.")
    return int(model2layers[name])


def _scores(pairs: Sequence[tuple[str, str]], options: dict[str, Any]) -> np.ndarray:
    """Precision, recall and F1 (N, 3) of written texts."""
    from bert_score import score

    try:
        columns = score(*map(list, zip(*pairs, strict=True)), lang="en", batch_size=_BATCH, **options)
    except OverflowError:
        raise UserError(
            f"{options['model_type']}/tokenizer_config.json does not say model_max_length, which bert-score"
            " needs; add it."
        ) from None
    except (OSError, ValueError, AssertionError) as error:
        raise UserError(f"bert-score cannot use {options['model_type']}: {error}") from error
    return np.stack([column.numpy() for column in columns], axis=1)
