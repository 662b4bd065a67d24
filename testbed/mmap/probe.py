# SPDX-License-Identifier: GPL-2.0
"""Runs scripts in the guest."""

from __future__ import annotations

from dataclasses import dataclass, field

from testbed.deadline import Deadline
from testbed.guest.session import Session
from testbed.mmap.observation import Fact, HookEvent, Observation, Vma, only, parse_observation
from testbed.mmap.path import TOP, HookPath, open_path
from testbed.mmap.plan import NOTHING, Plan
from testbed.mmap.script import Script

PROGRAM = "/bin/probe"

# The kernel kills who has an area for restartable sequences that it cannot write (kernel/rseq.c):
# so after a fork, when the copy of that page is the allocation that fails.
_ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.pthread.rseq=0"}

# A sweep of a fork looks at everything a hundred times.
_OUTPUT = 8 << 20  # bytes

# A script is milliseconds of work; this is for an emulated guest on a busy host.
_SECONDS = 60.0


@dataclass(frozen=True)
class Mapped:
    """One mapping that was made through a path, looked at, and read page by page."""

    made: Fact
    events: list[HookEvent]  # up to and without the faults of reading it
    seen: Fact  # /proc/self/maps and smaps, before it was read
    read: Fact

    @property
    def vma(self) -> Vma:
        return self.seen.vma

    @property
    def descriptor(self) -> HookEvent:
        """The descriptor on entry of the hook, which must have run once."""
        return only(self.events, "prepare")


@dataclass
class Prober:
    """The guest program in one guest; keeps what it observed, as evidence."""

    session: Session
    observations: list[Observation] = field(default_factory=list)
    scripts: dict[int, str] = field(default_factory=dict)  # what each process was given

    def make_ready(self) -> None:
        """Have a process that waits for its script, as there is one after each run.

        Without it the first run would change what the guest has in memory.
        """
        self.session.make_ready([PROGRAM], env=_ENVIRONMENT)

    def run(self, script: Script) -> Observation:
        """Run a script in a fresh process.

        Raises:
            ProbeKilled: the kernel killed the process.
            ProbeProtocolError: the output does not parse, or is cut short.
            GuestTimeout, GuestLost, SessionError: as the session raises them.
        """
        result = self.session.run(
            [PROGRAM],
            stdin=script.text.encode(),
            env=_ENVIRONMENT,
            deadline=Deadline.after(_SECONDS * self.session.slowdown),
            limit=_OUTPUT,
            again=True,
        )
        self.scripts[result.pid] = script.text
        killed = result.signal is not None
        observation = parse_observation(script, result.stdout.decode(), str(result), killed=killed)
        self.observations.append(observation)
        return observation

    def map(
        self,
        path: HookPath,
        plan: Plan = NOTHING,
        *,
        outer: Plan = NOTHING,
        pages: int = 4,
        offset: int = 0,
        prot: str = "rw",
        flags: str = "shared",
    ) -> Mapped:
        """Map once through a path, and look at what came of it."""
        script = path_script(path, plan, outer=outer)
        made = script.map("m", TOP, pages=pages, offset=offset, prot=prot, flags=flags)
        log = script.hooklog()
        maps = script.maps("m")
        read = script.read("m")
        facts = self.run(script)
        return Mapped(facts[made], facts[log].events, facts[maps], facts[read])


def path_script(path: HookPath, plan: Plan = NOTHING, *, outer: Plan = NOTHING) -> Script:
    """A script that begins with an empty hook log and the files of a path."""
    script = Script()
    script.step("clearlog")
    open_path(script, path, plan, outer=outer)
    return script
