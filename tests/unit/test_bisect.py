# SPDX-License-Identifier: GPL-2.0
"""Bisection with a real git on small kernel trees; a fake oracle reads the source."""

from __future__ import annotations

import pytest
from bisect_parts import (
    BAD,
    CASES,
    GOOD,
    LOST,
    NO_BUILD,
    OTHER,
    Reader,
    Tree,
    case,
    search,
)

from testbed.bisect.history import borrow
from testbed.bisect.journal import Journal
from testbed.bisect.report import report_lines
from testbed.bisect.search import Built
from testbed.bisect.symptom import Presence
from testbed.errors import InfraError, SetupError
from testbed.results.model import Case, Run, Status


@pytest.mark.parametrize("planted", [1, 4, 6, 9])
def test_the_commit_is_found_at_any_position(tree: Tree, planted: int) -> None:
    tree.commit_all(*[GOOD] * planted, *[BAD] * (10 - planted))
    found = search(tree)
    assert found.answer.first == tree.commits[planted]
    assert len(found.reader.built) <= 2 + 4
    assert len(set(found.reader.built)) == len(found.reader.built)


def test_the_report_has_the_commit_and_the_evidence_before_and_after_it(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, BAD, BAD)
    found = search(tree)
    text = "\n".join(report_lines(found.bisection, found.answer))
    assert f"first bad: {tree.commits[2][:12]}: commit 2" in text
    assert "mm/util.c | 4 ++--" in text
    assert f"before: {tree.commits[1][:12]} (commit 1): absent: 1 test passed" in text
    assert "    seen: vm_pgoff is 0x7f00, not 9" in text
    assert f"git bisect bad {tree.commits[2]}" in found.answer.log
    assert text.count("\n| ") == 1 + len(found.bisection.journal.steps)


def test_only_a_commit_with_the_symptom_is_bad(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, OTHER, LOST, NO_BUILD, BAD, BAD, BAD)
    found = search(tree)
    assert found.answer.first == ""
    assert set(found.answer.possible) == set(tree.commits[2:6])
    unknown = {found.verdicts().get(commit) for commit in tree.commits[2:5]}
    assert unknown == {Presence.UNKNOWN}
    reasons = {step.reason for step in found.bisection.journal.steps}
    assert "another failure: test_layer: FAIL no such device" in reasons
    assert "another failure: test_layer: MISS the kernel panicked at boot" in reasons
    assert "another failure: the build: MISS mm/util.c:1: expected ';'" in reasons


def test_untestable_commits_are_skipped(tree: Tree) -> None:
    tree.commit_all(GOOD, NO_BUILD, NO_BUILD, GOOD, OTHER, GOOD, BAD, NO_BUILD, BAD)
    assert search(tree).answer.first == tree.commits[6]


def test_the_same_failure_with_other_numbers_is_the_same_symptom(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = "int layer_is_broken_elsewhere;\n"
    monkeypatch.setitem(
        CASES, moved, case(Status.FAIL, "vm_pgoff is 0x8800, not 12", "AssertionError")
    )
    tree.commit_all(GOOD, GOOD, moved, moved, BAD)
    assert search(tree).answer.first == tree.commits[2]


def test_a_failure_on_both_ends_is_not_part_of_the_symptom(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.commit_all(GOOD, GOOD, GOOD, BAD, BAD)
    common = Case(
        test="tests/vm/contract/test_b.py::test_old", status=Status.FAIL, reason="an old failure"
    )
    real = Reader.run

    def with_an_old_failure(self: Reader, commit: str) -> Run:
        cases = real(self, commit).cases
        return Run(name="", command="", started="", cases=(common, *cases))

    monkeypatch.setattr(Reader, "run", with_an_old_failure)
    found = search(tree)
    assert found.answer.first == tree.commits[3]
    assert "test_old" not in str(found.bisection.journal.symptom)


def test_the_same_failure_alone_on_both_ends_is_refused(tree: Tree) -> None:
    tree.commit_all(BAD, GOOD, BAD)
    found = search(tree)
    good = f"{tree.commits[0][:12]} (commit 0)"
    assert found.answer.trouble.startswith(f"expected no symptom on {good}: ")


def test_an_untestable_commit_is_tried_twice(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.commit_all(GOOD, LOST, BAD)
    assert search(tree).reader.ran.count(tree.commits[1]) == 2

    # The second try counts: a busy host may cause the first.
    (tree.path.parent / "journal.json").unlink()
    monkeypatch.setattr(Reader, "build", lambda self, commit: Built("7.3.4", commit))
    real, cases = Reader.run, [case(Status.MISS, "it hung", "GuestTimeout")]

    def hung_once(self: Reader, commit: str) -> Run:
        if commit == tree.commits[1]:
            return Run(name="", command="", started="", cases=(cases.pop(0),))
        return real(self, commit)

    cases.append(case(Status.PASS))
    monkeypatch.setattr(Reader, "run", hung_once)
    assert search(tree).answer.first == tree.commits[2]


def test_a_range_without_a_bad_commit_is_refused(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, GOOD)
    found = search(tree)
    bad = f"{tree.commits[2][:12]} (commit 2)"
    assert found.answer.trouble == f"expected the symptom on {bad}: 1 test passed"
    assert found.reader.built == [tree.commits[2]]
    text = "\n".join(report_lines(found.bisection, found.answer))
    assert text.startswith("cannot search: ")


@pytest.mark.parametrize("end", [NO_BUILD, LOST])
def test_an_untestable_bad_end_is_refused_with_the_reason(tree: Tree, end: str) -> None:
    tree.commit_all(GOOD, GOOD, end)
    bad = f"{tree.commits[2][:12]} (commit 2)"
    trouble = search(tree).answer.trouble
    assert trouble.startswith(f"expected the symptom on {bad}: another failure")


def test_the_results_of_unfit_ends_are_forgotten(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, BAD)
    assert search(tree, rounds=lambda number: False).answer.trouble
    assert search(tree).answer.first == tree.commits[2]


def test_the_first_commit_after_the_good_end_can_be_the_bad_one(tree: Tree) -> None:
    tree.commit_all(GOOD, BAD)
    found = search(tree)
    assert found.answer.first == tree.commits[1]
    assert len(found.reader.built) == 2


def test_a_first_commit_with_the_symptom_is_refused_as_the_good_end(tree: Tree) -> None:
    tree.commit_all(BAD, BAD)
    assert tree.commits[0][:12] in search(tree).answer.trouble


@pytest.mark.parametrize("side", ["side", "main", "merge"])
def test_a_defect_is_found_on_either_side_of_a_merge_or_in_the_merge(tree: Tree, side: str) -> None:
    base = tree.commit(GOOD)
    tree.git("checkout", "--quiet", "-b", "side")
    (tree.path / "other").write_text("side\n")
    tree.commit(GOOD)
    on_side = tree.commit(BAD if side == "side" else GOOD, "on the side")
    tree.commit(BAD if side == "side" else GOOD)
    tree.git("checkout", "--quiet", "main")
    tree.commit(GOOD)
    on_main = tree.commit(BAD if side == "main" else GOOD, "on the main line")
    tree.git("merge", "--quiet", "--no-commit", "--strategy", "ours", "side")
    merge = tree.commit(BAD, "the merge")
    tree.commit_all(BAD, BAD)
    wanted = {"side": on_side, "main": on_main, "merge": merge}[side]
    assert search(tree, base).answer.first == wanted


def test_ends_on_two_branches_are_joined_by_their_merge_base(tree: Tree) -> None:
    tree.commit(GOOD)
    base = tree.commit(GOOD)
    tree.git("checkout", "--quiet", "-b", "stable")
    good = tree.commit(GOOD, "on stable")
    tree.git("checkout", "--quiet", "main")
    culprit = tree.commit(BAD)
    found = search(tree, good, tree.commit(BAD))
    assert found.answer.first == culprit
    assert base in found.verdicts()


def test_a_bad_merge_base_means_that_the_good_end_has_a_fix(tree: Tree) -> None:
    tree.commit(BAD)
    tree.git("checkout", "--quiet", "-b", "stable")
    good = tree.commit(GOOD, "the fix on stable")
    tree.git("checkout", "--quiet", "main")
    bad = tree.commit(BAD)
    with pytest.raises(SetupError, match="the merge base of both ends is bad"):
        search(tree, good, bad)


def test_a_fix_is_found(tree: Tree) -> None:
    tree.commit_all(BAD, BAD, NO_BUILD, BAD, GOOD, GOOD, GOOD)
    found = search(tree, find_fix=True)
    assert found.answer.first == tree.commits[4]
    assert "first fixed: " in "\n".join(report_lines(found.bisection, found.answer))


@pytest.mark.parametrize("find_fix", [False, True])
def test_ends_in_the_wrong_order_are_refused_with_a_hint(tree: Tree, find_fix: bool) -> None:
    tree.commit_all(GOOD, BAD)
    with pytest.raises(SetupError, match="wrong order") as refused:
        search(tree, tree.commits[1], tree.commits[0], find_fix=find_fix)
    assert "the bad end is the older one" in refused.value.hint


def test_a_range_of_one_commit_is_refused(tree: Tree) -> None:
    commit = tree.commit(GOOD)
    with pytest.raises(SetupError, match="same commit"):
        search(tree, commit, commit)


def test_a_pattern_finds_a_kernel_that_does_not_boot(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, BAD, GOOD, LOST, LOST)
    found = search(tree, pattern="BootPanic")
    assert set(found.answer.possible) | {found.answer.first} >= {tree.commits[4]}
    assert found.verdicts()[tree.commits[5]] is Presence.PRESENT


def test_a_pattern_finds_a_commit_that_broke_the_build(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, GOOD, NO_BUILD, NO_BUILD, NO_BUILD)
    assert search(tree, pattern="BuildError").answer.first == tree.commits[3]


def test_equal_kernels_share_a_verdict(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, GOOD, GOOD, BAD, BAD, BAD, BAD)
    found = search(tree)
    assert len(found.reader.ran) == 2  # the ends
    shared = [step for step in found.bisection.journal.steps if step.same_as]
    assert {step.same_as for step in shared} <= {tree.commits[0], tree.commits[7]}
    assert len(found.reader.built) == 2 + len(shared)


def test_equal_kernels_at_both_ends_run_once(tree: Tree) -> None:
    tree.commit_all(BAD, BAD)
    assert len(search(tree).reader.ran) == 1


def test_an_interrupted_search_resumes(tree: Tree) -> None:
    tree.commit_all(*[GOOD] * 20, NO_BUILD, *[BAD] * 20)

    class Interrupted(Reader):
        def build(self, commit: str) -> Built:
            if len(self.built) == 4:
                raise KeyboardInterrupt
            return super().build(commit)

    history = borrow(tree.path, tree.path.parent / "copy", tree.commits[0], tree.commits[-1])
    first = Interrupted(history)
    with pytest.raises(KeyboardInterrupt):
        search(tree, reader=first)
    second = search(tree)
    assert set(second.answer.possible) == {tree.commits[20], tree.commits[21]}
    assert not set(first.built) & set(second.reader.built)
    third = search(tree)
    assert third.reader.built == []
    assert third.answer == second.answer


def test_a_failing_host_ends_the_search(tree: Tree) -> None:
    tree.commit_all(*[GOOD] * 8, *[BAD] * 8)

    class Failing(Reader):
        def run(self, commit: str) -> Run:
            raise InfraError("the disk is full")

    history = borrow(tree.path, tree.path.parent / "copy", tree.commits[0], tree.commits[-1])
    search(tree, tree.commits[0], tree.commits[-1])
    (tree.path.parent / "journal.json").unlink()
    with pytest.raises(InfraError, match="the disk is full"):
        search(tree, reader=Failing(history))
    assert Journal.open(tree.path.parent / "journal.json").steps == []


def test_repetition_finds_an_intermittent_symptom(tree: Tree) -> None:
    tree.commit_all(*[GOOD] * 6, *[BAD] * 6)
    found = search(tree, rounds=lambda number: number % 3 == 0, repeat=4)
    assert found.answer.first == tree.commits[6]
    text = "\n".join(report_lines(found.bisection, found.answer))
    assert "kernels with the symptom showed it in 1 of 4 runs" in text
    assert "the probability that none of them passed by chance is at least " in text


def test_a_run_that_shows_the_symptom_ends_the_repetition(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Make all kernels distinct, so that each runs.
    monkeypatch.setattr(Reader, "build", lambda self, commit: Built("7.3.4", commit))
    tree.commit_all(GOOD, BAD, BAD, BAD)
    found = search(tree, repeat=3)
    ran = [found.reader.ran.count(commit) for commit in tree.commits]
    assert ran == [3, 1, 1, 3]  # both ends run three times, to learn the rate
