# SPDX-License-Identifier: GPL-2.0
"""The rooms of testbed/ import in one direction, and each name of theirs has one meaning."""

from __future__ import annotations

import ast
import graphlib
from collections import defaultdict
from pathlib import Path

import pytest
import rooms

from testbed.settings import CHECKOUT

# Each library has one module that knows it.
SOLE_IMPORTERS = {
    "subprocess": "testbed/process.py",
    "pexpect": "testbed/vm/console.py",
    "qemu": "testbed/vm/qmp.py",
    "paramiko": "testbed/guest/ssh.py",
    "jinja2": "testbed/pages/site.py",
    "tree_sitter": "testbed/inventory/csyntax.py",
    "distributed": "testbed/nightly/dask_executor.py",
    "_pytest": "testbed/suite/pytest_internals.py",
    "fsspec": "testbed/artifacts/depot.py",
}

PATHS = rooms.modules()
NAMES = [room.name for room in rooms.ROOMS]


def test_every_folder_is_a_room() -> None:
    assert {rooms.room_of(path) for path in PATHS} == set(NAMES)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_a_module_imports_only_from_its_own_room_and_those_above(path: Path) -> None:
    floor = NAMES.index(rooms.room_of(path))
    below = [
        name
        for name in rooms.import_graph()[rooms.dotted(path)] - {"testbed"}
        if NAMES.index(_room(name)) > floor
    ]
    assert below == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    tuple(graphlib.TopologicalSorter(rooms.import_graph()).static_order())


def test_a_stem_stands_in_one_room_unless_it_means_the_same_in_both() -> None:
    found = defaultdict(set)
    for path in PATHS:
        found[path.stem].add(path.parent)
    twice = {stem for stem, folders in found.items() if len(folders) > 1}
    rooms_as_commands = {path.stem for path in PATHS if path.stem in NAMES}
    assert twice | rooms_as_commands == rooms.SHARED_STEMS.keys()


@pytest.mark.parametrize("library", SOLE_IMPORTERS)
def test_one_module_knows_each_library(library: str) -> None:
    users = {
        str(path.relative_to(CHECKOUT))
        for path in PATHS
        if any(name.split(".")[0] == library for name in rooms.imported(path))
    }
    assert users == {SOLE_IMPORTERS[library]}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_no_module_reads_private_state_of_an_object(path: Path) -> None:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    assert not [node for node in nodes if isinstance(node, ast.Attribute) and _is_dict(node.attr)]
    assert not [node for node in nodes if isinstance(node, ast.Name) and node.id == "vars"]


def test_contributing_shows_the_rooms_as_they_are() -> None:
    assert rooms.layout() in (CHECKOUT / "CONTRIBUTING.md").read_text(), (
        f"CONTRIBUTING.md should say:\n{rooms.layout()}"
    )


def _is_dict(name: str) -> bool:
    return name == "__dict__"


def _room(name: str) -> str:
    """The room of a module by its dotted name."""
    words = name.split(".")
    return words[1] if len(words) > 2 or words[1] in NAMES else ""
