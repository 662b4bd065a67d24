# SPDX-License-Identifier: GPL-2.0
"""Programs that run alone: a suspect is confirmed on a pristine clone, and shrunk."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from testbed.deadline import Deadline
from testbed.fuzz.drawing import Drawn, shrink
from testbed.fuzz.exchange import Ran
from testbed.fuzz.judge import Deviation
from testbed.fuzz.kernelfile import KernelFile, Ways
from testbed.fuzz.known import KnownDefect, unexplained
from testbed.fuzz.program import Program
from testbed.fuzz.subject import all_deviations, make_ready, run_on
from testbed.lab.guest import Guest
from testbed.lab.lab import Lab
from testbed.mmap.oracle import reference_path
from testbed.mmap.path import HookPath
from testbed.settings import Isolation

# The modules' paths on which a program runs; none for a file of the kernel's own.
Paths = Sequence[HookPath]

_BINARY = "/tmp/reproducer"
_BINARY_SECONDS = 90.0


@dataclass(frozen=True)
class Finding:
    """A deviation that a program shows when it runs alone on a pristine clone."""

    deviation: Deviation
    drawn: Drawn  # the program that showed it first
    smallest: Program
    ran: Ran  # of the smallest program
    kills: bool  # it damages the guest
    arch: str
    version: str  # of the kernel
    seconds: float = 0.0  # from the start of the campaign
    executions: int = 0  # of the campaign before it

    @property
    def paths(self) -> tuple[HookPath, ...]:
        """The paths that show it, the reference first."""
        return tuple(self.ran.executions) or tuple(self.ran.failures) or self.smallest.paths

    @property
    def has_c_test(self) -> bool:
        """Whether it has a test in C: mmap_stack.ko has the files that its program maps."""
        return self.ran.ways is None

    @property
    def about(self) -> Iterator[str]:
        """What it is, in lines."""
        deviation = self.deviation
        yield deviation.title
        yield f"on {deviation.path or self.ran.ways or 'all paths'}: {deviation.headline}"
        if deviation.guarantees:
            numbers = ", ".join(map(str, deviation.guarantees))
            yield f"guarantees: {numbers} (testbed/mmap/guarantees.py)"
        yield f"paths: {', '.join(self.ran.ways.opening if self.ran.ways else self.paths)}"
        yield f"kernel: {self.version}, {self.arch}"


@dataclass
class Alone:
    """Runs single programs, in one clone as long as it is healthy. Close it at the end."""

    lab: Lab
    arch: str
    version: str
    known: Sequence[KnownDefect]
    file: KernelFile | None = None  # on which the programs run; None: the modules' paths
    _ways: Ways | None = None  # to the file, in the present guest
    _stack: ExitStack = field(default_factory=ExitStack)
    _guest: Guest | None = None

    def fresh(self) -> None:
        """Take a pristine clone for the next program."""
        self._stack.close()
        guest = self._stack.enter_context(
            self.lab.guest(self.arch, Isolation.CLONE, disks=False, later=0)
        )
        self._ways = make_ready(guest, self.file)
        self._guest = guest

    def close(self) -> None:
        self._stack.close()
        self._guest = None

    def run(self, program: Program, subject: Paths) -> tuple[Ran, bool]:
        """Run a program. Return what was seen, and whether it damaged the guest.

        The ways to a file of the kernel's own are those in the guest that it runs in.
        """
        if self._guest is None or not self._guest.usable:
            self.fresh()
        assert self._guest is not None
        ran = run_on(self._guest, program, self._ways or subject)
        return ran, not self._guest.usable

    def shows(self, program: Program, title: str, subject: Paths) -> Deviation | None:
        """Return the deviation of that title that a program shows, or None."""
        ran, _ = self.run(program, subject)
        found = unexplained(ran.program, all_deviations(ran, self.version), self.known)
        return next((each for each in found if each.title == title), None)

    def run_binary(self, content: bytes) -> str:
        """Run a program of the host's on a pristine clone. Return what it printed."""
        self.fresh()
        assert self._guest is not None
        session = self._guest.session
        session.put(content, _BINARY, mode=0o755)
        try:
            until = Deadline.after(_BINARY_SECONDS * session.slowdown)
            return session.run([_BINARY], deadline=until).out
        finally:
            self._guest.give_up("a program of the host's ran")

    def settle(self, drawn: Drawn, suspect: Deviation, budget: float) -> Finding | None:
        """Confirm a suspect on a pristine clone, and shrink its program for `budget` seconds.

        Return None if it does not show again.
        """
        subject = self._narrowed(drawn.program, suspect)
        if subject is None:
            return None
        smallest = self._shrunk(drawn, suspect.title, subject, Deadline.after(budget))
        self.fresh()
        ran, damaged = self.run(smallest, subject)
        found = unexplained(ran.program, all_deviations(ran, self.version), self.known)
        same = [each for each in found if each.title == suspect.title]
        if not same:
            return None
        path = None if self._ways else same[0].path or subject[-1]
        deviation = dataclasses.replace(same[0], path=path)
        return Finding(deviation, drawn, smallest, ran, damaged, self.arch, self.version)

    def _narrowed(self, program: Program, suspect: Deviation) -> Paths | None:
        """Return the smallest subject on which a suspect shows again, or None."""
        candidates: list[Paths] = list(_candidates(program, suspect))
        found: Paths | None = None
        for subject in [()] if self.file else candidates:
            self.fresh()
            shown = self.shows(program, suspect.title, subject) is not None
            if found is not None and shown:
                return subject
            if found is None and not shown:
                return None
            found = found or subject
        return found

    def _shrunk(self, drawn: Drawn, title: str, subject: Paths, until: Deadline) -> Program:
        def shows(program: Program) -> bool:
            fits = self.file is not None or set(subject) <= set(program.paths)
            return fits and not until.expired and bool(self.shows(program, title, subject))

        return shrink(drawn, shows)


def _candidates(program: Program, suspect: Deviation) -> Iterator[tuple[HookPath, ...]]:
    """Yield the set of paths that must show a suspect, then those that may show it alone."""
    if suspect.path is None:
        yield program.paths
        yield from ((path,) for path in program.paths)
    else:
        reference = reference_path(suspect.path, program.paths)
        needed = [reference] if suspect.where and reference else []
        yield (*needed, suspect.path)
