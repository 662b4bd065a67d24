# SPDX-License-Identifier: GPL-2.0
"""The chain of hooks that an mmap() runs, as the guest's kernel itself reports it.

A probe at the entry and one at the return of each function write into a trace (Documentation/trace/
kprobetrace.rst). A function was called by the one before it if it was entered after that, and left
before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from testbed.lab.guest import Guest

# The trial that holds a plan's chain of functions to those that the kernel runs.
TRIAL = "chain"

# Probes are events, and events are in the configuration only together.
SYMBOL = "KPROBE_EVENTS"

_BEGIN = """
mkdir -p /tmp/tracing
mount -t tracefs none /tmp/tracing
cd /tmp/tracing
number=0
for function in "$@"; do
    echo "p:chain/enter$number $function" >>kprobe_events || echo "no $function"
    echo "r:chain/leave$number $function" >>kprobe_events || :
    number=$((number + 1))
done
mkdir instances/chain
cd instances/chain
[ ! -d events/chain ] || echo 1 >events/chain/enable
"""

_END = """
cd /tmp/tracing
cat instances/chain/trace
[ ! -d instances/chain/events/chain ] || echo 0 >instances/chain/events/chain/enable
rmdir instances/chain
sed -n 's/^\\([pr]\\)[0-9]*:chain.\\([^ ]*\\) .*/-:chain\\/\\2/p' kprobe_events >/tmp/chain
while read event; do echo $event >>kprobe_events; done </tmp/chain
rm /tmp/chain
cd /
umount /tmp/tracing
rmdir /tmp/tracing
"""

_EVENT = re.compile(r" (?P<way>enter|leave)(?P<number>\d+): \(")


@dataclass
class ChainWatch:
    """Watches which functions of a chain run, and how they call each other."""

    chain: Sequence[str]
    _absent: list[str] = field(default_factory=list)
    _seen: list[tuple[str, int]] = field(default_factory=list)

    @contextmanager
    def watching(self, guest: Guest) -> Iterator[None]:
        """Watch during the block.

        Raises:
            GuestCommandError: the kernel does not trace.
        """
        argv = ["sh", "-ec", _BEGIN, "sh", *self.chain]
        begun = guest.session.check(argv).out
        self._absent = [line.removeprefix("no ") for line in begun.splitlines()]
        yield
        text = guest.session.check(["sh", "-ec", _END]).out
        self._seen = [(match["way"], int(match["number"])) for match in _EVENT.finditer(text)]

    def complaints(self) -> Iterator[str]:
        """Say which function was not called by the one before it."""
        if self._absent:
            yield f"the kernel has no function {', '.join(self._absent)} that can be probed"
            return
        wanted = [*(("enter", number) for number in range(len(self.chain)))]
        wanted += [("leave", number) for number in reversed(range(len(self.chain)))]
        left = iter(self._seen)
        missing = next((event for event in wanted if event not in left), None)
        if missing is not None:
            yield self._unreached(missing[1])

    def _unreached(self, number: int) -> str:
        name = self.chain[number]
        entered = (self.chain[at] for way, at in self._seen if way == "enter")
        ran = ", ".join(dict.fromkeys(entered)) or "none of the chain"
        caller = f"by {self.chain[number - 1]} " if number else ""
        return f"mmap() does not call {name} {caller}as the recipe claims; it ran {ran}"
