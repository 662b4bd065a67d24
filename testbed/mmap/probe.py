# SPDX-License-Identifier: GPL-2.0
"""Run scripts in the guest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from testbed.deadline import Deadline
from testbed.errors import GuestTimeout, ProbeKilled, ProbeProtocolError, TestbedError
from testbed.guest.session import Result, Session
from testbed.mmap.observation import Fact, HookEvent, Observation, Vma, only, parse_observation
from testbed.mmap.path import TOP, HookPath, open_path
from testbed.mmap.plan import NOTHING, Plan
from testbed.mmap.script import Script

PROGRAM = "/bin/probe"

# Register no area for restartable sequences. The kernel kills a process whose area it cannot write
# (kernel/rseq.c, rseq_slowpath_update_usr()): after a fork, if the failed allocation was the copy
# of that page.
_ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.pthread.rseq=0"}

# A sweep of a fork prints its facts a hundred times.
_OUTPUT = 8 << 20  # bytes

# A script takes milliseconds; this limit is for an emulated guest on a busy host.
_SECONDS = 60.0


@dataclass(frozen=True)
class Mapped:
    """One mapping through a path: its VMA, its hooks, and the content of each page."""

    made: Fact
    events: list[HookEvent]  # without the faults of the read
    seen: Fact  # /proc/self/maps and smaps, before the read
    read: Fact

    @property
    def vma(self) -> Vma:
        return self.seen.vma

    @property
    def descriptor(self) -> HookEvent:
        """The descriptor on entry to the hook, which must have run once."""
        return only(self.events, "prepare")


@dataclass
class Prober:
    """The guest program in one guest. It keeps its observations as evidence."""

    session: Session
    observations: list[Observation] = field(default_factory=list)
    scripts: dict[int, str] = field(default_factory=dict)  # by pid

    def make_ready(self) -> None:
        """Start a process that waits for its script, as after each run.

        Otherwise the first run would change the guest's memory.
        """
        self.session.make_ready([PROGRAM], env=_ENVIRONMENT)

    def run(self, script: Script) -> Observation:
        """Run a script in a fresh process.

        Raises:
            ProbeKilled: the kernel killed the process.
            ProbeProtocolError: the output cannot be parsed, or is cut off.
            GuestTimeout, GuestLost, SessionError: from the session.
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

    def run_each(
        self, scripts: Sequence[Script], seconds: float
    ) -> list[Observation | TestbedError]:
        """Run scripts one after the other, each in a fresh process, in one exchange.

        The result of a script that was not observed to its end is its error: GuestTimeout after
        `seconds`, ProbeKilled, ProbeProtocolError.

        Raises: GuestLost, SessionError, KernelSplat, from the session.
        """
        results = self.session.run_each(
            [PROGRAM],
            [script.text.encode() for script in scripts],
            env=_ENVIRONMENT,
            seconds=seconds * self.session.slowdown,
            limit=_OUTPUT,
        )
        return [self._seen(*pair) for pair in zip(scripts, results, strict=True)]

    def _seen(self, script: Script, result: Result | GuestTimeout) -> Observation | TestbedError:
        if isinstance(result, GuestTimeout):
            return result
        self.scripts[result.pid] = script.text
        killed = result.signal is not None
        try:
            return parse_observation(script, result.stdout.decode(), str(result), killed=killed)
        except (ProbeKilled, ProbeProtocolError) as error:
            return error

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
        """Map once through a path, and observe the result."""
        script = path_script(path, plan, outer=outer)
        made = script.map("m", TOP, pages=pages, offset=offset, prot=prot, flags=flags)
        log = script.hooklog()
        maps = script.maps("m")
        read = script.read("m")
        facts = self.run(script)
        return Mapped(facts[made], facts[log].events, facts[maps], facts[read])


def path_script(path: HookPath, plan: Plan = NOTHING, *, outer: Plan = NOTHING) -> Script:
    """Begin a script: clear the hook log, and open the files of a path."""
    script = Script()
    script.step("clearlog")
    open_path(script, path, plan, outer=outer)
    return script
