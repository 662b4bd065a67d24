# SPDX-License-Identifier: GPL-2.0
"""Cells of the kind `bisect`: the search for the commit that brought a new failure."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from testbed.bisect.history import Answer
from testbed.bisect.journal import Journal
from testbed.bisect.question import Question, commits
from testbed.bisect.report import report_lines, write_report
from testbed.bisect.search import Bisection
from testbed.bisect.tester import KernelTester
from testbed.context import Context
from testbed.kernel.revision import tree_of
from testbed.nightly.cell import RUN_FOLDER, Cell, Found
from testbed.nightly.tests_cell import tests_identity
from testbed.results.model import Case, Run, Status
from testbed.results.store import write_run

# Kernels between two nights of a busy tree take some ten steps, each a build and a few tests.
_STEPS = 12
_STEP_SECONDS = 240.0

GOOD, BAD = "good", "bad"  # the parameters: commits


def run_bisect(cell: Cell, ctx: Context, out: Path) -> Found:
    """Search between two commits of the cell's tree for the one that made its tests fail.

    An interrupted search is continued.

    Raises:
        SetupError: the tree lacks the commits.
        InfraError: the host failed.
    """
    folder, tree = out / RUN_FOLDER, tree_of(cell.kernel)
    folder.mkdir(exist_ok=True)
    assert tree is not None  # only failures of git streams are searched
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    question = Question.of(cell.only, "", 1, find_fix=False)
    with commits(tree, cell.params[GOOD], cell.params[BAD], ctx) as subject:
        bisection = Bisection(
            subject.history,
            subject.oracle(KernelTester(subject.ctx, question.tests, folder)),
            Journal.open(out / "journal.json"),
            ctx.progress,
        )
        answer = bisection.run()
        write_report(folder, bisection, answer)
        found = _found(cell, bisection, answer)
    run = Run(
        name=out.name,
        command=_command(cell, tree),
        started=started,
        seconds=round(time.monotonic() - began, 1),
        cases=(_case(cell, answer, found),),
    )
    write_run(folder, run)
    return Found(run, found)


def _found(cell: Cell, bisection: Bisection, answer: Answer) -> dict[str, str]:
    """Return the answer in words: the commit and its title, or why there is none."""
    lines = report_lines(bisection, answer, whole=False)
    found = {**cell.params, "text": "\n".join(lines)}
    if answer.first:
        found |= {"commit": answer.first, "title": bisection.history.title(answer.first)}
    return found


def _case(cell: Cell, answer: Answer, found: dict[str, str]) -> Case:
    reason = found.get("title") or answer.trouble or f"{len(answer.possible)} commits are left"
    status = Status.PASS if answer.first else Status.SKIP
    return Case(test=f"bisect::{cell.only[0]}", arch=cell.arch, status=status, reason=reason)


def _command(cell: Cell, tree: Path) -> str:
    ends = f"--good {cell.params[GOOD]} --bad {cell.params[BAD]}"
    return f"testbed bisect --tree {tree} --arch {cell.arch} {ends} '{cell.only[0]}'"


def bisect_identity(cell: Cell, ctx: Context) -> tuple[str, ...]:
    return tests_identity(cell, ctx)


def bisect_seconds(cell: Cell) -> float:
    return _STEPS * _STEP_SECONDS
