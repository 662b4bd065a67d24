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

# Errors by which a driver forbids access. Others may be about the size.
_FORBIDDEN = ("EACCES", "EPERM")

# Pages of each of two adjacent mappings.
_READ = 16


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
                script.reopen()
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
        closed = script.step("mprotect", "m", "prot=none")
        shut = script.read("m", "0")
        gone = script.unmap()

        @once_mapped(made, gone=gone)
        def rules(seen: Observation) -> Iterator[str]:
            yield from as_requested(seen, made, shown, perms(prot, script.base.sharing))
            if prot == "none" and seen[read].results != [GONE]:
                yield f"a page mapped with PROT_NONE reads {seen[read].results}"
            if ok(seen, closed) and seen[shut].results != [GONE]:
                yield f"after mprotect to PROT_NONE a page reads {seen[shut].results}"

        return rules

    return steps


def read_only(script: DriverScript) -> Rules:
    made = script.map(prot="r")
    script.maps()
    more = script.step("mprotect", "m", "prot=rw")
    script.unmap()
    script.reopen()
    wrote = script.map(prot="rw")
    script.unmap()

    def rules(seen: Observation) -> Iterator[str]:
        if script.base.sharing != "shared":
            return
        if ok(seen, made, more):
            yield "mprotect to rw of a read-only file: success, not EACCES"
        if ok(seen, wrote):
            yield "mmap rw of a read-only file: success, not EACCES"

    return rules


def write_later(script: DriverScript) -> Rules:
    """A driver that refuses a writable mapping does not let it become writable later."""
    refused = script.map("w", prot="rw")
    script.step("munmap", "w")
    script.reopen()
    made = script.map(prot="r")
    more = script.step("mprotect", "m", "prot=rw")
    script.unmap()

    def rules(seen: Observation) -> Iterator[str]:
        error = seen[refused].error
        if script.base.sharing == "shared" and error in _FORBIDDEN and ok(seen, made, more):
            yield f"mmap rw is refused ({error}), but mprotect to rw succeeds: VM_MAYWRITE is set"

    return rules


def write_only(script: DriverScript) -> Rules:
    made = script.map()

    def rules(seen: Observation) -> Iterator[str]:
        if ok(seen, made):
            yield "mmap of a write-only file: success, not EACCES"

    return rules


def again(script: DriverScript) -> Rules:
    """Once everything is unmapped and closed, the next call gives the same result."""
    made: list[int] = []
    read: list[int] = []
    for _ in range(_ROUNDS):
        made.append(script.map())
        read.append(script.read())
        script.step("munmap", "m")
        script.reopen()

    def rules(seen: Observation) -> Iterator[str]:
        if len(errors := {result_of(seen, step) for step in made}) > 1:
            yield f"identical mmap calls gave different results: {', '.join(sorted(errors))}"
        elif ok(seen, *made):
            for step in read[1:]:
                yield from same(seen, script, read[0], step, "in a later mapping", across=True)

    return rules


def populate(script: DriverScript) -> Rules:
    return _mapped_with(script, "populate", seen_by_driver=False)


def locked(script: DriverScript) -> Rules:
    return _mapped_with(script, "locked", seen_by_driver=True)


def _mapped_with(script: DriverScript, flag: str, *, seen_by_driver: bool) -> Rules:
    """A flag does not change what is mapped, and munmap() restores VmLck.

    A driver can refuse only what it sees: VM_LOCKED, but not MAP_POPULATE.
    """
    before = script.step("status")
    plain = script.map("plain")
    first = script.read("plain")
    script.step("munmap", "plain")
    script.reopen()
    made = script.map(more=flag)
    shown = script.maps()
    read = script.read()
    gone = script.unmap()
    after = script.step("status")

    def rules(seen: Observation) -> Iterator[str]:
        if seen[made].error != seen[plain].error and not seen_by_driver:
            yield f"mmap with {flag}: {result_of(seen, made)}, not {result_of(seen, plain)}"
        if not ok(seen, made, plain):
            return
        yield from as_requested(seen, made, shown, script.base.perms)
        yield from same(seen, script, first, read, f"with {flag}", across=True)
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
    """Two adjacent mappings, which the kernel may merge, show what each shows alone."""
    half = script.base.pages // 2 // script.node.unit * script.node.unit
    behind = script.base.offset + half
    pages = _some(half)
    alone = []
    for offset in (script.base.offset, behind):
        made = script.map("alone", pages=half, offset=offset)
        alone.append((made, script.read("alone", pages)))
        script.step("munmap", "alone")
        script.reopen()
    script.room(2 * half)
    first = script.map("m", pages=half, more="fixed", addr="room")
    second = script.map("n", pages=half, offset=behind, more="fixed", addr=f"room+{half}p")
    after = [script.read(name, pages) for name in ("m", "n")]
    gone = script.unmap("room")

    def rules(seen: Observation) -> Iterator[str]:
        if not ok(seen, first, second):
            return
        for (made, before), read in zip(alone, after, strict=True):
            if ok(seen, made):
                yield from same(
                    seen, script, before, read, "in one of two adjacent mappings", across=True
                )
        yield from nothing_at(seen, gone, "after munmap")

    return rules


def _some(pages: int) -> str:
    """Return the pages of a mapping that are read: few of a large one."""
    return ",".join(map(str, range(min(pages, _READ))))
