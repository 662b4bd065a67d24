# SPDX-License-Identifier: GPL-2.0
"""What programs run on: paths of mmap_stack.ko, or a file of the kernel's own."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.fuzz.exchange import Ran, enter, run_program
from testbed.fuzz.judge import Deviation, deviations
from testbed.fuzz.kernelfile import KernelFile, Ways
from testbed.fuzz.program import Program
from testbed.fuzz.ways import deviations_on_ways, run_on_ways
from testbed.lab.guest import Guest
from testbed.mmap.path import HookPath

Subject = Sequence[HookPath] | Ways


def make_ready(guest: Guest, file: KernelFile | None) -> Ways | None:
    """Make a fresh guest ready for programs on a file, or on the modules' paths, until it ends.

    Raises:
        GuestError: the guest's kernel cannot serve the file.
    """
    if file is None:
        enter(guest)
        return None
    ways = file.ready(guest)
    guest.endings.clear()
    guest.ledger = None
    return ways


def run_on(guest: Guest, program: Program, subject: Subject) -> Ran:
    """Run a program. Errors: run_program()."""
    if isinstance(subject, Ways):
        return run_on_ways(guest, program, subject)
    return run_program(guest, program, subject)


def all_deviations(ran: Ran, version: str) -> list[Deviation]:
    """Return all deviations of a program, whatever it ran on."""
    return deviations_on_ways(ran) if ran.ways else deviations(ran, version)
