"""The application, its groups of commands, and what several commands share."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from cxreport import __version__
from cxreport.errors import UserError
from cxreport.terminal import StderrHandler

_PURPOSE = "Drafts are preliminary and not for diagnosis."
_STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


class _Commands(TyperGroup):
    """Commands whose mistakes of the user become a sentence and a status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            _fail(str(error))
        except OSError as error:
            if error.errno not in _STORAGE_ERRORS:
                raise
            where = error.filename or "a file"
            _fail(f"Cannot use {where}: {os.strerror(error.errno)}; make room or choose another folder.")
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(130) from None


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"Error: {sentence}", err=True)
    raise typer.Exit(1) from None


@contextmanager
def output(path: Path) -> Iterator[None]:
    """Make the folders above the file `path`; a failure to write it becomes a sentence."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"Cannot write {path}: {reason}; make room or choose another --out.") from None


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
phantom_app = typer.Typer(
    no_args_is_help=True, help="Chest X-rays that we render ourselves, with known truth."
)
data_app = typer.Typer(no_args_is_help=True, help="Prepared datasets.")
import_app = typer.Typer(no_args_is_help=True, help="Prepare a dataset from real images and reports.")
bank_app = typer.Typer(no_args_is_help=True, help="Memory banks of train studies.")
contour_app = typer.Typer(no_args_is_help=True, help="Where the chest lies in an image.")
bench_app = typer.Typer(no_args_is_help=True, help="Comparisons that make a table.")
lm_app = typer.Typer(no_args_is_help=True, help="Language models for generators.")
app.add_typer(phantom_app, name="phantom")
app.add_typer(contour_app, name="contour")
app.add_typer(bank_app, name="bank")
app.add_typer(lm_app, name="lm")
app.add_typer(bench_app, name="bench")
app.add_typer(data_app, name="data")
data_app.add_typer(import_app, name="import")


OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write; absent or empty.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of text.")]
SEEDS: dict[str, Any] = {"min": 0, "max": 2**31 - 1}


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cxreport {__version__}")
        raise typer.Exit


@app.callback(help=f"Draft, train, score and compare radiology reports from chest X-rays. {_PURPOSE}")
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    logger = logging.getLogger("cxreport")
    logger.handlers = [StderrHandler()]
    logger.setLevel(logging.INFO)
