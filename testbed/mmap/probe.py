# SPDX-License-Identifier: GPL-2.0
"""Run scripts in the guest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from testbed.deadline import Deadline
from testbed.errors import ProbeKilled, ProbeProtocolError, TestbedError
from testbed.guest.session import Session
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
        """Run scripts one after the other, each in a process of its own, in one exchange.

        The result of a script that was not observed to its end is its error: ProbeKilled or
        ProbeProtocolError. `seconds` are for all of them.

        Raises:
            GuestTimeout, GuestLost, SessionError: from the session.
        """
        text = "next\n".join(script.text for script in scripts)
        if len(scripts) == 1:
            text += "next\n"
        result = self.session.run(
            [PROGRAM],
            stdin=text.encode(),
            env=_ENVIRONMENT,
            deadline=Deadline.after(seconds * self.session.slowdown),
            limit=_OUTPUT,
            again=True,
        )
        self.scripts[result.pid] = text
        parts = zip(scripts, _parts(result.stdout.decode()), strict=False)
        found = [_part(script, output, end) for script, (output, end) in parts]
        lost = ProbeProtocolError if result.signal is None else ProbeKilled
        missing = len(scripts) - len(found)
        return [
            *found,
            *(lost(f"the guest program ended early ({result})") for _ in range(missing)),
        ]

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


_END = re.compile(r'^{"part":\d+,"(?P<how>\w+)":(?P<number>\d+)}\n', re.MULTILINE)


def _parts(output: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield the output of each script, and the line that reports its end."""
    start = 0
    for end in _END.finditer(output):
        yield output[start : end.start()], end
        start = end.end()


def _part(script: Script, output: str, end: re.Match[str]) -> Observation | TestbedError:
    killed = end["how"] == "signal"
    try:
        return parse_observation(script, output, f"{end['how']} {end['number']}", killed=killed)
    except (ProbeKilled, ProbeProtocolError) as error:
        return error


def path_script(path: HookPath, plan: Plan = NOTHING, *, outer: Plan = NOTHING) -> Script:
    """Begin a script: clear the hook log, and open the files of a path."""
    script = Script()
    script.step("clearlog")
    open_path(script, path, plan, outer=outer)
    return script
