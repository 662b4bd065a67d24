# SPDX-License-Identifier: GPL-2.0
"""`testbed bisect-step`: judges one kernel for `git bisect run`."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from testbed.bisect.question import Question
from testbed.bisect.symptom import Presence
from testbed.bisect.tester import KernelTester, judge
from testbed.cli.invocation import opened
from testbed.cli.options import kernel_options, question_options
from testbed.errors import TestbedError
from testbed.results.store import kept_dir

# The exit statuses of a script for `git bisect run` (git-bisect(1)).
_GOOD, _BAD, _SKIP, _ABORT = 0, 1, 125, 255


class StepCommand(click.Command):
    """Exits with 255 after an error, which ends `git bisect run`."""

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
    """Judge one kernel for `git bisect run`.

    Unless --kernel names another one, the kernel is the git tree in the current folder. It is bad
    if it shows the symptom. By default the symptom is any test that fails. TEST is a test's name as
    a report prints it, or an expression as for pytest -k.

    Exit status: 0 good, 1 bad, 125 untestable, 255 the caller or the host is at fault. --find-fix
    swaps 0 and 1, as the terms old and new of git bisect require.

    \b
    Examples:
      git bisect run testbed bisect-step --arch x86_64 test_descriptor
      testbed bisect-step --kernel tree:~/linux --symptom "KASAN" "stack and fields"
    """
    question = Question.of(tests, pattern, repeat, find_fix=find_fix)
    options["kernel"] = options["kernel"] or "tree:."
    with (
        opened(options) as invocation,
        kept_dir(invocation.ctx.settings.results_dir) as folder,
    ):
        tester = KernelTester(invocation.ctx, question.tests, folder)
        reading = judge(tester, invocation.series, question.pattern, question.repeat)
        invocation.show([f"{reading.verdict}: {reading.reason}"])
        if any(folder.iterdir()):
            invocation.show([f"results: {folder}"])
    sys.exit(step_status(reading.verdict, find_fix=find_fix))


def step_status(verdict: Presence, *, find_fix: bool) -> int:
    """Return the exit status for `git bisect run`."""
    if verdict is Presence.UNKNOWN:
        return _SKIP
    return _BAD if (verdict is Presence.PRESENT) is not find_fix else _GOOD


@contextmanager
def _aborting() -> Iterator[None]:
    """Exit with 255 on an error: git takes every status below 128 for a verdict."""
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
