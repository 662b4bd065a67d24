# SPDX-License-Identifier: GPL-2.0
"""What programs run on: paths of mmap_stack.ko, or one of the kernel's own stacks."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.fuzz.exchange import Ran, enter, run_program
from testbed.fuzz.judge import Deviation, deviations
from testbed.fuzz.program import Program
from testbed.fuzz.stacked import deviations_on_stack, enter_stack, run_on_stack
from testbed.intree.stacks import FileStack
from testbed.lab.guest import Guest
from testbed.mmap.path import HookPath

Subject = Sequence[HookPath] | FileStack


def make_ready(guest: Guest, stack: FileStack | None) -> None:
    """Make a fresh guest ready for programs on a stack, or on the modules' paths."""
    if stack is None:
        enter(guest)
    else:
        enter_stack(guest, stack)


def run_on(guest: Guest, program: Program, subject: Subject) -> Ran:
    """Run a program. Errors: run_program()."""
    if isinstance(subject, FileStack):
        return run_on_stack(guest, program, subject)
    return run_program(guest, program, subject)


def all_deviations(ran: Ran, version: str) -> list[Deviation]:
    """Return all deviations of a program, whatever it ran on."""
    return deviations_on_stack(ran) if ran.stack else deviations(ran, version)
