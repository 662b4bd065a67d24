# SPDX-License-Identifier: GPL-2.0
"""`testbed bisect-step`: one kernel, judged for `git bisect run`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from testbed.mutants.mutation import MUTANTS
from testbed.process import run

Command = Callable[..., list[str]]

TESTS = "test_descriptor and stack and range"
DEFECT = ("--series", str(MUTANTS / "U8.patch"))


@pytest.mark.parametrize(
    ("words", "status", "shown"),
    [
        ((), 0, "absent: "),
        (DEFECT, 1, "present: test_start_and_end_are_the_final_range: "),
        ((*DEFECT, "--find-fix"), 0, "present: "),
        ((*DEFECT, "--symptom", "KASAN"), 125, "untestable: another failure: "),
        (("--series", "nowhere"), 255, ""),
    ],
    ids=["good", "bad", "broken", "another", "usage"],
)
def test_bisect_step_exits_as_git_bisect_run_expects(
    command: Command, words: tuple[str, ...], status: int, shown: str
) -> None:
    done = run(command("bisect-step", *words, TESTS), ok=range(256))
    assert (done.status, shown in done.stdout) == (status, True), done.stdout + done.stderr
