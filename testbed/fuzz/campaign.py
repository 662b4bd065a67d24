# SPDX-License-Identifier: GPL-2.0
"""A campaign: programs are drawn, run, judged and kept until the time is over."""

from __future__ import annotations

import dataclasses
import math
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

from testbed.deadline import Deadline
from testbed.errors import GuestError
from testbed.fuzz.alone import Alone, Finding
from testbed.fuzz.corpus import Corpus
from testbed.fuzz.drawing import Drawn, draw, mutate
from testbed.fuzz.exchange import Ran
from testbed.fuzz.faults import failed_allocations, may_be_killed
from testbed.fuzz.judge import Deviation
from testbed.fuzz.kernelfile import KernelFile, Ways
from testbed.fuzz.kernelfiles import choose_files, kernel_files
from testbed.fuzz.known import KnownDefect, safe_paths, unexplained
from testbed.fuzz.leftout import LeftOut, fields_of
from testbed.fuzz.program import Program
from testbed.fuzz.subject import all_deviations, make_ready, run_on
from testbed.lab.guest import Guest
from testbed.lab.lab import Lab
from testbed.mmap.path import HookPath
from testbed.settings import Isolation

# A guest gets another clone after this many programs, because what it has leaked adds up.
_PROGRAMS_PER_GUEST = 400

# This share of guests has a file of the kernel's own, for this many programs.
_FILES = 0.2
_PROGRAMS_PER_FILE = 15

# This share of programs comes from the corpus.
_MUTATED = 0.5


@dataclass(frozen=True)
class Profile:
    """How long a campaign takes."""

    seconds: float
    shrink_seconds: float  # for each finding
    programs: float = math.inf  # the most programs


PROFILES = {"smoke": Profile(60.0, 15.0), "hours": Profile(2 * 3600.0, 180.0)}


@dataclass
class Tally:
    """What a campaign on one architecture did."""

    programs: int = 0
    executions: int = 0
    guests: int = 0
    damaged: int = 0  # guests
    seconds: float = 0.0  # with guests that run, without confirming and shrinking
    new: int = 0  # programs that reached something new
    refused: Counter[str] = field(default_factory=Counter)
    failed: int = 0  # allocations that were made to fail
    killed: int = 0  # processes that needed more memory than they had
    left_out: int = 0  # executions that would damage the guest, as is known
    on_files: Counter[str] = field(default_factory=Counter)  # executions, by the kernel's own file
    unserved: list[str] = field(default_factory=list)  # files that no guest could serve, and why
    unsteady: list[str] = field(default_factory=list)  # titles that did not show again
    repeated: Counter[str] = field(default_factory=Counter)  # by title

    @property
    def per_hour(self) -> int:
        return round(self.executions / self.seconds * 3600) if self.seconds else 0


@dataclass(frozen=True)
class Suspect:
    """A deviation, before it has shown again."""

    drawn: Drawn
    deviation: Deviation
    seen: float  # the time
    file: KernelFile | None


@dataclass
class Campaign:
    """A campaign on one architecture. `keep` is called for each finding.

    Each lab has one guest at a time. The guests run side by side up to a suspect, which is then
    settled alone.
    """

    lab: Lab
    arch: str
    profile: Profile
    known: Sequence[KnownDefect]
    corpus: Corpus
    rng: random.Random
    keep: Callable[[Finding], None]
    only: Sequence[str] = ()  # names of files of the kernel's own: on no other subject
    more_labs: Sequence[Lab] = ()
    tally: Tally = field(default_factory=Tally)
    reached: set[str] = field(default_factory=set)  # code, as an observation names it
    found: list[Finding] = field(default_factory=list)
    _titles: set[str] = field(default_factory=set)
    _files: list[KernelFile] = field(default_factory=list)  # those that guests can serve
    _suspects: list[Suspect] = field(default_factory=list)
    _left_out: list[LeftOut] = field(default_factory=list)
    _idle: bool = False  # all programs were left out in the last guest
    _replay: deque[Drawn] = field(default_factory=deque)
    _lock: threading.RLock = field(default_factory=threading.RLock)  # not held while programs run

    def run(self) -> None:
        """Run programs until the time is over. The programs of the corpus come first."""
        version = self.lab.prepared(self.arch).kernel.version
        self._files = choose_files(self.only, kernel_files(self.lab.prepared(self.arch)))
        self.corpus.load(self.lab.ctx.progress.note)
        self._replay.extend(self.corpus.drawn)
        start, until = time.monotonic(), Deadline.after(self.profile.seconds)
        total = self.profile.seconds if math.isfinite(self.profile.seconds) else None
        with (
            self.lab.ctx.progress.step(f"fuzz {self.arch}", total) as step,
            closing(Alone(self.lab, self.arch, version, self.known)) as alone,
        ):
            while not self._is_over(until):
                self._use_guests(until, version, lambda: step.update(time.monotonic() - start))
                self._settle(alone, start)

    def _is_over(self, until: Deadline) -> bool:
        served = self._files or not self.only
        done = until.expired or self.tally.programs >= self.profile.programs
        return done or not served or self._idle or self.lab.ended

    def _use_guests(self, until: Deadline, version: str, beat: Callable[[], None]) -> None:
        """Run programs in a clone of each lab."""
        labs = (self.lab, *self.more_labs)
        with ThreadPoolExecutor(len(labs), thread_name_prefix="guest") as pool:
            uses = [pool.submit(self._use_guest, lab, until, version, beat) for lab in labs]
        seconds = [use.result() for use in uses]
        self.tally.seconds += sum(seconds) / len(seconds)

    def _use_guest(
        self, lab: Lab, until: Deadline, version: str, beat: Callable[[], None]
    ) -> float:
        """Run programs in one clone, up to a suspect, damage, or the end of the time.

        Return the seconds.
        """
        with self._lock:
            if self._is_over(until):
                return 0.0
            file = self._choose_file()
        with lab.guest(self.arch, Isolation.CLONE, disks=False, later=1) as guest:
            try:
                ways = make_ready(guest, file)
            except GuestError as error:
                self._give_up(guest, file, error)
                return 0.0
            start, before = time.monotonic(), self.tally.programs
            for _ in range(_PROGRAMS_PER_FILE if file else _PROGRAMS_PER_GUEST):
                if self._is_over(until) or not guest.usable or self._suspects:
                    break
                self._try(guest, version, file, ways)
                beat()
            with self._lock:
                self._idle = self.tally.programs == before
                self.tally.damaged += not guest.usable
            return time.monotonic() - start

    def _choose_file(self) -> KernelFile | None:
        """Return the file of the next guest. The first guest has none, nor one for a replay."""
        self.tally.guests += 1
        if self.only:
            return self._files[(self.tally.guests - 1) % len(self._files)]
        first = self.tally.guests == 1
        wanted = not first and not self._replay and self.rng.random() < _FILES
        return self.rng.choice(self._files) if wanted and self._files else None

    def _give_up(self, guest: Guest, file: KernelFile | None, error: GuestError) -> None:
        """Leave a file out, which a guest cannot serve."""
        if file is None:
            raise error
        guest.give_up(error.message)
        with self._lock:
            if file in self._files:
                self._files.remove(file)
                self.tally.unserved.append(f"{file}: {error.message}")

    def _try(self, guest: Guest, version: str, file: KernelFile | None, ways: Ways | None) -> None:
        with self._lock:
            drawn = self._next()
            subject = ways or (self.paths_of(drawn.program) if drawn else None)
        if drawn is None or not subject:
            return
        ran = run_on(guest, drawn.program, subject)
        with self._lock:
            self._take(drawn, ran, version, file)
            if not guest.usable and not self._suspects:
                self.leave_out(drawn.program)

    def _take(self, drawn: Drawn, ran: Ran, version: str, file: KernelFile | None) -> None:
        """Count what ran, keep the program if it reached something new, and judge it."""
        self.tally.programs += 1
        self.tally.failed += sum(map(failed_allocations, ran.executions.values()))
        self.tally.killed += sum(may_be_killed(ran.program, each) for each in ran.failures.values())
        done = len(ran.executions) + len(ran.failures) + len(ran.observed)
        self.tally.executions += done
        if file is not None:
            self.tally.on_files[file.name] += done
        if ran.refused:
            self.tally.refused[ran.refused] += 1
            return
        self.tally.new += self.corpus.consider(drawn, ran)
        self.reached.update(place for _, places in ran.reached for place in places)
        self._examine(drawn, ran, version, file)

    def _next(self) -> Drawn | None:
        if self._replay:
            return self._replay.popleft()
        if self.corpus.drawn and self.rng.random() < _MUTATED:
            return mutate(self.rng, self.rng.choice(self.corpus.drawn))
        return draw(self.rng, faults=self.corpus.faults)

    def paths_of(self, program: Program) -> list[HookPath]:
        """Return the paths of a program on which it damages nothing, as far as is known."""
        safe = safe_paths(program, self.known)
        paths = [
            path for path in safe if not any(each.covers(program, path) for each in self._left_out)
        ]
        self.tally.left_out += len(program.paths) - len(paths)
        return paths

    def _examine(self, drawn: Drawn, ran: Ran, version: str, file: KernelFile | None) -> None:
        """Suspect the first deviation that nothing explains. Those behind it may follow from it."""
        found = unexplained(ran.program, all_deviations(ran, version), self.known)
        titles = {each.title for each in found}
        if old := titles & self._titles:
            self.tally.repeated.update(old)
        elif found:
            self._suspects.append(Suspect(drawn, found[0], time.monotonic(), file))

    def leave_out(self, program: Program) -> None:
        """Leave out on all paths what damages a guest again, though it has been reported."""
        fields = fields_of(program)
        reported = (fields_of(found.smallest) for found in self.found if found.kills)
        known = next((each for each in reported if each <= fields), fields)
        self._left_out.append(LeftOut(None, known))

    def _settle(self, alone: Alone, start: float) -> None:
        for suspect in self._suspects:
            title = suspect.deviation.title
            if title in self._titles:  # two guests saw it
                self.tally.repeated[title] += 1
                continue
            self._titles.add(title)
            alone.file = suspect.file
            found = alone.settle(suspect.drawn, suspect.deviation, self.profile.shrink_seconds)
            if found is None:
                self.tally.unsteady.append(title)
                continue
            found = dataclasses.replace(
                found, seconds=suspect.seen - start, executions=self.tally.executions
            )
            self.found.append(found)
            if found.kills:
                path = found.deviation.path
                self._left_out.append(LeftOut(path, fields_of(found.smallest)))
            self.keep(found)
        self._suspects.clear()
        alone.close()
