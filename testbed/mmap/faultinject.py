# SPDX-License-Identifier: GPL-2.0
"""Fault injection: allocations that fail one after the other, and the checks after each failure.

One script does all rounds of one call on one path. In round N the call's Nth allocation fails.
Then all counters must be as before, and the same call must succeed.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from testbed.guest.session import Session
from testbed.mmap.observation import Fact, HookEvent, Observation
from testbed.mmap.path import TOP, HookPath, hook_name
from testbed.mmap.plan import NOTHING, Plan
from testbed.mmap.probe import path_script
from testbed.mmap.script import Script

# No call here makes so many allocations: a sweep that reaches this round does not end.
MAX_ROUNDS = 200

_FILL = "fill:0x11"

# Every allocation can fail, even if it may sleep, from any cache and of any size. The kernel prints
# nothing about it (mm/failslab.c, mm/fail_page_alloc.c).
_SETTINGS = (
    ("failslab/ignore-gfp-wait", b"N"),
    ("failslab/cache-filter", b"N"),
    ("fail_page_alloc/ignore-gfp-wait", b"N"),
    ("fail_page_alloc/ignore-gfp-highmem", b"N"),
    ("fail_page_alloc/min-order", b"0"),
    ("failslab/verbose", b"0"),
    ("fail_page_alloc/verbose", b"0"),
)

_STATUS = ("VmSize", "VmLck", "VmPTE", "RssFile", "RssShmem")
_MEMINFO = ("Committed_AS", "Shmem", "Mlocked")
_COUNTS = ("file", "lower", "replacement", "page_count", "page_mapcount")

# Soft-dirty changes without the program's doing, and does not depend on the call.
_DROPPED_VMFLAGS = frozenset({"sd"})


@dataclass(frozen=True, kw_only=True)
class InjectedCall:
    """A call whose allocations fail: an mmap, or `operation` on an existing mapping `m`."""

    plan: Plan = NOTHING
    flags: str = "shared"
    over: bool = False  # the call maps into the middle of another mapping
    operation: tuple[str, ...] = ()
    errors: tuple[str, ...] = ("ENOMEM",)  # permitted besides the hook's own; empty: any
    replacement: bool = False  # open a file for the plan's replace=file
    pages: int = 4
    offset: int = 0  # pages
    prot: str = "rw"

    # Places in pages of `room`, a range that is free except for the mappings of a round.

    @property
    def room(self) -> int:
        return 16 + 2 * self.pages

    @property
    def place(self) -> range:
        """The pages that the call maps or works on."""
        return range(6, 6 + self.pages)

    @property
    def old(self) -> range:
        """The mapping that the call maps over."""
        return range(2, self.place.stop + 4)

    @property
    def around(self) -> str:
        """The pages that remain of the old mapping."""
        return ",".join(str(page) for page in self.old if page not in self.place)

    @property
    def behind(self) -> str:
        """A free address to which a mapping can be moved."""
        return f"room+{self.old.stop + 2}p"


# The events at the end of a hook.
_DONE = frozenset({"prepare_done", "mmap_done"})

# The VMA of one page: access, file, offset in the file, flags.
_Page = tuple[str, str, int, frozenset[str]]


@dataclass(frozen=True)
class CountSteps:
    """The steps whose counters must keep their initial values."""

    counts: tuple[int, ...]
    status: int
    meminfo: int

    def values(self, seen: Observation) -> dict[str, int]:
        counters = {
            key: seen[self.status].values["fields"][key]
            for key in _STATUS
            if key in seen[self.status].values["fields"]
        }
        counters |= {key: seen[self.meminfo].values["fields"][key] for key in _MEMINFO}
        for number, step in enumerate(self.counts):
            counters |= {f"{key} of {number}": seen[step].values[key] for key in _COUNTS}
        return counters


@dataclass(frozen=True)
class SweepRound:
    """The steps of one call: before it, the call itself, and after it."""

    before: int
    call: int
    after: int
    neighbours: int  # 0 if there are none
    log: int
    ledger: CountSteps


def let_allocations_fail(session: Session) -> None:
    """Let `fail_nth` reach all allocations instead of a few. Needs CONFIG_FAULT_INJECTION."""
    session.write(*((f"/sys/kernel/debug/{name}", value) for name, value in _SETTINGS))


@dataclass
class Sweep:
    """A script that fails each allocation of a call in turn, and the checks of its facts."""

    path: HookPath
    call: InjectedCall
    only: int = 0  # just this allocation; 0: each in turn
    script: Script = field(init=False)
    top: str = field(init=False)  # the script's name of the file that is mapped
    counted: tuple[str, ...] = field(init=False)  # our own files, whose counts must stay

    def __post_init__(self) -> None:
        self._begin()
        pages = self.call.room
        self._room = self.script.map("room", "anon", pages=pages, prot="none", flags="private")
        self.script.step("munmap", "room")
        self._attempt(fails=False)  # some memory is allocated once and kept
        self._reference = self._attempt(fails=False)
        with self.script.sweep(1 if self.only else MAX_ROUNDS):
            self._tried = self._attempt(fails=True)
            self._again = self._attempt(fails=False)

    def complaints(self, seen: Observation) -> Iterator[tuple[int, str]]:
        """Yield each problem with the number of the allocation that failed."""
        rounds = seen.rounds
        if not self.only and rounds[-1][self._tried.call].injected:
            yield len(rounds), "the call still allocates: the sweep does not end"
        for one in rounds:
            for text in self._complaints(one):
                yield self.only or one.round, text

    def reached(self, seen: Observation) -> int:
        """Return the number of allocations that failed, one in each round."""
        return sum(one[self._tried.call].injected for one in seen.rounds)

    def _complaints(self, seen: Observation) -> Iterator[str]:
        tried, again = seen[self._tried.call], seen[self._again.call]
        whole = self._state(seen, self._reference.after)
        before = self._state(seen, self._tried.before)
        after = self._state(seen, self._tried.after)
        if tried.error:
            yield from self._failed(seen, tried, before, after)
        elif after != whole:
            yield f"the call succeeds, but not as without a failure: {_difference(whole, after)}"
        yield from self._kept(seen, self._tried, "after the call")
        if again.error:
            yield f"the next try fails with {again.error}"
        elif (state := self._state(seen, self._again.after)) != whole:
            yield f"the next try is not as without a failure: {_difference(whole, state)}"
        yield from self._kept(seen, self._again, "after the next try")

    def _failed(
        self,
        seen: Observation,
        tried: Fact,
        before: Mapping[int, _Page],
        after: Mapping[int, _Page],
    ) -> Iterator[str]:
        if not tried.injected:
            yield f"the call fails with {tried.error} although no allocation failed"
        events = seen[self._tried.log].events
        allowed = _hooks_errors(events) or set(self.call.errors)
        if self.call.errors and tried.error not in allowed:
            yield f"the call fails with {tried.error}, not {' or '.join(sorted(allowed))}"
        hole = {page: state for page, state in before.items() if page not in self.call.place}
        # After __mmap_setup() (mm/vma.c) has removed the old mapping, a failure leaves a hole.
        if after != before and not (self.call.over and after == hole):
            yield f"the call fails and changes the mappings: {_difference(before, after)}"

    def _state(self, seen: Observation, step: int) -> dict[int, _Page]:
        """Return the mappings in the room page by page, whatever VMAs they are split into."""
        room, size = seen[self._room].address, seen[self._room].values["len"] // self.call.room
        return {
            (address - room) // size: (
                vma.perms,
                vma.path,
                vma.offset + address - vma.start if vma.path else 0,
                vma.vmflags - _DROPPED_VMFLAGS,
            )
            for vma in seen[step].vmas
            for address in range(vma.start, vma.end, size)
        }

    def _kept(self, seen: Observation, round_: SweepRound, when: str) -> Iterator[str]:
        base, now = self._reference.ledger.values(seen), round_.ledger.values(seen)
        for key in base:
            if now[key] != base[key]:
                yield f"{key} is {now[key]} {when}, was {base[key]}"
        if round_.neighbours and set(seen[round_.neighbours].contents) != {_FILL}:
            yield f"the neighbours' pages hold {seen[round_.neighbours].contents} {when}"

    def _attempt(self, *, fails: bool) -> SweepRound:
        script = self.script
        script.step("clearlog")
        if self.call.over:
            old = self.call.old
            at = f"room+{old.start}p"
            script.map("old", "anon", pages=len(old), flags="private,fixed", addr=at)
            script.write("old", 0x11)
        if self.call.operation:
            self._map()
        before = script.maps("room")
        if fails:
            script.step("fail_nth", *([str(self.only)] if self.only else []))
        call = self._operate() if self.call.operation else self._map()
        after = script.maps("room")
        log = script.hooklog()
        neighbours = script.read("room", self.call.around) if self.call.over else 0
        script.step("munmap", "room")
        return SweepRound(before, call, after, neighbours, log, self._ledger())

    def _map(self) -> int:
        call = self.call
        return self.script.map(
            "m",
            self.top,
            pages=call.pages,
            offset=call.offset,
            prot=call.prot,
            flags=f"{call.flags},fixed",
            addr=f"room+{call.place.start}p",
        )

    def _operate(self) -> int:
        if self.call.operation != ("fork",):
            return self.script.step(*self.call.operation)
        with self.script.fork() as step:
            pass
        return step

    def _ledger(self) -> CountSteps:
        counts = tuple(self.script.step("counts", name) for name in self.counted)
        return CountSteps(counts, self.script.step("status"), self.script.step("meminfo"))

    def _begin(self) -> None:
        """Start the script, and open the files of the path."""
        self.script = path_script(self.path, self.call.plan)
        self.top = TOP
        self.counted = tuple(dict.fromkeys((TOP, hook_name(self.path))))
        if self.call.replacement:
            self.script.step("memfd", "other", f"{self.call.pages}p")
            self.script.step("replacement", hook_name(self.path), "other")


def _hooks_errors(events: list[HookEvent]) -> set[str]:
    """Return the errors that the hooks returned to the failed call."""
    codes = (-event.number("err") for event in events if event.name in _DONE)
    return {errno.errorcode[code] for code in codes if code}


def _difference(expected: Mapping[int, _Page], found: Mapping[int, _Page]) -> str:
    pages = [page for page in {**expected, **found} if expected.get(page) != found.get(page)]
    return f"pages {pages}: {found.get(pages[0])}, not {expected.get(pages[0])}"
