# SPDX-License-Identifier: GPL-2.0
"""Histories to search: commits borrowed from a user's repository, and patches of a series."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from bisect_parts import BAD, CASES, GOOD, Tree, search, snapshot

from testbed.bisect.history import History, borrow, commit_series
from testbed.bisect.journal import Journal
from testbed.bisect.report import report_lines
from testbed.bisect.search import Bisection, Built
from testbed.errors import SetupError
from testbed.kernel.series import Series
from testbed.process import run
from testbed.progress import SilentProgress
from testbed.results.model import Run


def test_nothing_is_written_into_the_users_tree(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, BAD, BAD)
    before = snapshot(tree.path)
    found = search(tree)
    found.bisection.history.check_out(tree.commits[1])
    assert snapshot(tree.path) == before
    copy = found.bisection.history.path
    assert (copy / "mm/util.c").read_text() == f"// commit 1\n{GOOD}"


def test_a_shallow_clone_is_searched_as_far_as_it_goes(tree: Tree, tmp_path: Path) -> None:
    tree.commit_all(*[GOOD] * 4, *[BAD] * 4)
    shallow = tmp_path / "shallow"
    run(["git", "clone", "--quiet", "--depth", "6", f"file://{tree.path}", shallow])
    found = search(Tree(shallow, tree.commits[2:]))
    assert found.answer.first == tree.commits[4]


def test_a_linked_worktree_under_an_odd_name_is_searched(tree: Tree, tmp_path: Path) -> None:
    tree.commit_all(GOOD, GOOD, BAD)
    top = tmp_path / 'a "b" ü'
    tree.path.rename(top)
    moved = Tree(top, tree.commits)
    moved.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))
    before = snapshot(top)
    assert search(Tree(tmp_path / "linked", tree.commits)).answer.first == tree.commits[2]
    assert snapshot(top) == before


def test_a_commit_that_is_on_no_branch_can_be_an_end(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, BAD)
    tree.git("reset", "--hard", "--quiet", tree.commits[0])
    assert search(tree, new=tree.commits[2]).answer.first == tree.commits[2]


def test_a_folder_that_is_not_a_git_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="it has no history"):
        borrow(tmp_path, tmp_path / "copy", "", "")


def test_an_interrupted_checkout_leaves_nothing_behind(tree: Tree) -> None:
    tree.commit_all(GOOD, BAD)
    history = borrow(tree.path, tree.path.parent / "copy", *tree.commits)
    history.check_out(tree.commits[0])
    # The state after a kill in the middle of a checkout.
    (history.path / ".git/checkout-under-way").touch()
    (history.path / ".git/index.lock").touch()
    (history.path / "mm/stray.c").touch()
    (history.path / "mm/util.c").write_text("int hal")
    history.check_out(tree.commits[1])
    assert [path.name for path in history.path.glob("mm/*")] == ["util.c"]
    assert (history.path / "mm/util.c").read_text() == f"// commit 1\n{BAD}"


def test_a_checkout_touches_only_what_differs(tree: Tree) -> None:
    (tree.path / "Makefile").write_text("all:\n")
    tree.commit(GOOD)
    tree.commit(BAD)
    history = borrow(tree.path, tree.path.parent / "copy", *tree.commits)
    history.check_out(tree.commits[0])
    before = (history.path / "Makefile").stat().st_ctime_ns
    history.check_out(tree.commits[1])
    assert (history.path / "Makefile").stat().st_ctime_ns == before


def series_of(folder: Path, count: int) -> Series:
    folder.mkdir()
    text = "--- a/mm/util.c\n+++ b/mm/util.c\n@@ -1 +1 @@\n-{}\n+{}\n"
    patches = []
    for number in range(count):
        patches.append(folder / f"{number + 1:04}-change.patch")
        patches[-1].write_text(text.format(number, number + 1))
    return Series.of(*patches)


@dataclass
class Planted:
    """An oracle for a series in which patch `number` is bad."""

    history: History
    number: int
    built: list[int] = field(default_factory=list)

    def build(self, commit: str) -> Built:
        self.built.append(self.history.numbers[commit])
        return Built("7.3.4-testbed", commit)

    def run(self, commit: str) -> Run:
        bad = self.history.numbers[commit] >= self.number
        return Run(name="", command="", started="", cases=(CASES[BAD if bad else GOOD],))


@pytest.mark.parametrize("number", [1, 11, 16, 17, 22, 32])
def test_a_patch_among_32_takes_at_most_six_builds_besides_the_base(
    tmp_path: Path, shared_series: tuple[Series, History], number: int
) -> None:
    series, history = shared_series
    oracle = Planted(history, number)
    journal = Journal(tmp_path / "journal.json")
    bisection = Bisection(history, oracle, journal, SilentProgress())
    answer = bisection.run()
    assert history.label(answer.first) == f"patch {number}"
    assert history.title(answer.first) == series.names[number - 1]
    assert len(oracle.built) - oracle.built.count(0) <= 6
    assert oracle.built.count(0) == 1


@pytest.fixture(scope="module")
def shared_series(tmp_path_factory: pytest.TempPathFactory) -> tuple[Series, History]:
    top = tmp_path_factory.mktemp("series")
    series = series_of(top / "patches", 32)
    return series, commit_series(series, top / "history")


def test_the_commits_of_a_series_change_only_when_a_patch_changes(
    tmp_path: Path,
) -> None:
    series = series_of(tmp_path / "patches", 3)
    one = commit_series(series, tmp_path / "one")
    assert commit_series(series, tmp_path / "two").new == one.new
    second = tmp_path / "patches/0002-change.patch"
    second.write_text(second.read_text().replace("+2", "+two"))
    files = sorted((tmp_path / "patches").iterdir())
    edited = commit_series(Series.of(*files), tmp_path / "one")
    assert (edited.old, edited.new != one.new) == (one.old, True)


def test_the_report_of_a_series_names_patches(tmp_path: Path) -> None:
    series = series_of(tmp_path / "patches", 4)
    history = commit_series(series, tmp_path / "history")
    journal = Journal(tmp_path / "journal.json")
    bisection = Bisection(history, Planted(history, 3), journal, SilentProgress())
    lines = report_lines(bisection, bisection.run())
    assert lines[0] == "first bad: patch 3: 0003-change.patch"
    assert "before: patch 2 (0002-change.patch): absent: 1 test passed" in lines
    assert any(line.startswith("| base | no patch | absent |") for line in lines)
