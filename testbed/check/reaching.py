# SPDX-License-Identifier: GPL-2.0
"""Trials that access a mapping as a debugger does, and mappings beside those of another file."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.check.invariants import Rules, nothing_at, ok, once_mapped, same
from testbed.check.script import FILL, DriverScript
from testbed.mmap.observation import Observation

# /proc/PID/mem, process_vm_readv(2), ptrace(2).
WAYS = ("mem", "vm", "ptrace")

# The second file of the node.
_OTHER = "other"


def peek(script: DriverScript) -> Rules:
    """What another process can read is what the process itself reads.

    A driver may forbid such access (VM_IO and no access() in its vm_ops).
    """
    made = script.map()
    before = script.read()
    peeked = [script.peek(way) for way in WAYS]
    gone = script.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        for way, step in zip(WAYS, peeked, strict=True):
            yield from same(seen, script, before, step, f"as {way} shows it", or_refused=True)

    return rules


def poke(script: DriverScript) -> Rules:
    """What another process writes shows in the mapping."""
    page = script.steady_page
    made = script.map()
    before = script.read("m", page)
    steps = []
    for number, way in enumerate(WAYS):
        poked = script.poke(way, page, FILL + number)
        steps.append((poked, script.read("m", page), f"fill:{FILL + number:#x}"))
    gone = script.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        if script.unsteady(before, int(page), across=False):
            return
        for way, (poked, read, value) in zip(WAYS, steps, strict=True):
            if seen[poked].results == ["ok"] and seen[read].contents != [value]:
                yield f"page {page} is {seen[read].contents[0]} after a write by {way}"

    return rules


def beside(script: DriverScript) -> Rules:
    """Mappings of two files of one node lie side by side, and each has its own life.

    A driver may permit one open file at a time.
    """
    pages = script.base.pages
    script.room(2 * pages)
    made = script.map(more="fixed", addr="room")
    before = script.read()
    opened = script.open_another(_OTHER)
    other = script.map("n", file=_OTHER, more="fixed", addr=f"room+{pages}p")
    theirs = script.read("n")
    after = script.read()
    script.step("munmap", "m")
    left = script.read("n")
    script.step("close", _OTHER)
    gone = script.unmap("room")

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from same(seen, script, before, after, "beside a mapping of another file")
        if ok(seen, opened, other):
            yield from same(seen, script, theirs, left, "after munmap of its neighbour")

    return rules


def duplicate(script: DriverScript) -> Rules:
    """mremap() with an old size of 0 maps the same pages once more, if they are shared."""
    made = script.map()
    before = script.read()
    pages = script.base.pages
    again = script.step("mremap", "m", "old=0", f"len={pages}p", "flags=maymove", "as=n")
    script.maps("n")
    there = script.read("n")
    script.step("munmap", "m")
    left = script.read("n")
    gone = script.unmap("n")

    def rules(seen: Observation) -> Iterator[str]:
        if not ok(seen, made, again):
            return
        yield from same(seen, script, before, there, "in a duplicate", or_lost=True)
        yield from same(seen, script, there, left, "after munmap of the first mapping")
        yield from nothing_at(seen, gone, "after munmap")

    return rules
