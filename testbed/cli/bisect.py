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
from testbed.results.store import kept_dir


@click.command()
@kernel_options
@question_options
@click.option(
    "--good", metavar="COMMIT",
    help="Search from COMMIT, which lacks the symptom; not with --series.",
)  # fmt: skip
@click.option(
    "--bad", metavar="COMMIT",
    help="Search from COMMIT, which shows the symptom; not with --series.",
)  # fmt: skip
@click.option(
    "--tree", type=click.Path(path_type=Path), default=Path(), metavar="PATH",
    help="Search the commits of the git tree at PATH, which is never written to. Default: the "
    "current folder.",
)  # fmt: skip
@click.option(
    "--fresh", is_flag=True,
    help="Discard the saved state of this search. Default: continue from it.",
)  # fmt: skip
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
    """Find the commit or patch that introduced a symptom.

    The search covers the commits between --good and --bad, or the patches of --series. TEST is a
    test's name as a report prints it, or an expression as for pytest -k. By default the symptom is
    every failure of the bad end that the good end does not show in the same way. Kernels are built
    for the first architecture of --arch.

    Exit status: 0 one commit is left, 1 several are left or the ends do not differ; 2, 3 and 130
    as for `testbed run`.

    \b
    Examples:
      testbed bisect --good v7.3 --bad HEAD --tree ~/linux --arch arm64 test_descriptor
      testbed bisect --series fixes/ --kernel debian:7.3 "descriptor and stack"
    """
    question = Question.of(tests, pattern, repeat, find_fix=find_fix)
    with opened(options) as invocation:
        if invocation.series.patches:
            if good or bad:
                raise SetupError(
                    "--good and --bad do not apply to --series", hint="leave out --good and --bad"
                )
            invocation.show_series()
            subject = patches(invocation.series, invocation.ctx)
        else:
            old, new = (bad, good) if find_fix else (good, bad)
            if not (old and new):
                raise SetupError("nothing to search", hint="give --good and --bad, or --series")
            if options["kernel"] is not None:
                raise SetupError(
                    "--kernel does not apply: the kernels are the commits of --tree",
                    hint="leave out --kernel",
                )
            subject = commits(tree, old, new, invocation.ctx)
        with subject as found:
            lines, known = _search(question, found, fresh=fresh)
        invocation.show(lines)
    sys.exit(EXIT_EXPECTED if known else EXIT_FINDINGS)


def _search(question: Question, subject: Subject, *, fresh: bool) -> tuple[list[str], bool]:
    """Run the search. Return its report, and whether it leaves one commit."""
    ctx, settings = subject.ctx, subject.ctx.settings
    file = settings.state_dir / "bisect" / f"{question.key(subject)}.json"
    with kept_dir(settings.results_dir) as folder:
        bisection = Bisection(
            subject.history,
            subject.oracle(KernelTester(ctx, question.tests, folder)),
            Journal(file) if fresh else Journal.open(file),
            ctx.progress,
            repeat=question.repeat,
            pattern=question.pattern,
            find_fix=question.find_fix,
        )
        try:
            answer = bisection.run()
        except KeyboardInterrupt:
            ctx.progress.note("run the same command to continue the search")
            raise
        write_report(folder, bisection, answer)
        lines = report_lines(bisection, answer, whole=False)
    return [*lines, f"results: {folder}"], bool(answer.first)
