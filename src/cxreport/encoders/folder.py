"""Encoder folders: the weights of one encoder, which ``model.encoder.init`` names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cxreport.encoders import Encoder
from cxreport.options import EncoderOptions
from cxreport.weights.folder import (
    WEIGHTS,
    Format,
    check_fit,
    digest_of,
    read_folder,
    read_provenance_file,
    read_tensors,
    write_folder,
)

ENCODER = Format("cxreport-encoder-1", "folder of encoder weights", "convert again")


def save_encoder(
    folder: Path,
    encoder: Encoder,
    options: EncoderOptions,
    provenance: dict[str, Any],
    write_more: Callable[[Path], None] = lambda part: None,
) -> None:
    """Write the encoder that `options` built; UserError when `folder` holds something else.

    `write_more` puts further files into the folder that it is given.
    """
    config = {"encoder": options.untrained().model_dump(mode="json")}
    write_folder(folder, ENCODER, config, encoder, provenance, write_more)


def read_options(folder: Path) -> EncoderOptions:
    """The options that build the encoder of a folder, once every file of it is verified."""
    return EncoderOptions.model_validate(read_folder(folder, ENCODER)["encoder"])


def origin(folder: Path) -> dict[str, Any]:
    """Where a folder's weights come from, for the provenance of a model that starts from them."""
    made_for = read_options(folder)
    facts = {"encoder": made_for.name, "weights_sha256": digest_of(folder / WEIGHTS)}
    provenance = read_provenance_file(folder)
    learnt = {name: provenance[name] for name in ("recipe", "dataset") if name in provenance}
    return facts | learnt | provenance.get("converted_from", {})


def load_weights(encoder: Encoder, folder: Path) -> None:
    """Load a folder's weights, made to fit another image size where they have to.

    Raises UserError, naming the file, when one is missing, altered, truncated or a pickle, and when the
    weights do not fit the encoder key by key.
    """
    made_for = read_options(folder)
    path = folder / WEIGHTS
    weights = encoder.adapt(read_tensors(path))
    check_fit(path, weights, encoder.state_dict(), f"model.encoder (it holds a {made_for.name})")
    encoder.load_state_dict(weights)
