# SPDX-License-Identifier: GPL-2.0
"""A cell that searches a commit: a real git tree, and kernels that are only read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bisect_parts import BAD, CASES, GOOD, TEST, Tree
from nightly_parts import MAKEFILE
from sham_cells import sham

from testbed.bisect.search import Built
from testbed.cache import digest
from testbed.context import Context
from testbed.kernel.revision import tree_of
from testbed.kernel.series import Series
from testbed.nightly.bisect_cell import run_bisect
from testbed.nightly.cell import RUN_FOLDER, Cell
from testbed.results.model import Run
from testbed.results.store import read_run


@dataclass
class ReadingTester:
    """Instead of a build and a run, it reads what is checked out."""

    ctx: Context
    tests: str
    folder: Path

    def build(self, series: Series) -> Built:
        return Built("7.3.4-testbed", digest(self._text))

    def run(self, series: Series, name: str) -> Run:
        found = CASES[self._text]
        return Run(name=name, command="", started="", cases=(found,))

    @property
    def _text(self) -> str:
        tree = tree_of(self.ctx.settings.kernel)
        assert tree is not None
        return (tree / "mm/util.c").read_text().partition("\n")[2]


def cell_of(tree: Tree) -> Cell:
    ends: dict[str, Any] = {"good": tree.commits[0], "bad": tree.commits[-1]}
    kernel = f"tree:{tree.path}@{tree.commits[-1]}"
    return dataclasses.replace(sham(1), kind="bisect", kernel=kernel, only=(TEST,), params=ends)


@pytest.fixture
def search_tree(tree: Tree, git_alone: None, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setattr("testbed.nightly.bisect_cell.KernelTester", ReadingTester)
    (tree.path / "Makefile").write_text(MAKEFILE)
    return tree


def test_it_names_the_commit(search_tree: Tree, ctx: Context, tmp_path: Path) -> None:
    for text in (GOOD, GOOD, BAD, BAD, BAD):
        search_tree.commit(text)
    found = run_bisect(cell_of(search_tree), ctx, tmp_path)
    assert (found.answer["commit"], found.answer["title"]) == (search_tree.commits[2], "commit 2")
    assert f"first bad: {search_tree.commits[2][:12]}" in found.answer["text"]
    assert (tmp_path / RUN_FOLDER / "bisect.md").exists()
    [case] = read_run(tmp_path / RUN_FOLDER).cases
    assert (case.status, case.reason) == ("PASS", "commit 2")


def test_without_an_answer_it_says_why(search_tree: Tree, ctx: Context, tmp_path: Path) -> None:
    for text in (GOOD, GOOD):
        search_tree.commit(text)
    found = run_bisect(cell_of(search_tree), ctx, tmp_path)
    assert "commit" not in found.answer
    assert found.run.cases[0].status == "SKIP"
    assert found.run.cases[0].reason.startswith("expected the symptom on")
