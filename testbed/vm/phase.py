# SPDX-License-Identifier: GPL-2.0
"""The phase of a VM's life, as console, monitor and process together show it.

Pure functions: a snapshot in, a phase out.
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

# The lines that may begin a panic's text, and how far before the panic they can be.
_PREAMBLE = re.compile(r"\bBUG: |\bOops\b|Internal error: |Unable to handle kernel")
_PREAMBLE_LINES = 80


class Phase(StrEnum):
    """A phase of a VM's life."""

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
        """Whether the VM can make no further progress."""
        return self not in (Phase.BOOTING, Phase.READY, Phase.ENDING)


# The reasons of a SHUTDOWN event that the guest itself causes. Any other is QEMU's end.
_END_BY_REASON = {
    "guest-reset": Phase.RESET,
    "guest-shutdown": Phase.POWERED_OFF,
    "guest-panic": Phase.PANICKED,
}


@dataclass(frozen=True)
class Snapshot:
    """The facts that are known about a VM at one moment."""

    console: str
    events: tuple[Event, ...] = ()
    gone: bool = False  # QEMU has closed both console and monitor


def judge(snapshot: Snapshot) -> Phase:
    """Return the phase of a VM. The guest's own output outweighs QEMU's events.

    Two threads read console and monitor. Only when both channels have ended is
    it certain that no panic preceded a reset.
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
    """Return the cause of the panic in the kernel's words; empty if there was none."""
    match = _PANIC.search(console)
    return match["cause"].strip() if match else ""


def panic_text(console: str) -> str:
    """Return the console from a panic on, with the oops that led to it."""
    lines = console.splitlines()
    panic = next(i for i, line in enumerate(lines) if _PANIC.search(line))
    start = max(0, panic - _PREAMBLE_LINES)
    led = (i for i in range(start, panic) if _PREAMBLE.search(lines[i]))
    return "\n".join(lines[next(led, panic) :])


def last_lines(console: str, count: int = 25) -> str:
    """Return the last lines of the console."""
    return "\n".join(console.splitlines()[-count:])
