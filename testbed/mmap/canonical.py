# SPDX-License-Identifier: GPL-2.0
"""An execution reduced to what must be equal on all paths: flat, without places.

Addresses become `m+2p`, pages of the mapping that they lie in; which file stands where is
told by the path and is a rule's business, not a comparison's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from testbed.mmap.execution import Execution
from testbed.mmap.observation import Fact, Observation
from testbed.mmap.prediction import POOL_PAGES

# Say where something lies, not what it is.
_ADDRESSES = frozenset({"start", "end", "addr", "from", "to", "fault_addr", "a_start"})

# Which file, which process, which number of an open: not the mapping's.
_DROPPED = frozenset(
    {
        *("step", "op", "child", "name", "path", "line", "dev", "inode", "fd", "id", "pid"),
        *("file", "vm_file", "node", "word", "pfn", "pte_pfn", "events"),
        *("lower", "replacement", "pool_pfn", "release", "machine"),
        # Depends on what else has touched the pool's pages.
        *("Pss", "Pss_Dirty", "Pss_Anon", "Pss_File", "Pss_Shmem", "MemFree", "PageTables"),
        # Counted when a batch is full (mm/mlock.c).
        "Mlocked",
        # Whether a page of the pool is dirty, and was used, it keeps from earlier mappings.
        *("Private_Clean", "Private_Dirty", "Shared_Clean", "Shared_Dirty", "Referenced"),
        *("Mapped", "AnonPages", "VmPeak", "VmHWM", "VmRSS", "VmPTE", "lost"),
    }
)

# Flags that say nothing of the hook: KSM's early flag, and soft-dirty where they are merged.
DROPPED_VMFLAGS = frozenset({"mg", "sd"})

# Counters of the whole machine or process: only what has changed is told.
_LEDGER = frozenset({"counts", "status", "meminfo"})

# Hooks whose calls are what a path is made of, not what comes of it.
_OUTER = frozenset({"mmap", "mmap_done"})
_PREPARE = frozenset({"prepare", "prepare_done", "mapped"})

# Steps that tell of the machine: another kernel's numbers are others, and so are another boot's.
_UNSTEADY = frozenset({"env", "show", "perflog"})

# Pages: a test's offsets are less, page frame numbers are more.
_OFFSETS = 0x400

_ELSEWHERE = "elsewhere"

Canonical = dict[str, str]


def canonical_facts(observation: Observation) -> Canonical:
    """What any script saw, but for the counters of the machine: equal on equal kernels."""
    environment = next((fact for fact in observation.facts.values() if fact.op == "env"), None)
    values = environment.values if environment else {}
    size, pfn = int(values.get("page_size", 1)), int(values.get("pool_pfn", "0"), 16)
    places = Places(size, pfn if environment else None)
    found: Canonical = {}
    for (step, child, number), fact in sorted(observation.facts.items()):
        places.learn(fact)
        if fact.op in _LEDGER | _UNSTEADY:
            continue
        who = " in the child" if child else ""
        turn = f" round {number}" if number else ""
        label = f"{step} {fact.op}{who}{turn}"
        if fact.values.get("lost"):  # which records are left of the log is chance
            found[f"{label}.lost"] = "records"
            continue
        found |= {f"{label}{where}": value for where, value in _told(fact, places, frozenset())}
    return found


def canonical(execution: Execution, *, prepares: bool = True) -> Canonical:
    """All that an execution saw from its `map` on, as `where -> value`.

    Without `prepares` the hooks are left out that only an mmap_prepare file has.

    `where` begins with the step's place after the mapping and what it is, as in
    `3 vma.page_prot` or `1 log.2 mapped.pgoff`.
    """
    places = Places(execution.page_size, execution.pool_pfn)
    found: Canonical = {}
    first = execution.steps.map
    hidden = _OUTER if prepares else _OUTER | _PREPARE
    for key, fact in sorted(execution.seen.facts.items()):
        places.learn(fact)
        if key[0] >= first and fact.op != "clearlog":
            label = f"{key[0] - first} {fact.op}"
            found |= {
                f"{label}{where}": value for where, value in _fact(execution, fact, places, hidden)
            }
    return found


class Places:
    """Where the mappings lie, so that an address can be told without its number."""

    def __init__(self, page_size: int, pool_pfn: int | None) -> None:
        self.page_size = page_size
        self.pool_pfn = pool_pfn
        self.ranges: dict[str, tuple[int, int]] = {}

    def learn(self, fact: Fact) -> None:
        """Later mappings of a name replace earlier ones."""
        if fact.op in ("map", "mremap", "shmat") and "addr" in fact.values:
            self.ranges[str(fact.values["name"])] = (fact.address, int(fact.values["len"]))

    def offset(self, pgoff: float) -> str:
        """A page offset; of a copy-on-write remap it is a frame, which is the pool's."""
        if self.pool_pfn is None:
            return f"{pgoff:g}p" if pgoff < _OFFSETS else _ELSEWHERE
        page = pgoff - self.pool_pfn
        if 0 <= page < POOL_PAGES:
            return f"pool+{page:g}"
        # Anonymous memory that moves before it is touched is numbered by its new address.
        place = self.tell(int(pgoff * self.page_size))
        return f"{pgoff:g}p" if place == _ELSEWHERE else f"address of {place}"

    def tell(self, address: int) -> str:
        for name in ("m", *self.ranges):
            start, length = self.ranges.get(name, (0, -1))
            if start <= address <= start + length:
                return f"{name}+{(address - start) / self.page_size:g}p"
        return _ELSEWHERE


def _fact(
    execution: Execution, fact: Fact, places: Places, hidden: frozenset[str]
) -> Iterator[tuple[str, str]]:
    if fact.op in _LEDGER:
        yield from _change(execution, fact)
    else:
        yield from _told(fact, places, hidden)


def _told(fact: Fact, places: Places, hidden: frozenset[str]) -> Iterator[tuple[str, str]]:
    if fact.op == "hooklog":
        events = (event for event in fact.events if event.name not in hidden)
        for index, event in enumerate(events):
            yield f".{index}", event.name
            yield from _flat(f".{index} {event.name}", event.values, places)
    else:
        yield from _flat("", fact.values, places)


def _change(execution: Execution, fact: Fact) -> Iterator[tuple[str, str]]:
    """A ledger's entries, less what they were before the mapping."""
    ledger = (execution.seen[step] for step in execution.steps.before.values())
    same = (each for each in ledger if _account(each) == _account(fact))
    before = dict(_numbers(next(same).values))
    for key, value in _numbers(fact.values):
        yield f".{key}", f"{value - before[key]:+d}"


def _account(fact: Fact) -> tuple[str, object]:
    """What a ledger's fact is about: an open file by its number, or all of the machine."""
    return fact.op, fact.values.get("id")


def _numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for key, value in dict(values.get("fields", values)).items():
        if isinstance(value, int) and key not in _DROPPED:
            yield key, value


def _flat(where: str, value: Any, places: Places, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in _DROPPED:
                yield from _flat(f"{where}.{name}", inner, places, name)
    elif key == "vmflags":
        yield where, " ".join(sorted(set(value) - DROPPED_VMFLAGS))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, inner in enumerate(value):
            yield from _flat(f"{where}[{index}]", inner, places)
    elif key == "offset" and isinstance(value, str):
        yield where, places.offset(int(value, 16) / places.page_size)
    elif key in ("pgoff", "a_pgoff", "at") and isinstance(value, str):
        yield where, places.offset(int(value, 16))
    elif key in _ADDRESSES and isinstance(value, str):
        yield where, places.tell(int(value, 16))
    else:
        yield where, str(value)
