# SPDX-License-Identifier: GPL-2.0
"""Fault injection for a driver: each allocation of a call on its mapping fails in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from testbed.check.drivernode import DriverNode
from testbed.check.script import BaseMapping
from testbed.mmap.faultinject import InjectedCall, Sweep
from testbed.mmap.observation import Observation
from testbed.mmap.path import HookPath, stack_over
from testbed.mmap.script import Script


@dataclass(kw_only=True)
class DriverSweep(Sweep):
    """A sweep of a call on a driver's node, or on the stack above it."""

    node: DriverNode

    def _begin(self) -> None:
        self.script = Script()
        self.script.step(*self.node.opening("file", self.node.mode))
        for words in self.node.setup:
            self.script.step(*words)
        self.top = stack_over(self.script, self.path, "file", self.node.mode)
        # Counts exist for the testbed's own files only. A leaked reference to the node shows when
        # its module cannot be unloaded.
        self.counted = () if self.top == "file" else (self.top,)

    def complaints(self, seen: Observation) -> Iterator[tuple[int, str]]:
        """Yield each problem, unless the driver refuses the call in any case.

        It may permit one mapping for each open file, or refuse to split or move one.
        """
        if not seen[self._reference.call].error:
            yield from super().complaints(seen)


class MakeSweep(Protocol):
    def __call__(self, path: HookPath, node: DriverNode) -> DriverSweep: ...


def sweeps_on(base: BaseMapping) -> Iterator[tuple[str, MakeSweep]]:
    """Yield the name of each fault injection trial, and the function that makes its sweep."""

    def call(
        operation: tuple[str, ...] = (), *, over: bool = False, more: str = ""
    ) -> InjectedCall:
        return InjectedCall(
            flags=f"{base.sharing}{more}",
            over=over,
            operation=operation,
            errors=(),
            pages=base.pages,
            offset=base.offset,
            prot=base.prot,
        )

    plain = call()
    move = ("mremap", "m", f"len={base.pages}p", "flags=maymove,fixed", f"addr={plain.behind}")
    calls = {
        "map": plain,
        "over": call(over=True),
        "populate": call(more=",populate"),
        "munmap-part": call(("munmap", "m", "1")),
        "mprotect-part": call(("mprotect", "m", "1", "prot=none")),
        "move": call(move),
        "fork": call(("fork",)),
    }
    for name, each in calls.items():
        yield f"fail-{name}-{base.sharing}", partial(_sweep, each)


def _sweep(call: InjectedCall, path: HookPath, node: DriverNode) -> DriverSweep:
    return DriverSweep(path, call, node=node)
