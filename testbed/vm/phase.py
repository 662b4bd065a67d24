# SPDX-License-Identifier: GPL-2.0
"""The state machine of a VM's life: what console, monitor and process together mean.

Pure: a snapshot in, a phase out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from testbed.vm.qmp import Event

# Printed by the image's /init.
_READY = re.compile(r"(?:^|\] )testbed: ready$", re.MULTILINE)

_PANIC = re.compile(r"Kernel panic - not syncing: (?P<cause>.*)")
_PANIC_END = "end Kernel panic - not syncing"

# Where the text that belongs to a panic may begin, some lines before it.
_PREAMBLE = re.compile(r"\bBUG: |\bOops\b|Internal error: |Unable to handle kernel")
_PREAMBLE_LINES = 80


class Phase(StrEnum):
    """How far a VM is."""

    BOOTING = "booting"
    READY = "userspace is up"
    ENDING = "the guest is ending"
    PANICKED = "the guest kernel panicked"
    RESET = "the guest reset itself"
    POWERED_OFF = "the guest powered itself off"
    STOPPED = "QEMU stopped the guest"
    QEMU_DIED = "QEMU ended by itself"

    @property
    def is_end(self) -> bool:
        """Whether nothing more can come of this VM."""
        return self not in (Phase.BOOTING, Phase.READY, Phase.ENDING)


# The SHUTDOWN event's reasons that are the guest's own doing; any other is QEMU's end.
_END_BY_REASON = {
    "guest-reset": Phase.RESET,
    "guest-shutdown": Phase.POWERED_OFF,
    "guest-panic": Phase.PANICKED,
}


@dataclass(frozen=True)
class Snapshot:
    """What is known of a VM at one moment."""

    console: str
    events: tuple[Event, ...] = ()
    gone: bool = False  # console and monitor have both been closed by QEMU


def judge(snapshot: Snapshot) -> Phase:
    """The phase that a VM is in. What the guest said counts before what QEMU made of it.

    Console and monitor are read by two threads: only when both have come to
    their end is it known that there was no panic before a reset.
    """
    shutdown = [event.reason for event in snapshot.events if event.name == "SHUTDOWN"]
    panicked = bool(find_panic(snapshot.console))
    if panicked and _PANIC_END in snapshot.console:
        return Phase.PANICKED
    if snapshot.gone:
        return Phase.PANICKED if panicked else _ended_by(shutdown)
    if panicked or shutdown:
        return Phase.ENDING
    if snapshot.events and snapshot.events[-1].name == "STOP":
        return Phase.STOPPED
    return Phase.READY if _READY.search(snapshot.console) else Phase.BOOTING


def _ended_by(reasons: list[str]) -> Phase:
    return _END_BY_REASON.get(reasons[0], Phase.QEMU_DIED) if reasons else Phase.QEMU_DIED


def find_panic(console: str) -> str:
    """The cause of the panic as the kernel gave it; empty when there was none."""
    match = _PANIC.search(console)
    return match["cause"].strip() if match else ""


def panic_text(console: str) -> str:
    """A panic with the oops that led to it, to the end of the console."""
    lines = console.splitlines()
    panic = next(i for i, line in enumerate(lines) if _PANIC.search(line))
    start = max(0, panic - _PREAMBLE_LINES)
    led = (i for i in range(start, panic) if _PREAMBLE.search(lines[i]))
    return "\n".join(lines[next(led, panic) :])


def last_lines(console: str, count: int = 25) -> str:
    """The console's end."""
    return "\n".join(console.splitlines()[-count:])
