"""Where the weights of a metric lie: a local folder, or the hub's cache. Nothing is downloaded.

``CXREPORT_METRIC_MODELS`` names a folder with one subfolder per model, called by its name in :data:`MODELS`.
Without it, or where a subfolder is absent, the cache of Hugging Face Hub is searched.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cxreport.metrics.unavailable import MetricUnavailable

ROOT_VARIABLE = "CXREPORT_METRIC_MODELS"


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model on the hub: its repository, the files that its folder must hold, and what to fetch for them.

    ``download`` is the file of the repository where that is an archive to unpack.
    """

    repository: str
    files: tuple[str, ...]
    download: str = ""


_SCORERS = "StanfordAIMI/RRG_scorers"

MODELS: dict[str, PublishedModel] = {
    "bert-base-uncased": PublishedModel("google-bert/bert-base-uncased", ("config.json", "vocab.txt")),
    "chexbert": PublishedModel(_SCORERS, ("chexbert.pth",)),
    "radgraph": PublishedModel(_SCORERS, ("config.json", "weights.th"), "radgraph.tar.gz"),
    "radgraph-xl": PublishedModel(_SCORERS, ("config.json", "weights.th"), "radgraph-xl.tar.gz"),
    "ratescore-ner": PublishedModel("Angelakeke/RaTE-NER-Deberta", ("config.json",)),
    "ratescore-synonyms": PublishedModel("FremyCompany/BioLORD-2023-C", ("config.json",)),
    "green": PublishedModel("StanfordAIMI/GREEN-radllama2-7b", ("config.json",)),
    "distilroberta-base": PublishedModel("distilbert/distilroberta-base", ("config.json",)),
}
"""Models by the name of their folder."""


def model_folder(name: str) -> Path:
    """The folder of the model `name` with its files.

    Raises MetricUnavailable, saying what to fetch and where to put it.
    """
    model = MODELS[name]
    root = os.environ.get(ROOT_VARIABLE)
    if root and all((Path(root) / name / file).exists() for file in model.files):
        return Path(root) / name
    cached = None if model.download else _cached(model)
    if cached is not None:
        return cached
    fetch = (
        f"unpack {model.download}" if model.download else f"download {', '.join(model.files)} and the rest"
    )
    place = Path(root) / name if root else f"a folder {name} in ${ROOT_VARIABLE}"
    raise MetricUnavailable(
        f"The weights of {name} are absent; {fetch} from https://huggingface.co/{model.repository}"
        f" into {place}."
    )


def _cached(model: PublishedModel) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    paths = [try_to_load_from_cache(model.repository, file) for file in model.files]
    found = [Path(path) for path in paths if isinstance(path, str)]
    return found[0].parent if len(found) == len(paths) else None
