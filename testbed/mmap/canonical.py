# SPDX-License-Identifier: GPL-2.0
"""An execution reduced to flat values that must be equal on all paths, without addresses.

An address becomes `m+2p`: the mapping that contains it, and the offset in pages. The files
depend on the path, so that rules check them and the comparison does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from testbed.mmap.execution import Execution
from testbed.mmap.observation import Fact, Observation
from testbed.mmap.prediction import POOL_PAGES

# Values that are addresses.
_ADDRESSES = frozenset({"start", "end", "addr", "from", "to", "fault_addr", "a_start"})

# Values that identify a file, a process or an open file, and do not describe the mapping.
_DROPPED = frozenset(
    {
        *("step", "op", "child", "name", "path", "line", "dev", "inode", "fd", "id", "pid"),
        *("file", "vm_file", "node", "word", "pfn", "pte_pfn", "events"),
        *("lower", "replacement", "pool_pfn", "release", "machine"),
        # These depend on other users of the pool's pages.
        *("Pss", "Pss_Dirty", "Pss_Anon", "Pss_File", "Pss_Shmem", "MemFree", "PageTables"),
        # Counted when a batch is full (mm/mlock.c).
        "Mlocked",
        # A page of the pool stays dirty and referenced after earlier mappings.
        *("Private_Clean", "Private_Dirty", "Shared_Clean", "Shared_Dirty", "Referenced"),
        *("Mapped", "AnonPages", "VmPeak", "VmHWM", "VmRSS", "VmPTE", "lost"),
    }
)

# Flags that do not depend on the hook: mergeable, which KSM may set early, and soft-dirty, which
# changes where VMAs are merged.
DROPPED_VMFLAGS = frozenset({"mg", "sd"})

# Counters of the machine, a process or a file: only their changes are compared.
_LEDGER = frozenset({"counts", "status", "meminfo"})

# Hooks whose calls depend on the path alone.
_OUTER = frozenset({"mmap", "mmap_done", "outer", "outer_done"})
_PREPARE = frozenset({"prepare", "prepare_done", "mapped"})

# Steps that describe the machine: their values differ between kernels and between boots.
_UNSTEADY = frozenset({"env", "show", "perflog"})

# In pages: offsets in tests are lower than this, page frame numbers are higher.
_OFFSETS = 0x400

_ELSEWHERE = "elsewhere"

Canonical = dict[str, str]


def canonical_facts(observation: Observation) -> Canonical:
    """Reduce the facts of any script, without the machine's counters: equal on equal kernels."""
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
        if fact.values.get("lost"):  # which records survive is chance
            found[f"{label}.lost"] = "records"
            continue
        entries = _entries(fact, places, frozenset())
        if step in observation.volatile:
            entries = ((where, value) for where, value in entries if not where.endswith(".content"))
        found |= {f"{label}{where}": value for where, value in entries}
    return found


def canonical(execution: Execution, *, prepares: bool = True) -> Canonical:
    """Reduce the facts of an execution, from its `map` on, to `where -> value`.

    Without `prepares`, hooks that only an mmap_prepare file has are omitted.

    `where` begins with the step's distance from `map` and its name, as in `3 vma.page_prot` or
    `1 hooklog.2 mapped.pgoff`.
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
    """The ranges of the mappings, by which addresses and page offsets are described."""

    def __init__(self, page_size: int, pool_pfn: int | None) -> None:
        self.page_size = page_size
        self.pool_pfn = pool_pfn
        self.ranges: dict[str, tuple[int, int]] = {}

    def learn(self, fact: Fact) -> None:
        """Store the range of a mapping. A later mapping of the same name replaces it."""
        if fact.op in ("map", "mremap", "shmat") and "addr" in fact.values:
            self.ranges[str(fact.values["name"])] = (fact.address, int(fact.values["len"]))

    def offset(self, pgoff: float) -> str:
        """Describe a page offset. A copy-on-write remap has a page frame of the pool there."""
        if self.pool_pfn is None:
            return f"{pgoff:g}p" if pgoff < _OFFSETS else _ELSEWHERE
        page = pgoff - self.pool_pfn
        if 0 <= page < POOL_PAGES:
            return f"pool+{page:g}"
        # If anonymous memory moves before it is touched, its pgoff follows its new address.
        place = self.address(int(pgoff * self.page_size))
        return f"{pgoff:g}p" if place == _ELSEWHERE else f"address of {place}"

    def address(self, address: int) -> str:
        """Describe an address as a mapping and an offset in pages."""
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
        yield from _entries(fact, places, hidden)


def _entries(fact: Fact, places: Places, hidden: frozenset[str]) -> Iterator[tuple[str, str]]:
    if fact.op == "hooklog":
        events = (event for event in fact.events if event.name not in hidden)
        for index, event in enumerate(events):
            yield f".{index}", event.name
            yield from _flat(f".{index} {event.name}", event.values, places)
    else:
        yield from _flat("", fact.values, places)


def _change(execution: Execution, fact: Fact) -> Iterator[tuple[str, str]]:
    """Yield the change of each entry of a ledger since before the mapping."""
    ledger = (execution.seen[step] for step in execution.steps.before.values())
    same = (each for each in ledger if _account(each) == _account(fact))
    before = dict(_numbers(next(same).values))
    for key, value in _numbers(fact.values):
        yield f".{key}", f"{value - before[key]:+d}"


def _account(fact: Fact) -> tuple[str, object]:
    """Return the subject of a ledger's fact: an open file by its number, or the machine."""
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
        yield where, places.address(int(value, 16))
    else:
        yield where, str(value)
