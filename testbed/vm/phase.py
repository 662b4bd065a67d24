"""The state machine of a VM's life: what console, monitor and process together mean.

Pure: a snapshot in, a phase out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from testbed.vm.qmp import Event

# Printed by the image's /init.
_READY = re.compile(r"^(?:\[[ .\d]+\] )?testbed: ready$", re.MULTILINE)

_PANIC = re.compile(r"Kernel panic - not syncing: (?P<cause>.*)")
_PANIC_END = "end Kernel panic - not syncing"

# Where the text that belongs to a panic may begin, some lines before it.
_PREAMBLE = re.compile(r"\bBUG: |\bOops\b|Internal error: |Unable to handle kernel|Call trace:")
_PREAMBLE_LINES = 80


class Phase(StrEnum):
    """How far a VM is."""

    BOOTING = "booting"
    READY = "userspace is up"
    PANICKING = "panic under way"
    PANICKED = "the guest kernel panicked"
    RESET = "the guest reset itself"
    POWERED_OFF = "the guest powered itself off"
    STOPPED = "QEMU stopped the guest"
    QEMU_DIED = "QEMU ended by itself"

    @property
    def is_end(self) -> bool:
        """Whether nothing more can come of this VM."""
        return self not in (Phase.BOOTING, Phase.READY, Phase.PANICKING)


@dataclass(frozen=True)
class Snapshot:
    """What is known of a VM at one moment."""

    console: str
    events: tuple[Event, ...] = ()
    gone: bool = False  # console and monitor have both been closed by QEMU


def judge(snapshot: Snapshot) -> Phase:
    """The phase that a VM is in. What the guest said counts before what QEMU made of it."""
    shutdown = [event.reason for event in snapshot.events if event.name == "SHUTDOWN"]
    if find_panic(snapshot.console):
        ended = snapshot.gone or bool(shutdown) or _PANIC_END in snapshot.console
        return Phase.PANICKED if ended else Phase.PANICKING
    if any(event.name == "GUEST_PANICKED" for event in snapshot.events):
        return Phase.PANICKED
    if "guest-reset" in shutdown:
        return Phase.RESET
    if "guest-shutdown" in shutdown:
        return Phase.POWERED_OFF
    if snapshot.gone or shutdown:
        return Phase.QEMU_DIED
    if snapshot.events and snapshot.events[-1].name == "STOP":
        return Phase.STOPPED
    return Phase.READY if _READY.search(snapshot.console) else Phase.BOOTING


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
