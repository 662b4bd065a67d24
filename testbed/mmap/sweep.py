"""Allocations that fail one after the other (contract E), and what must be true after each.

One script does all rounds of one call on one path. In round N the call's Nth allocation
fails; then the books must be as before, and the same call must work.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from testbed.mmap.observation import Event, Fact, Observation
from testbed.mmap.path import TOP, HookPath, hook_name
from testbed.mmap.plan import NOTHING, Plan
from testbed.mmap.probe import path_script
from testbed.mmap.script import Script

# No call here allocates so often: a sweep that comes this far does not end.
MAX_ROUNDS = 200

# Where all happens, in pages: a range that is free unless a round maps something there.
_ROOM = 24
_OLD = range(2, 14)  # the mapping that a call maps over
_PLACE = range(6, 10)  # what the call maps, or works on
_AROUND = ",".join(str(page) for page in _OLD if page not in _PLACE)
_FILL = "fill:0x11"

_STATUS = ("VmSize", "VmLck", "VmPTE", "RssFile", "RssShmem")
_MEMINFO = ("Committed_AS", "Shmem", "Mlocked")
_COUNTS = ("file", "lower", "replacement", "page_count", "page_mapcount")

# Changes behind a program's back, and says nothing of the call.
_DROPPED_VMFLAGS = frozenset({"sd"})


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call whose allocations fail: an mmap, or `operation` on a mapping `m` that was made."""

    plan: Plan = NOTHING
    flags: str = "shared"
    over: bool = False  # in the middle of another mapping
    operation: tuple[str, ...] = ()
    errors: tuple[str, ...] = ("ENOMEM",)  # beside the hook's own
    replacement: bool = False  # the plan's replace=file wants a file


# The end of a hook in the log.
_DONE = frozenset({"prepare_done", "mmap_done"})

# What the VMA of a page shows: access, file, offset in the file, flags.
_Page = tuple[str, str, int, frozenset[str]]


@dataclass(frozen=True)
class Ledger:
    """The steps whose facts must be as they were before anything was tried."""

    counts: tuple[int, ...]
    status: int
    meminfo: int

    def values(self, seen: Observation) -> dict[str, int]:
        books = {
            key: seen[self.status].values["fields"][key]
            for key in _STATUS
            if key in seen[self.status].values["fields"]
        }
        books |= {key: seen[self.meminfo].values["fields"][key] for key in _MEMINFO}
        for number, step in enumerate(self.counts):
            books |= {f"{key} of {number}": seen[step].values[key] for key in _COUNTS}
        return books


@dataclass(frozen=True)
class Trial:
    """The steps of one call: before it, itself, and what is there afterwards."""

    before: int
    call: int
    after: int
    neighbours: int  # 0 where there are none
    log: int
    ledger: Ledger


@dataclass
class Sweep:
    """A script that lets a call fail in every way, and what its facts must say."""

    path: HookPath
    call: Call
    only: int = 0  # just this allocation; 0: one after the other
    script: Script = field(init=False)

    def __post_init__(self) -> None:
        self.script = path_script(self.path, self.call.plan)
        self._open_replacement()
        self._room = self.script.map("room", "anon", pages=_ROOM, prot="none", flags="private")
        self.script.step("munmap", "room")
        self._trial(fails=False)  # whatever is allocated once and kept
        self._reference = self._trial(fails=False)
        with self.script.sweep(1 if self.only else MAX_ROUNDS):
            self._tried = self._trial(fails=True)
            self._again = self._trial(fails=False)

    def complaints(self, seen: Observation) -> Iterator[tuple[int, str]]:
        """What is wrong, each with the number of the allocation that had failed."""
        rounds = seen.rounds
        if not self.only and rounds[-1][self._tried.call].injected:
            yield len(rounds), "it still allocates: the sweep does not end"
        for one in rounds:
            for text in self._complaints(one):
                yield self.only or one.round, text

    def reached(self, seen: Observation) -> int:
        """How many allocations failed, one in each round."""
        return sum(one[self._tried.call].injected for one in seen.rounds)

    def _complaints(self, seen: Observation) -> Iterator[str]:
        tried, again = seen[self._tried.call], seen[self._again.call]
        whole = self._state(seen, self._reference.after)
        before = self._state(seen, self._tried.before)
        after = self._state(seen, self._tried.after)
        if tried.error:
            yield from self._failed(seen, tried, before, after)
        elif after != whole:
            yield f"it succeeded, and is not as without a failure: {_difference(whole, after)}"
        yield from self._kept(seen, self._tried, "after the call")
        if again.error:
            yield f"tried again it fails with {again.error}"
        elif (state := self._state(seen, self._again.after)) != whole:
            yield f"tried again it is not as without a failure: {_difference(whole, state)}"
        yield from self._kept(seen, self._again, "after the next try")

    def _failed(
        self,
        seen: Observation,
        tried: Fact,
        before: Mapping[int, _Page],
        after: Mapping[int, _Page],
    ) -> Iterator[str]:
        if not tried.injected:
            yield f"it fails with {tried.error} although no allocation failed"
        events = seen[self._tried.log].events
        allowed = _hooks_errors(events) or set(self.call.errors)
        if tried.error not in allowed:
            yield f"it fails with {tried.error}, not {' or '.join(sorted(allowed))}"
        hole = {page: state for page, state in before.items() if page not in _PLACE}
        # What is mapped over is gone once the old mapping was taken out (mm/vma.c, __mmap_setup()).
        if after != before and not (self.call.over and after == hole):
            yield f"it fails and leaves another state: {_difference(before, after)}"

    def _state(self, seen: Observation, step: int) -> dict[int, _Page]:
        """What is mapped in the room, page by page: whether one VMA or two is all the same."""
        room, size = seen[self._room].address, seen[self._room].values["len"] // _ROOM
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

    def _kept(self, seen: Observation, trial: Trial, when: str) -> Iterator[str]:
        base, now = self._reference.ledger.values(seen), trial.ledger.values(seen)
        for key in base:
            if now[key] != base[key]:
                yield f"{key} is {now[key]} {when}, was {base[key]}"
        if trial.neighbours and set(seen[trial.neighbours].contents) != {_FILL}:
            yield f"the neighbours' pages hold {seen[trial.neighbours].contents} {when}"

    def _trial(self, *, fails: bool) -> Trial:
        script = self.script
        script.step("clearlog")
        if self.call.over:
            pages = len(_OLD)
            script.map("old", "anon", pages=pages, flags="private,fixed", addr=f"room+{_OLD[0]}p")
            script.write("old", 0x11)
        if self.call.operation:
            self._map()
        before = script.maps("room")
        if fails:
            script.step("fail_nth", *([str(self.only)] if self.only else []))
        call = self._operate() if self.call.operation else self._map()
        after = script.maps("room")
        log = script.hooklog()
        neighbours = script.read("room", _AROUND) if self.call.over else 0
        script.step("munmap", "room")
        return Trial(before, call, after, neighbours, log, self._ledger())

    def _map(self) -> int:
        flags = f"{self.call.flags},fixed"
        return self.script.map("m", TOP, pages=len(_PLACE), flags=flags, addr=f"room+{_PLACE[0]}p")

    def _operate(self) -> int:
        if self.call.operation != ("fork",):
            return self.script.step(*self.call.operation)
        with self.script.fork() as step:
            pass
        return step

    def _ledger(self) -> Ledger:
        names = dict.fromkeys((TOP, hook_name(self.path)))
        counts = tuple(self.script.step("counts", name) for name in names)
        return Ledger(counts, self.script.step("status"), self.script.step("meminfo"))

    def _open_replacement(self) -> None:
        if self.call.replacement:
            self.script.step("memfd", "other", f"{len(_PLACE)}p")
            self.script.step("replacement", hook_name(self.path), "other")


def _hooks_errors(events: list[Event]) -> set[str]:
    """What the hooks said to the call that failed."""
    codes = (-event.number("err") for event in events if event.name in _DONE)
    return {errno.errorcode[code] for code in codes if code}


def _difference(expected: Mapping[int, _Page], found: Mapping[int, _Page]) -> str:
    pages = [page for page in range(_ROOM) if expected.get(page) != found.get(page)]
    return f"pages {pages}: {found.get(pages[0])}, not {expected.get(pages[0])}"
