"""The pages of the project: every command parses, every path and link exists, every table is the code's."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cxreport import __version__
from cxreport.cli import app
from cxreport.metrics.clinical import AVERAGES, LABEL_SCORES, LABEL_SETS, UNCERTAINTY
from cxreport.metrics.protocols import NAMED, WORDS
from cxreport.metrics.tables import SYSTEMS, TITLES
from cxreport.phantom.kinds import KINDS, Kind
from cxreport.recipe import Recipe, shipped_recipes

ROOT = Path(__file__).resolve().parents[1]
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if page.is_file()]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(r"(?<![\w./-])(?:src|tests|recipes|docs|benchmarks)/[\w./-]*[\w/]")
_SHELLS = ("bash", "sh", "shell", "console")


def commands_of(text: str) -> list[list[str]]:
    """The words of every command in the shell blocks of a page, without comments and continuations."""
    blocks = [block for language, block in _FENCE.findall(text) if language in _SHELLS]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [line[1:] if line[0] == "time" else line for line in words if line]


def refusal_of(words: list[str]) -> str:
    """Why the arguments of a ``cxreport`` command do not parse; empty when they do. Nothing is run."""
    command: Any = get_command(app)
    names = ["cxreport"]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name, *words = words
        if name not in command.commands:
            return f"unknown command {name}"
        command = command.commands[name]
        names.append(name)
    if hasattr(command, "commands") and not words:
        return f"{' '.join(names)} is no whole command"
    try:
        command.make_context(" ".join(names), list(words))
    except Exception as error:  # the parser's own classes are vendored in typer
        message = getattr(error, "format_message", None)
        if message is None and type(error).__name__ != "Exit":
            raise
        return str(message()) if message else ""
    return ""


def ours(page: Path) -> list[list[str]]:
    lines = commands_of(page.read_text(encoding="utf-8"))
    return [words[1:] for words in lines if Path(words[0]).name == "cxreport"]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_parses(page: Path) -> None:
    refused = {" ".join(words): why for words in ours(page) if (why := refusal_of(words))}
    assert refused == {}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("train demo --data d --out o --set training.epochs=3", ""),
        ("data import folder s --csv c --id a --image b --report c --patient d --out o", ""),
        ("phantom make --studies 10", "--out"),
        ("train demo --data d --out o --epochs 3", "--epochs"),
        ("phantom make --out o --studies many", "--studies"),
        ("phantoms make --out o", "unknown command phantoms"),
        ("data import", "no whole command"),
        ("--help", ""),
    ],
)
def test_the_check_refuses_what_the_command_line_refuses(line: str, why: str) -> None:
    found = refusal_of(line.split())
    assert why in found if why else not found


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_changes_on_the_command_line_fit_the_recipe(page: Path) -> None:
    for words in ours(page):
        if words[0] != "train":
            continue
        recipe = words[1] if words[1] in shipped_recipes() else str(ROOT / words[1])
        changes = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
        Recipe.load(recipe, changes)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_python_command_answers(page: Path) -> None:
    """A script of ours accepts the options that a page names; ``--help`` after them keeps it from working."""
    for words in commands_of(page.read_text(encoding="utf-8")):
        if Path(words[0]).name not in ("python", "python3") or not words[1].endswith(".py"):
            continue
        options = set(re.findall(r"--[a-z-]+", " ".join(words[2:])))
        known = subprocess.run(
            [sys.executable, words[1], "--help"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        assert {option for option in options if option not in known} == set()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    links = _LINK.findall(page.read_text(encoding="utf-8"))
    local = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_paths_of_the_project_exist(page: Path) -> None:
    paths = set(_PATH.findall(page.read_text(encoding="utf-8")))
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("page", [page for page in PAGES if "docs" in page.parts], ids=str)
def test_a_page_is_one_subject(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").splitlines()) <= 200


def test_every_source_has_a_page() -> None:
    command: Any = get_command(app)
    sources = set(command.commands["data"].commands["import"].commands) - {"folder"}
    assert sources == {page.stem for page in (ROOT / "docs" / "sources").glob("*.md")}


def test_the_tree_names_every_file() -> None:
    tree = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "src" / "cxreport"
    files = {path.name for path in package.rglob("*.py") if path.name != "__init__.py"}
    assert sorted(name for name in files if name not in tree) == []
    named = set(re.findall(r"\b\w+\.py\b", tree.partition("```")[2].partition("```")[0]))
    assert sorted(named - files) == []


def test_the_table_of_findings_is_the_codes() -> None:
    """After a change of the kinds paste what ``python tests/test_docs.py`` prints."""
    assert findings_table() in (ROOT / "docs" / "phantoms.md").read_text(encoding="utf-8")


def test_every_metric_and_control_is_explained() -> None:
    """Label scores are explained by the parts of their names."""
    page = "".join(
        (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("metrics.md", "protocols.md")
    )
    parts = {*LABEL_SETS, *AVERAGES, *UNCERTAINTY, *LABEL_SCORES}
    names = {*TITLES, *SYSTEMS, *NAMED, *WORDS, *parts} - {"model", "whitespace"}
    assert sorted(name for name in names if f"`{name}`" not in page) == []


def test_the_newest_change_is_this_version() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changes, re.MULTILINE)[0] == __version__


def findings_table() -> str:
    """The kinds as a table in Markdown."""
    header = "| kind | sides | zones | severities | CheXpert labels | share |\n|---|---|---|---|---|---|\n"
    return header + "\n".join(_row(kind) for kind in KINDS.values())


def _row(kind: Kind) -> str:
    lists = (kind.sides, kind.zones, kind.severities, kind.labels)
    cells = [f"`{kind.name}`", *(", ".join(values) or "-" for values in lists), f"{kind.prevalence:.2f}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.write(findings_table() + "\n")
