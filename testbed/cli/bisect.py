# SPDX-License-Identifier: GPL-2.0
"""`testbed bisect`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from testbed.bisect.journal import Journal
from testbed.bisect.question import Question, Subject, commits, patches
from testbed.bisect.report import report_lines, write_report
from testbed.bisect.search import Bisection
from testbed.bisect.tester import KernelTester
from testbed.cli.invocation import opened
from testbed.cli.options import kernel_options, question_options
from testbed.errors import SetupError
from testbed.results.model import EXIT_EXPECTED, EXIT_FINDINGS
from testbed.results.store import new_run_dir


@click.command()
@kernel_options
@question_options
@click.option("--good", metavar="COMMIT", help="A commit without the symptom.")
@click.option("--bad", metavar="COMMIT", help="A commit with the symptom.")
@click.option(
    "--tree", type=click.Path(path_type=Path), default=Path(), metavar="PATH",
    help="The git tree of both. It is never written to. Default: the current folder.",
)  # fmt: skip
@click.option("--fresh", is_flag=True, help="Forget what was tried before.")
def bisect(
    tests: tuple[str, ...],
    pattern: str,
    repeat: int,
    find_fix: bool,
    good: str | None,
    bad: str | None,
    tree: Path,
    fresh: bool,
    **options: Any,
) -> None:
    """Find the commit, or the patch of a series, that brought a symptom.

    TEST is a test's name as a report has it, or an expression as of pytest -k. The symptom is
    what fails on the bad end and not on the good one.

    \b
    testbed bisect --good v7.3 --bad HEAD --tree ~/linux --arch arm64 test_descriptor
    testbed bisect --series fixes/ --kernel debian:7.3 "descriptor and stack"
    """
    question = Question.of(tests, pattern, repeat, find_fix=find_fix)
    with opened(options) as invocation:
        if invocation.series.patches:
            if good or bad:
                raise SetupError("--series has ends of its own", hint="leave --good and --bad out")
            invocation.show_series()
            subject = patches(invocation.series, invocation.ctx)
        else:
            old, new = (bad, good) if find_fix else (good, bad)
            if not (old and new):
                raise SetupError("nothing to search", hint="give --good and --bad, or --series")
            if options["kernel"] is not None:
                raise SetupError("the kernels are the commits of --tree", hint="drop --kernel")
            subject = commits(tree, old, new, invocation.ctx)
        with subject as found:
            lines, known = _search(question, found, fresh=fresh)
        invocation.show(lines)
    sys.exit(EXIT_EXPECTED if known else EXIT_FINDINGS)


def _search(question: Question, subject: Subject, *, fresh: bool) -> tuple[list[str], bool]:
    """The report, and whether one commit is left."""
    ctx, settings = subject.ctx, subject.ctx.settings
    folder = new_run_dir(settings.results_dir, latest=False)
    key = question.key(subject)
    file = settings.state_dir / "bisect" / f"{key}.json"
    tester = KernelTester(ctx, question.tests, folder)
    bisection = Bisection(
        subject.history,
        subject.oracle(tester),
        Journal(file) if fresh else Journal.open(file),
        ctx.progress,
        repeat=question.repeat,
        pattern=question.pattern,
        find_fix=question.find_fix,
    )
    try:
        answer = bisection.run()
    except KeyboardInterrupt:
        ctx.progress.note("the same command goes on from here")
        raise
    write_report(folder, bisection, answer)
    return [*report_lines(bisection, answer, whole=False), f"results: {folder}"], bool(answer.first)
