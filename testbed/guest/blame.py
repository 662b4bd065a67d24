# SPDX-License-Identifier: GPL-2.0
"""Who is to blame when something between the testbed and a guest breaks (docs/judging.md).

A damaged kernel breaks whatever runs on it: the agent sends garbage, a connection ends, nothing
answers. So the guest is asked last, and the host looks first: at the console, at QEMU, and at the
registers of the guest's processors.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from testbed.deadline import Deadline
from testbed.errors import GuestLost, KernelSplat, ProbeProtocolError, SessionError, TestbedError
from testbed.guest.splat import Splat, SplatKind, find_splats

# A kernel works as before after these. After any other splat its results prove little.
SURVIVED = frozenset({SplatKind.WARNING})

_MOST_SHOWN = 6  # different splats; a damaged kernel may print thousands

# A hang is certain after this many looks in a row that found interrupts off: ten seconds.
_LOOKS = 40

# Seconds for QMP and the console to show why something broke.
_NEWS = 2.0
_PAUSE = 0.02

# The line that begins a test (kernellog.py), on the console.
_BEGIN = re.compile(r"testbed: [0-9a-f]{8}\.\d+ begin.*\n")


@dataclass(frozen=True)
class Witness:
    """What the host sees of a guest without the guest's help.

    `processors` shows registers and call traces; it takes the addresses of loaded modules.
    `interrupts_off`: every processor is in the kernel with interrupts off, at this moment.
    """

    why_dead: Callable[[], str | None] = lambda: None
    console: Callable[[], str] = str
    processors: Callable[[Mapping[str, int]], str] = lambda _: ""
    interrupts_off: Callable[[], bool] = lambda: False

    def splats(self) -> list[Splat]:
        """Return the splats on the console since the last test began."""
        return find_splats(since_begin(self.console()))

    def is_damaged(self) -> bool:
        """Whether the kernel has printed a splat after which it is unreliable."""
        return any(splat.kind not in SURVIVED for splat in self.splats())


@dataclass
class HangWatch:
    """Recognises a kernel that hangs with interrupts off, which no watchdog of its own reports.

    `look` is called again and again while nothing answers. A healthy kernel has interrupts on at
    one of _LOOKS looks in a row, or prints something meanwhile.
    """

    witness: Witness
    _shown: int = -1  # length of the console's text
    _looks: int = 0  # in a row with interrupts off

    @property
    def suspects(self) -> bool:
        """Whether the last look found interrupts off, and more looks are needed."""
        return self._looks > 0

    def look(self) -> bool:
        """Look once. Return whether the kernel hangs."""
        shown = len(self.witness.console())
        off = self.witness.interrupts_off() and self._shown in (-1, shown)
        self._looks = self._looks + 1 if off else 0
        self._shown = shown if off else -1
        return self._looks >= _LOOKS


def since_begin(console: str) -> str:
    """Return a console's text since the last test began; all of it if none has."""
    shown = console.replace("\r", "")
    begins = list(_BEGIN.finditer(shown))
    return shown[begins[-1].end() :] if begins else shown


def blame(error: SessionError | ProbeProtocolError, witness: Witness) -> TestbedError:
    """Return the error that assigns the blame for `error`.

    GuestLost if the guest is dead, KernelSplat if its kernel has printed a splat since the test
    began. Else the kernel is clean, and `error` itself.
    """
    until = Deadline.after(_NEWS)
    while True:
        splats = witness.splats()
        if (reason := witness.why_dead()) is not None:
            return GuestLost(f"the guest died: {reason}", evidence=_after(error, splats))
        whole = bool(splats) and not splats[-1].truncated
        if whole or until.expired:
            break
        time.sleep(_PAUSE)  # the console's text passes a slow serial port
    if not splats:
        return error
    return KernelSplat(titles(splats), evidence=_after(error, splats))


def titles(splats: Sequence[Splat]) -> str:
    """Return the kinds and titles of splats in one line, each once."""
    found = list(dict.fromkeys(f"{splat.kind}: {splat.title}" for splat in splats))
    more = [f"{len(found) - _MOST_SHOWN} more"] if len(found) > _MOST_SHOWN else []
    return "; ".join([*found[:_MOST_SHOWN], *more])


def texts(splats: Sequence[Splat]) -> str:
    """Return the text of the first splat of each title, with the number of equal ones."""
    counts = Counter(splat.title for splat in splats)
    first = {splat.title: splat for splat in reversed(splats)}
    lines = []
    for title in list(counts)[:_MOST_SHOWN]:
        lines.append(first[title].text)
        if counts[title] > 1:
            lines.append(f"({counts[title] - 1} more like this one)")
    if len(counts) > _MOST_SHOWN:
        lines.append(f"({len(counts) - _MOST_SHOWN} more kinds of splats)")
    return "\n".join(lines)


def _after(error: TestbedError, splats: Sequence[Splat]) -> str:
    trouble = f"then {type(error).__name__}: {error}"
    return "\n".join(filter(None, [texts(splats), trouble]))
