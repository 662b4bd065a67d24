# SPDX-License-Identifier: GPL-2.0
"""Builds of successive commits, from a fake kernel tree with a real git."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bisect_parts import Tree, new_tree, snapshot
from test_build import FAKE, Yard, compiled, laid_out

from testbed.bisect.history import History, borrow
from testbed.kernel.request import Kernel
from testbed.process import run


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    monkeypatch.setattr("testbed.kernel.builddir.have_ccache", lambda: False)
    with laid_out(tmp_path / "yard") as yard:
        yield yard


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A tree of three commits: the fake kernel, a change of mm/util.c, one of mm/vma.c."""
    tree = new_tree(tmp_path)
    run(["cp", "--recursive", f"{FAKE}/.", tree.path])
    for title, name in (("base", ""), ("util", "mm/util.c"), ("vma", "mm/vma.c")):
        if name:
            with (tree.path / name).open("a") as file:
                file.write(f"/* {title} */\n")
        tree.git("add", "--all")
        tree.git("commit", "--quiet", "--message", title)
        tree.commits.append(tree.git("rev-parse", "HEAD"))
    return tree


def build(yard: Yard, history: History, commit: str) -> Kernel:
    history.check_out(commit)
    return yard.build(yard.request(yard.source(f"tree:{history.path}")))


def test_a_step_compiles_only_what_differs_and_builds_a_kernel_once(yard: Yard, tree: Tree) -> None:
    before = snapshot(tree.path)
    history = borrow(tree.path, yard.top / "copy", tree.commits[0], tree.commits[2])
    base, util, vma = tree.commits
    newest = build(yard, history, vma)
    assert "mm/util.o" in compiled(newest)
    assert compiled(build(yard, history, util)) == ["mm/vma.o"]
    assert compiled(build(yard, history, base)) == ["mm/util.o"]
    assert build(yard, history, vma) == newest
    assert not any(step.startswith("compile") for step in yard.recorder.steps)
    assert snapshot(tree.path) == before


def test_a_commit_and_a_tree_at_that_commit_yield_the_same_kernel(yard: Yard, tree: Tree) -> None:
    history = borrow(tree.path, yard.top / "copy", tree.commits[0], tree.commits[2])
    kernel = build(yard, history, tree.commits[2])
    assert yard.build(yard.request(yard.source(f"tree:{tree.path}"))) == kernel
