"""The command line: parse, call, print; nothing else. Each command imports what it needs when it runs.

Results go to stdout, everything else to stderr. Exit status: 0 done; 1 a mistake of the user, told in one
sentence; 2 wrong arguments; 130 interrupted. A file here holds the commands of one subject.
"""

from cxreport.cli import (
    banks,
    bench,
    classify,
    contours,
    convert,
    data,
    encoders,
    imports,
    labels,
    language_models,
    models,
    phantom,
    pretrain,
    retrieval,
    scores,
)
from cxreport.cli.common import app

__all__ = [
    "app",
    "banks",
    "bench",
    "classify",
    "contours",
    "convert",
    "data",
    "encoders",
    "imports",
    "labels",
    "language_models",
    "main",
    "models",
    "phantom",
    "pretrain",
    "retrieval",
    "scores",
]


def main() -> None:
    """Entry point of the ``cxreport`` command."""
    app()
