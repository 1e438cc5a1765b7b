"""Coverage-guided fuzzing of the image reader in this process; needs `pip install atheris`.

    python tests/fuzz/atheris_images.py CORPUS -max_total_time=300 -timeout=5 -close_fd_mask=3

The folder CORPUS is filled with the small files of fuzz_images.py when it is empty. Anything but a result or
a UserError ends the run with the bytes kept in the current folder.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pydicom", "cxreport.data"]):
    import cxreport.data.dicom  # noqa: F401  its imports are instrumented here
    from cxreport.data.images import picture_of
    from cxreport.errors import UserError

from fuzz_images import SECRET, small_files


def one_input(content: bytes) -> None:
    try:
        said = str(picture_of(io.BytesIO(content), "mutant").warnings)
    except UserError as error:
        said = str(error)
    assert SECRET not in said


def main() -> None:
    corpus = Path(next((word for word in sys.argv[1:] if not word.startswith("-")), "corpus"))
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        for name, content in small_files().items():
            (corpus / name).write_bytes(content)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
