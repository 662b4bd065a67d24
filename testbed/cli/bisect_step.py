# SPDX-License-Identifier: GPL-2.0
"""`testbed bisect-step`: one kernel judged for `git bisect run`."""

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
from testbed.results.store import new_run_dir

# The exit statuses of a script for `git bisect run` (git-bisect(1)).
_GOOD, _BAD, _SKIP, _ABORT = 0, 1, 125, 255


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
        invocation.show((f"{reading.verdict}: {reading.reason}", f"results: {folder}"))
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
