# SPDX-License-Identifier: GPL-2.0
"""Trials that modify a mapping: munmap, mprotect, mremap, mlock, madvise."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.check.invariants import (
    GONE,
    Rules,
    as_requested,
    nothing_at,
    ok,
    once_mapped,
    same,
    unlocked,
)
from testbed.check.script import FILLED, DriverScript
from testbed.mmap.observation import Observation

# The destination of a move: a page away from the neighbours of `room`.
_WITHIN = "addr=room+1p"

# The largest mapping that is read as a whole after it has grown.
_READ_ALL = 128  # pages


def munmap_part(script: DriverScript) -> Rules:
    made = script.map()
    before = script.read()
    cut = script.step("munmap", "m", script.part_words)
    shown = script.maps()
    rest = ",".join(str(page) for page in script.sample if page not in script.part)
    after = script.read("m", rest)
    hole = script.read("m", str(script.part[0]))
    gone = script.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from same(seen, script, before, after, "after a page beside it was unmapped")
        if ok(seen, cut):
            left = script.base.pages - script.node.unit
            yield from as_requested(seen, made, shown, script.base.perms, left)
            if seen[hole].results != [GONE]:
                yield f"an unmapped page reads {seen[hole].results[0]}"

    return rules


def cut_first(script: DriverScript) -> Rules:
    """The rest of a mapping shows its own pages, even if nobody touched them before the cut."""
    script.map("whole")
    before = script.read("whole")
    script.step("munmap", "whole")
    script.reopen()
    made = script.map()
    unit = script.node.unit
    cut = script.step("munmap", "m", f"0-{unit - 1}")
    rest = [page for page in script.sample if page >= unit]
    after = script.read("m", ",".join(map(str, rest)))
    gone = script.unmap()

    @once_mapped(made, cut, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from same(seen, script, before, after, "after the head was unmapped", across=True)

    return rules


def mprotect_part(script: DriverScript) -> Rules:
    made = script.map()
    before = script.read()
    script.step("mprotect", "m", script.part_words, "prot=r")
    script.maps()
    after = script.read()
    restored = script.step("mprotect", "m", f"prot={script.base.prot}")
    back = script.maps()
    again = script.read()
    gone = script.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from same(seen, script, before, after, "after a page was protected")
        if ok(seen, restored):
            yield from same(seen, script, before, again, "after the protection was restored")
            yield from as_requested(seen, made, back, script.base.perms)

    return rules


def shrink(script: DriverScript) -> Rules:
    made = script.map()
    before = script.read()
    less = script.step("mremap", "m", f"len={script.node.unit}p")
    shown = script.maps()
    after = script.read("m", "0")
    gone = script.unmap()

    @once_mapped(made, less, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from as_requested(seen, made, shown, script.base.perms, script.node.unit)
        yield from same(seen, script, before, after, "after mremap shrank it")

    return rules


def grow(script: DriverScript) -> Rules:
    made = script.map()
    shown = script.maps()
    before = script.read()
    size = script.base.pages + script.node.unit
    more = script.step("mremap", "m", f"len={size}p", "flags=maymove")
    grown = script.maps()
    after = script.read()
    if script.base.pages <= _READ_ALL:
        script.read("m", "all")  # with the new pages, if there are any
    gone = script.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        fixed = any("de" in vma.vmflags for vma in seen[shown].vmas)
        if fixed and ok(seen, more):
            yield "mremap of a VM_DONTEXPAND mapping: success, not EFAULT"
        pages = size if ok(seen, more) else script.base.pages
        yield from as_requested(seen, made, grown, script.base.perms, pages)
        yield from same(seen, script, before, after, "after mremap to a larger size")

    return rules


def move(script: DriverScript) -> Rules:
    script.room(script.base.pages + 2)
    made = script.map()
    before = script.read()
    size = f"len={script.base.pages}p"
    moved = script.step("mremap", "m", size, "flags=maymove,fixed", _WITHIN, "as=n")
    script.moved("n")
    left = script.maps()
    shown = script.maps("n")
    after = script.read("n")
    gone = script.unmap("n")

    @once_mapped(made, moved, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from nothing_at(seen, left, "at the old address after the move")
        yield from as_requested(seen, moved, shown, script.base.perms)
        yield from same(seen, script, before, after, "after the move")

    return rules


def move_part(script: DriverScript) -> Rules:
    unit = script.node.unit
    script.room(2 * unit + 1)
    made = script.map()
    before = script.read()
    words = (f"from={unit}p", f"old={unit}p", f"len={unit}p", "flags=maymove,fixed")
    moved = script.step("mremap", "m", *words, _WITHIN, "as=n")
    script.moved("n", unit)
    script.maps("n")
    there = script.read("n", "0")
    others = [page for page in script.sample if page not in script.part]
    rest = script.read("m", ",".join(map(str, others)))
    script.unmap("n")
    gone = script.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from same(seen, script, before, rest, "after a page beside it was moved")
        if ok(seen, moved):
            yield from same(seen, script, before, there, "after the move", shift=unit)

    return rules


def move_refused(script: DriverScript) -> Rules:
    """mremap() without MREMAP_MAYMOVE to a size that does not fit fails and changes nothing."""
    pages = script.base.pages
    script.room(pages + 1, filled=True)
    made = script.map(more="fixed", addr="room")
    before = script.read()
    more = script.step("mremap", "m", f"len={pages + 1}p")
    shown = script.maps()
    after = script.read()
    behind = script.read("room", str(pages))
    gone = script.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        if ok(seen, more):
            yield "mremap expanded it over the mapping behind it"
        yield from as_requested(seen, made, shown, script.base.perms)
        yield from same(seen, script, before, after, "after a refused mremap")
        if seen[behind].contents != [FILLED]:
            yield f"the page behind it holds {seen[behind].contents[0]}"

    return rules


def mlock(script: DriverScript) -> Rules:
    before = script.step("status")
    made = script.map()
    first = script.read()
    script.step("mlock", "m")
    script.maps()
    read = script.read()
    script.step("munlock", "m", "0")
    script.maps()
    gone = script.unmap()
    after = script.step("status")

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from same(seen, script, first, read, "after mlock")
        yield from unlocked(seen, before, after)

    return rules


def populate_later(script: DriverScript) -> Rules:
    """Faults that the kernel makes at once, before the process touches a page."""
    made = script.map()
    script.step("madvise", "m", "populate_read")
    script.step("madvise", "m", "populate_write")
    script.step("mlockall", "current,onfault")
    script.maps()
    first = script.read()
    script.step("munlock", "m")
    read = script.read()
    gone = script.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from same(seen, script, first, read, "after munlock")

    return rules


def dontneed(script: DriverScript) -> Rules:
    """A page that was dropped returns with the same content, or is lost."""
    made = script.map()
    before = script.read()
    script.step("msync", "m")
    script.step("madvise", "m", "dontneed")
    script.step("ptes", "m", "0")
    after = script.read()
    script.maps()
    gone = script.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        # Without a fault handler, a page that the hook inserted does not return.
        yield from same(seen, script, before, after, "after MADV_DONTNEED", or_lost=True)

    return rules
