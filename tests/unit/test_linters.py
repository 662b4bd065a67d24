"""The tree is formatted, linted and typed; the rooms import in one direction."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from testbed.run import run
from testbed.settings import CHECKOUT

# The rooms from the first to the last; a module imports from its own room and earlier ones.
ROOMS = ["", "results", "kernel", "image", "vm", "guest", "mmap", "lab"]
ROOMS += ["terminal", "verdict", "reach", "coverage", "report", "repro", "recorder", "workers"]
ROOMS += ["plugin", "suite", "mutants", "compare", "bisect", "check", "cli"]
# What every room stands on.
FOUNDATION = {
    "errors",
    "deadline",
    "run",
    "settings",
    "arch",
    "flavour",
    "progress",
    "cache",
    "files",
    "workshop",
}
# Each library has one module that knows it.
SOLE_IMPORTERS = {
    "subprocess": "testbed/run.py",
    "pexpect": "testbed/vm/console.py",
    "qemu": "testbed/vm/qmp.py",
    "paramiko": "testbed/guest/ssh.py",
}

MODULES = sorted((CHECKOUT / "testbed").rglob("*.py"))


@pytest.mark.parametrize(
    "arguments",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)],
    ids=["ruff-check", "ruff-format", "mypy"],
)
def test_the_tree_is_clean(arguments: tuple[str, ...]) -> None:
    done = run([sys.executable, "-m", *arguments], cwd=CHECKOUT, ok=range(256))
    assert done.status == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_a_module_imports_only_from_earlier_rooms(path: Path) -> None:
    room = ROOMS.index(_room(path))
    later = [name for name in _imports(path) if _is_later(name, room)]
    assert later == []


@pytest.mark.parametrize("library", SOLE_IMPORTERS)
def test_one_module_knows_each_library(library: str) -> None:
    users = {
        str(path.relative_to(CHECKOUT))
        for path in MODULES
        if any(name.split(".")[0] == library for name in _imports(path))
    }
    assert users == {SOLE_IMPORTERS[library]}


def _room(path: Path) -> str:
    parts = path.relative_to(CHECKOUT / "testbed").with_suffix("").parts
    return "" if parts[0] in FOUNDATION or parts[0] == "__init__" else parts[0]


def _is_later(name: str, room: int) -> bool:
    words = name.split(".")
    if words[0] != "testbed" or len(words) == 1:
        return False
    return words[1] not in FOUNDATION and ROOMS.index(words[1]) > room


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return names
