# SPDX-License-Identifier: GPL-2.0
"""Trials that create a mapping: sizes, protections, flags, neighbours."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.check.checkplan import CheckPlan
from testbed.check.invariants import (
    GONE,
    Rules,
    Steps,
    as_requested,
    nothing_at,
    ok,
    once_mapped,
    result_of,
    same,
    unlocked,
)
from testbed.check.script import FILLED, DriverScript, perms
from testbed.mmap.observation import Observation

# Beyond any memory. With pages of 64 KiB, the last pages whose offset fits in an off_t.
_FAR = (1 << 47) - 16  # pages

_ROUNDS = 16


def sizes(plan: CheckPlan) -> Steps:
    def steps(script: DriverScript) -> Rules:
        kept = []
        for offset in plan.offsets:
            for size in plan.sizes:
                made = script.map(pages=size, offset=offset)
                shown = script.maps()
                ends = ",".join(str(page) for page in dict.fromkeys((0, size - 1)))
                script.read("m", ends)
                kept.append((made, shown, script.unmap()))
        script.map("far", offset=_FAR)
        script.read("far", "0")
        script.unmap("far")

        def rules(seen: Observation) -> Iterator[str]:
            for made, shown, gone in kept:
                yield from as_requested(seen, made, shown, script.base.perms)
                if ok(seen, made):
                    yield from nothing_at(seen, gone, "after munmap")

        return rules

    return steps


def protection(prot: str) -> Steps:
    def steps(script: DriverScript) -> Rules:
        made = script.map(prot=prot)
        shown = script.maps()
        script.step("vma", "m")
        script.step("ptes", "m", "0")
        read = script.read("m", "0")
        script.step("mprotect", "m", "prot=rw")
        script.maps()
        script.write("m", "0")
        script.step("mprotect", "m", "prot=none")
        shut = script.read("m", "0")
        gone = script.unmap()

        @once_mapped(made, gone=gone)
        def rules(seen: Observation) -> Iterator[str]:
            yield from as_requested(seen, made, shown, perms(prot, script.base.sharing))
            if prot == "none" and seen[read].results != [GONE]:
                yield f"a page mapped with PROT_NONE reads {seen[read].results}"
            if seen[shut].results != [GONE]:
                yield f"after mprotect to PROT_NONE a page reads {seen[shut].results}"

        return rules

    return steps


def read_only(script: DriverScript) -> Rules:
    made = script.map(prot="r")
    script.maps()
    more = script.step("mprotect", "m", "prot=rw")
    script.unmap()
    wrote = script.map(prot="rw")
    script.unmap()

    def rules(seen: Observation) -> Iterator[str]:
        if script.base.sharing != "shared":
            return
        if ok(seen, made) and seen[more].error != "EACCES":
            yield f"mprotect to rw of a read-only file: {result_of(seen, more)}, not EACCES"
        if seen[wrote].error != "EACCES":
            yield f"mmap rw of a read-only file: {result_of(seen, wrote)}, not EACCES"

    return rules


def write_only(script: DriverScript) -> Rules:
    made = script.map()

    def rules(seen: Observation) -> Iterator[str]:
        if seen[made].error != "EACCES":
            yield f"mmap of a write-only file: {result_of(seen, made)}, not EACCES"

    return rules


def again(script: DriverScript) -> Rules:
    made = []
    for _ in range(_ROUNDS):
        made.append(script.map())
        script.read()
        script.step("munmap", "m")

    def rules(seen: Observation) -> Iterator[str]:
        if len(errors := {result_of(seen, step) for step in made}) > 1:
            yield f"identical mmap calls gave different results: {', '.join(sorted(errors))}"
        if script.node.memory and ok(seen, *made):
            first = seen[made[0] + 1].contents
            for step in made:
                if seen[step + 1].contents != first:
                    yield f"the pages hold {seen[step + 1].contents}, but held {first} at first"

    return rules


def populate(script: DriverScript) -> Rules:
    return _mapped_with(script, "populate")


def locked(script: DriverScript) -> Rules:
    return _mapped_with(script, "locked")


def _mapped_with(script: DriverScript, flag: str) -> Rules:
    """A flag does not change the result of mmap(), and munmap() restores VmLck."""
    before = script.step("status")
    plain = script.map("plain")
    first = script.read("plain")
    script.step("munmap", "plain")
    made = script.map(more=flag)
    shown = script.maps()
    read = script.read()
    gone = script.unmap()
    after = script.step("status")

    def rules(seen: Observation) -> Iterator[str]:
        if seen[made].error != seen[plain].error:
            yield f"mmap with {flag}: {result_of(seen, made)}, not {result_of(seen, plain)}"
        if not ok(seen, made, plain):
            return
        yield from as_requested(seen, made, shown, script.base.perms)
        yield from same(seen, script, first, read, f"with {flag}")
        yield from nothing_at(seen, gone, "after munmap")
        yield from unlocked(seen, before, after)

    return rules


def over(script: DriverScript) -> Rules:
    pages = script.base.pages
    around = f"0,{pages + 1}"
    script.room(pages + 2, filled=True)
    made = script.map(more="fixed", addr="room+1p")
    script.read()
    beside = script.read("room", around)
    gone = script.probe_script.step("munmap", "m")
    left = script.maps()
    after = script.read("room", around)

    def rules(seen: Observation) -> Iterator[str]:
        for step in (beside, after):
            if seen[step].contents != [FILLED, FILLED]:
                yield f"the pages beside the mapping hold {seen[step].contents}"
        if ok(seen, made, gone):
            yield from nothing_at(seen, left, "after munmap")

    return rules


def adjacent(script: DriverScript) -> Rules:
    """Two adjacent mappings, which the kernel may merge into one VMA."""
    half = script.base.pages // 2
    script.room(2 * half)
    whole_one = script.map("whole", pages=2 * half)
    before = script.read("whole")
    script.step("munmap", "whole")
    first = script.map("m", pages=half, more="fixed", addr="room")
    behind = script.base.offset + half
    second = script.map("n", pages=half, offset=behind, more="fixed", addr=f"room+{half}p")
    after = script.read("room")
    gone = script.unmap("room")

    def rules(seen: Observation) -> Iterator[str]:
        if ok(seen, whole_one, first, second):
            yield from same(seen, script, before, after, "in two adjacent mappings")
            yield from nothing_at(seen, gone, "after munmap")

    return rules
