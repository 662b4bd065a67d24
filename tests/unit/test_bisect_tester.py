# SPDX-License-Identifier: GPL-2.0
"""From a commit to a run: what the host breaks, and what is no kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from bisect_parts import Tree

from testbed.bisect.history import History, borrow
from testbed.bisect.symptom import Presence
from testbed.bisect.tester import CommitOracle, KernelTester, judge
from testbed.context import Context
from testbed.errors import BuildError, InfraError, TreeError
from testbed.kernel.series import Series
from testbed.results.model import Case, Run, Status

HOST = Case(test="a", status=Status.MISS, error="LaunchError", reason="QEMU did not start")
GOOD = Case(test="a", status=Status.PASS)
BAD = Case(test="a", status=Status.FAIL, error="AssertionError", reason="assert 4 == 3")
NO_BOOT = Case(test="a", status=Status.MISS, error="BootPanic", reason="it panicked")


@pytest.fixture
def tester(ctx: Context, tmp_path: Path) -> KernelTester:
    return KernelTester(ctx, "a", tmp_path)


def runs_of(patch: pytest.MonkeyPatch, *cases: Case) -> list[Case]:
    """Have the suite find these cases, one in each run; what is left of them."""
    left = list(cases)

    def run_suite(*_: object) -> Run:
        return Run(name="", command="", started="", cases=(left.pop(0),))

    patch.setattr("testbed.bisect.tester.run_suite", run_suite)
    return left


def test_what_the_host_broke_is_tried_once_more(
    tester: KernelTester, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_of(monkeypatch, HOST, GOOD)
    assert tester.run(Series(), "a").cases == (GOOD,)


def test_a_host_that_fails_twice_ends_the_search(
    tester: KernelTester, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_of(monkeypatch, HOST, HOST)
    with pytest.raises(InfraError, match="the host failed twice: QEMU did not start"):
        tester.run(Series(), "a")


@pytest.mark.parametrize("found", [BAD, NO_BOOT])
def test_a_kernels_failure_is_not_tried_again(
    tester: KernelTester, monkeypatch: pytest.MonkeyPatch, found: Case
) -> None:
    left = runs_of(monkeypatch, found, GOOD)
    assert tester.run(Series(), "a").cases == (found,)
    assert left == [GOOD]


@pytest.mark.parametrize(
    ("cases", "pattern", "verdict"),
    [
        ((GOOD, GOOD, GOOD), "", Presence.ABSENT),
        ((GOOD, BAD), "", Presence.PRESENT),
        ((NO_BOOT,), "", Presence.UNKNOWN),
        ((NO_BOOT,), "BootPanic", Presence.PRESENT),
        ((BAD,), "BootPanic", Presence.UNKNOWN),
    ],
)
def test_one_kernel_is_judged_by_all_its_runs(
    tester: KernelTester,
    monkeypatch: pytest.MonkeyPatch,
    cases: tuple[Case, ...],
    pattern: str,
    verdict: Presence,
) -> None:
    monkeypatch.setattr(KernelTester, "build", lambda *_: None)
    left = runs_of(monkeypatch, *cases)
    assert judge(tester, Series(), pattern, 3).verdict is verdict
    assert left == []


def test_a_kernel_that_does_not_build_is_bad_only_if_that_is_asked(
    tester: KernelTester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: object) -> None:
        raise BuildError("mm/vma.c:1: expected ';'")

    monkeypatch.setattr(KernelTester, "build", build)
    assert judge(tester, Series(), "", 1).verdict is Presence.UNKNOWN
    assert judge(tester, Series(), "expected ';'", 1).verdict is Presence.PRESENT


@pytest.mark.parametrize(
    ("makefile", "complaint"),
    [
        ("VERSION = 7\nPATCHLEVEL = 1\n", "it is Linux 7.1.0"),
        ("all:\n", "it is no kernel tree"),
        ("", "it is no kernel tree"),
    ],
    ids=["old", "other", "none"],
)
def test_a_commit_that_cannot_be_a_kernel_is_passed_over(
    tree: Tree, tester: KernelTester, tmp_path: Path, makefile: str, complaint: str
) -> None:
    if makefile:
        (tree.path / "Makefile").write_text(makefile)
    commit = tree.commit("int a;\n")
    history: History = borrow(tree.path, tmp_path / "copy", commit, commit)
    with pytest.raises(TreeError, match=complaint):
        CommitOracle(tester, history).build(commit)
