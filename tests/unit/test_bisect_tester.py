# SPDX-License-Identifier: GPL-2.0
"""From a commit to a run: faults of the host, and commits that are not kernels."""

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
    """Make each run of the suite find the next of `cases`; return the list of cases left."""
    left = list(cases)

    def run_suite(*_: object, **how: object) -> Run:
        return Run(name="", command="", started="", cases=(left.pop(0),))

    patch.setattr("testbed.bisect.tester.run_suite", run_suite)
    return left


def test_a_fault_of_the_host_is_retried_once(
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
def test_a_failure_of_the_kernel_is_not_retried(
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
def test_a_kernel_is_judged_by_all_its_runs(
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


def test_a_kernel_that_does_not_build_is_bad_only_if_the_pattern_matches(
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
        ("VERSION = 7\nPATCHLEVEL = 1\n", "the commit is Linux 7.1.0"),
        ("all:\n", "the commit is not a kernel tree"),
        ("", "the commit is not a kernel tree"),
    ],
    ids=["old", "other", "none"],
)
def test_a_commit_that_is_not_a_supported_kernel_is_refused(
    tree: Tree, tester: KernelTester, tmp_path: Path, makefile: str, complaint: str
) -> None:
    if makefile:
        (tree.path / "Makefile").write_text(makefile)
    commit = tree.commit("int a;\n")
    history: History = borrow(tree.path, tmp_path / "copy", commit, commit)
    with pytest.raises(TreeError, match=complaint):
        CommitOracle(tester, history).build(commit)
