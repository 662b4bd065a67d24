"""`testbed bisect` and `testbed bisect-step`."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from testbed.bisect.journal import Journal
from testbed.bisect.question import Question, Subject, commits, patches
from testbed.bisect.report import report_lines, write_report
from testbed.bisect.search import Bisection
from testbed.bisect.symptom import Presence
from testbed.bisect.tester import KernelTester, judge
from testbed.cli.options import kernel_options, opened
from testbed.errors import SetupError, TestbedError
from testbed.results.model import EXIT_EXPECTED, EXIT_FINDINGS
from testbed.results.store import new_run_dir
from testbed.terminal import plain

# What `git bisect run` takes an exit status for (git-bisect(1)).
_GOOD, _BAD, _SKIP, _ABORT = 0, 1, 125, 255


def question_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What is asked of each kernel."""
    for option in reversed(_QUESTION):
        command = option(command)
    return command


_QUESTION: tuple[Callable[..., Any], ...] = (
    click.argument("tests", nargs=-1, required=True, metavar="TEST..."),
    click.option(
        "--symptom", "pattern", metavar="REGEX", default="",
        help="What the symptom is: searched in what each bad case prints.",
    ),
    click.option(
        "--repeat", type=click.IntRange(1), default=1, metavar="N",
        help="Run the tests up to N times: for symptoms that come and go.",
    ),
    click.option(
        "--find-fix", is_flag=True, help="Look for what took the symptom away: bad is older."
    ),
)  # fmt: skip


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
        for line in lines:
            plain(invocation.console, line)
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


class StepCommand(click.Command):
    """Ends with a status of 128 or more when nothing was learned of the kernel."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _aborting():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _aborting():
            return super().invoke(ctx)


@click.command("bisect-step", cls=StepCommand)
@kernel_options
@question_options
def bisect_step(
    tests: tuple[str, ...], pattern: str, repeat: int, find_fix: bool, **options: Any
) -> None:
    """Judge one kernel, for `git bisect run`; by default that of the tree in the current folder.

    The exit status is 0 good, 1 bad, 125 cannot tell, 255 the host or the caller is at fault. Bad
    is a kernel with the symptom; without --symptom that is any test that fails. With --find-fix
    0 and 1 are swapped, as git's old and new terms want it.

    \b
    git bisect run testbed bisect-step --arch x86_64 test_descriptor
    testbed bisect-step --kernel tree:~/linux --symptom "KASAN" "stack and fields"
    """
    question = Question.of(tests, pattern, repeat, find_fix=find_fix)
    options["kernel"] = options["kernel"] or "tree:."
    with opened(options) as invocation:
        folder = new_run_dir(invocation.ctx.settings.results_dir, latest=False)
        tester = KernelTester(invocation.ctx, question.tests, folder)
        reading = judge(tester, invocation.series, question.pattern, question.repeat)
        text = f"{reading.verdict}: {reading.reason}\nresults: {folder}"
        plain(invocation.console, text)
    sys.exit(step_status(reading.verdict, find_fix=find_fix))


def step_status(verdict: Presence, *, find_fix: bool) -> int:
    """What `git bisect run` is told."""
    if verdict is Presence.UNKNOWN:
        return _SKIP
    return _BAD if (verdict is Presence.PRESENT) is not find_fix else _GOOD


@contextmanager
def _aborting() -> Iterator[None]:
    """git takes a status below 128 for a verdict: what is none must not look like one."""
    try:
        yield
    except click.ClickException as error:
        error.show()
    except (TestbedError, OSError) as error:
        click.echo(f"testbed: {type(error).__name__}: {error}", err=True)
    except (click.exceptions.Exit, click.Abort):
        raise
    except Exception:
        traceback.print_exc()
    else:
        return
    sys.exit(_ABORT)
