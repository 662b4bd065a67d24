# SPDX-License-Identifier: GPL-2.0
"""The layout of testbed/: its rooms in order, and the graph of its imports.

tests/unit/test_rooms.py holds the code and CONTRIBUTING.md to it.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.settings import CHECKOUT

PACKAGE = CHECKOUT / "testbed"


@dataclass(frozen=True)
class Room:
    """A folder of testbed/; the first room has no name: the files that every room stands on."""

    name: str
    about: str


# A module imports from its own room and from those above it.
ROOMS = (
    Room("", "what every room stands on; process.py alone uses subprocess"),
    Room("results", "the result of a run, as values and as files"),
    Room("kernel", "source text to a kernel with its modules and guest programs"),
    Room("inventory", "the mmap hooks that a kernel's text has; csyntax.py: tree_sitter"),
    Room("image", "kernel and guest programs to an initramfs; disks with file systems"),
    Room("vm", "image to a running VM; console.py alone uses pexpect, qmp.py qemu.qmp"),
    Room("guest", "VM to a session that runs commands and watches the kernel; ssh.py: paramiko"),
    Room("mmap", "the subject: plans, paths, observations, and the rules that judge them"),
    Room("lab", "guests that stand ready for tests"),
    Room("intree", "the kernel's own hooks, files and stacks, and how a guest reaches each"),
    Room("report", "tables of a run, and of the differences between two runs"),
    Room("formats", "results as other tools read them: JUnit, KTAP, KCIDB (docs/formats.md)"),
    Room("suite", "the pytest plugin, its recorder and verdicts; pytest_internals.py: _pytest"),
    Room("check", "a user's own driver: trials of its mappings (docs/check.md)"),
    Room("mutants", "known-bad kernels, and whether the tests catch them (docs/mutants.md)"),
    Room("fuzz", "generated programs, compared across paths (docs/fuzz.md)"),
    Room("coverage", "which lines of a series the tests run (docs/coverage.md)"),
    Room("bisect", "a history to the commit that brought a symptom (docs/bisect.md)"),
    Room("artifacts", "the files of cells, in a folder or elsewhere; store by content (fsspec)"),
    Room("history", "what nights have seen, in a database (docs/history.md)"),
    Room("nightly", "many kernels in one night: a matrix of cells, and where they run"),
    Room("pages", "results as static HTML; site.py alone uses jinja2 (docs/pages.md)"),
    Room("cli", "one file per command; this room and suite/plugin.py alone print or exit"),
)

# A stem that stands in several rooms has one meaning; all others stand in one.
SHARED_STEMS = {
    "__init__": "what the folder is about",
    "alike": "what is equal is shown once: complaints of trials, findings of a night",
    "bisect": "the command of a room",
    "build": "a kernel is built: how, and the command for it",
    "cache": "what is kept between runs: how, and the commands for it",
    "campaign": "a campaign: of mutations, of generated programs",
    "check": "the command of a room",
    "coverage": "the command of a room",
    "drivers": "the kernel's own drivers: their checks, and the command that lists them",
    "cluster": "the programs of a cluster: their command lines, and the commands for them",
    "doctor": "what the host lacks: the examination, and the command for it",
    "faultinject": "allocations of a call fail one after the other",
    "fuzz": "the command of a room",
    "guest": "a guest: its session, and the guest that a test is given",
    "guarantees": "the kernel's promises: the list, and a table of those that a run has shown",
    "history": "the past: of a tree, of tests; and the command for the latter",
    "hooks": "the kernel's own hooks: the command that lists them, and a table of those reached",
    "inventory": "the class that the room is named after",
    "lab": "the class that the room is named after",
    "mail": "mails: with patches in them, and about a night",
    "mutants": "the command of a room",
    "nightly": "the command of a room",
    "report": "a result as people and programs read it",
    "run": "a run: the command for it, and its tables",
    "script": "a script for the probe: any, and one that maps a driver's node",
    "series": "a series of patches: the values, and the command that shows one",
    "store": "what is kept of a run: its files, its rows",
}


def modules() -> list[Path]:
    """All modules of testbed/, in order."""
    return sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    """The name that a module is imported by."""
    name = ".".join(path.relative_to(CHECKOUT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def room_of(path: Path) -> str:
    """The name of a module's room."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def imported(path: Path) -> set[str]:
    """The names of all modules that a module imports, wherever in its text it does."""
    return set(_imported(ast.parse(path.read_text())))


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if _is_module(name) else node.module


def _is_module(name: str) -> bool:
    path = CHECKOUT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@functools.cache
def import_graph() -> dict[str, set[str]]:
    """Each module of testbed/, and those of testbed/ that it imports."""
    known = {dotted(path): path for path in modules()}
    return {name: imported(path) & known.keys() for name, path in known.items()}


def layout() -> str:
    """The rooms as CONTRIBUTING.md shows them."""
    foundation = [path.stem for path in modules() if not room_of(path) and path.stem[0] != "_"]
    lines = [f"{'testbed/':<20}{ROOMS[0].about}:"]
    lines += [f"{'':<20}{words}" for words in _wrapped(foundation, 72)]
    lines += [f"{f'testbed/{room.name}/':<20}{room.about}" for room in ROOMS[1:]]
    return "".join(f"    {line}\n" for line in lines)


def _wrapped(words: list[str], width: int) -> Iterator[str]:
    line = ""
    for word in words:
        if len(line) + len(word) + 1 > width:
            yield line
            line = ""
        line = f"{line} {word}".strip()
    yield line
