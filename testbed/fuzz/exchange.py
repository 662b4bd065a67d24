# SPDX-License-Identifier: GPL-2.0
"""Run a program on several paths: one exchange with a guest, and the guest's ledger after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from testbed.errors import (
    GuestError,
    GuestTimeout,
    ProbeProtocolError,
    SessionError,
    TestbedError,
)
from testbed.fuzz.faults import allow_faults
from testbed.fuzz.kernelfile import Ways
from testbed.fuzz.program import Program
from testbed.kernel.build import Kernel
from testbed.kernel.kcov import has_coverage
from testbed.lab.guest import Guest
from testbed.mmap.execution import Execution, Steps, execution_script
from testbed.mmap.observation import Observation
from testbed.mmap.path import MODULE, HookPath
from testbed.mmap.script import Script

# A program takes milliseconds on each path. One that takes longer than this hangs.
SECONDS = 5.0


@dataclass(frozen=True)
class Ran:
    """A program, and what was seen of it."""

    program: Program
    executions: Mapping[HookPath, Execution] = field(default_factory=dict)
    failures: Mapping[HookPath, TestbedError] = field(default_factory=dict)  # killed programs
    aftermath: TestbedError | None = None  # a splat, a lost guest, an unbalanced ledger
    refused: str = ""  # why the testbed's own programs do not take it: it says nothing
    ways: Ways | None = None  # to the kernel's own file on which it ran
    observed: Mapping[str, Observation] = field(default_factory=dict)  # there, by way

    @property
    def reached(self) -> Iterator[tuple[str, frozenset[str]]]:
        """The code that it reached, by path or way, if the kernel has KCOV."""
        for path, execution in self.executions.items():
            yield path, execution.seen.reached
        for way, seen in self.observed.items():
            yield f"{self.ways} {way}", seen.reached


def enter(guest: Guest) -> None:
    """Make a fresh guest ready for programs."""
    guest.keeps_modules = True
    guest.load_shared(MODULE)
    allow_faults(guest)


@cache
def is_covered(kernel: Kernel) -> bool:
    """Whether programs report which code of the kernel they reach."""
    names = ("KCOV", "FAULT_INJECTION", "KCOV_INSTRUMENT_ALL")
    return has_coverage({name: kernel.symbol(name) for name in names})


def run_program(guest: Guest, program: Program, paths: Sequence[HookPath]) -> Ran:
    """Run a program on each of `paths`, each in a fresh process.

    Raises:
        InfraError: the host failed, and the guest's kernel is clean.
    """
    covered = is_covered(guest.prepared.kernel)
    scripts = [execution_script(program.scenario, path, covered=covered) for path in paths]
    guest.begin(program.key)
    try:
        seen = guest.prober.run_each([script for script, _ in scripts], SECONDS)
    except GuestError as error:
        return Ran(program, aftermath=ended(guest, error))
    executions: dict[HookPath, Execution] = {}
    failures: dict[HookPath, TestbedError] = {}
    refused = ""
    for path, (script, steps), found in zip(paths, scripts, seen, strict=True):
        if isinstance(found, ProbeProtocolError):
            refused = refused or found.message
        elif isinstance(found, TestbedError):
            failures[path] = found
        elif why := _refusal(script, steps, found):
            refused = why
        else:
            executions[path] = Execution(program.scenario, path, steps, found)
    return Ran(program, executions, failures, ended(guest, None), refused)


def _refusal(script: Script, steps: Steps, seen: Observation) -> str:
    """Return why the modules refuse the program, or an empty string."""
    for number in range(steps.env, steps.ready + 1):
        if seen[number].error:
            return f"{script.lines[number - 1]}: {seen[number].error}"
    return ""


def ended(guest: Guest, trouble: GuestError | None) -> TestbedError | None:
    """Take the guest back. Return what its kernel log or its ledger shows, else the trouble.

    After a hang the guest is given up: what holds the lock still runs.
    """
    if isinstance(trouble, GuestTimeout):
        guest.give_up(trouble.message)
    try:
        guest.finish()
    except GuestError as error:
        guest.ledger = None  # it was not read
        return error
    except (SessionError, ProbeProtocolError):
        if trouble is None:
            raise
    return trouble
