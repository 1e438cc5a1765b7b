"""The house: a room imports only itself and rooms above it, and what no file of ours may hold."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import cxreport

PACKAGE = Path(cxreport.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

ROOMS = (
    "__init__",
    "errors",
    "study",
    "options",
    "model_options",
    "recipe",
    "pretraining",
    "phantom",
    "weights",
    "data",
    "encoders",
    "memories",
    "objectives",
    "generators",
    "checkpoints",
    "training",
    "metrics",
    "bench",
    "terminal",
    "cli",
)
"""Top to bottom."""

FORBIDDEN = {
    ("metrics", "training"): "scores come from files, whoever trained",
    ("training", "metrics"): "as below",
}
LIGHT = (
    *("errors", "study", "options", "model_options", "recipe", "pretraining"),
    *("phantom", "metrics", "terminal", "cli"),
)
HEAVY = ("torch", "torchvision", "lightning", "datasets", "pandas", "pydicom", "matplotlib", "transformers")
MOST_LINES = 450


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every imported module with its line, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            module = node.module or ""
            yield module, node.lineno
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


def rooms_imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for module, line in imports_of(tree):
        parts = module.split(".")
        if parts[0] == "cxreport" and len(parts) > 1 and parts[1] in ROOMS:
            yield parts[1], line


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(PACKAGE)) for path in paths]


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_a_room_imports_only_rooms_above_it(path: Path) -> None:
    room = room_of(path)
    assert room in ROOMS, f"{path.name} is in no room; add it to ROOMS where it belongs"
    for imported, line in rooms_imported(ast.parse(path.read_text(encoding="utf-8"))):
        assert ROOMS.index(imported) <= ROOMS.index(room), f"line {line}: {room} imports {imported} below it"
        assert (room, imported) not in FORBIDDEN, f"line {line}: {FORBIDDEN[room, imported]}"


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_a_file_holds_nothing_forbidden(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    modules = {module.split(".")[0] for module, _ in imports_of(tree)}
    assert not modules & {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "torch.save", "torch.load"), f"line {node.lineno}: {called}"
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            silent = all(isinstance(line, ast.Pass) for line in node.body)
            wide = caught in ("everything", "Exception", "BaseException")
            assert not (silent and wide), f"line {node.lineno}: swallows {caught}"
    machine_path = re.search(r"""["'](/(home|root|work|mnt|data|Users|tmp)/|[A-Z]:\\\\)""", text)
    assert machine_path is None, f"a path of one machine: {machine_path}"
    assert len(text.splitlines()) < MOST_LINES


@pytest.mark.parametrize("room", LIGHT)
def test_light_rooms_import_nothing_heavy_at_their_top(room: str) -> None:
    for path in (path for path in FILES if room_of(path) == room):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        heavy = {module.split(".")[0] for module, _ in imports_of(top)} & set(HEAVY)
        assert not heavy, f"{path.name} imports {heavy}"


def test_the_rules_are_broken_by_code_that_breaks_them() -> None:
    """The finder sees imports inside functions and in every form."""
    lines = ("from cxreport import cli", "import cxreport.bench.demo as d", "from cxreport.data import text")
    code = "def f():\n    " + "\n    ".join(lines)
    assert {room for room, _ in rooms_imported(ast.parse(code))} == {"cli", "bench", "data"}
