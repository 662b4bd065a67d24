"""Trials of how a mapping is made: sizes, protections, flags, neighbours."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.check.plan import CheckPlan
from testbed.check.rules import (
    GONE,
    Rules,
    Steps,
    as_asked,
    nothing_at,
    ok,
    once_mapped,
    said,
    same,
    unlocked,
)
from testbed.check.scene import FILLED, Scene, perms
from testbed.mmap.observation import Observation

# Beyond any memory; of pages of 64 KiB the last ones that an off_t can tell.
_FAR = (1 << 47) - 16  # pages

_ROUNDS = 16


def sizes(plan: CheckPlan) -> Steps:
    def steps(scene: Scene) -> Rules:
        kept = []
        for offset in plan.offsets:
            for size in plan.sizes:
                made = scene.map(pages=size, offset=offset)
                shown = scene.maps()
                ends = ",".join(str(page) for page in dict.fromkeys((0, size - 1)))
                scene.read("m", ends)
                kept.append((made, shown, scene.unmap()))
        scene.map("far", offset=_FAR)
        scene.read("far", "0")
        scene.unmap("far")

        def rules(seen: Observation) -> Iterator[str]:
            for made, shown, gone in kept:
                yield from as_asked(seen, made, shown, scene.ground.perms)
                if ok(seen, made):
                    yield from nothing_at(seen, gone, "after munmap")

        return rules

    return steps


def protection(prot: str) -> Steps:
    def steps(scene: Scene) -> Rules:
        made = scene.map(prot=prot)
        shown = scene.maps()
        scene.step("vma", "m")
        scene.step("ptes", "m", "0")
        read = scene.read("m", "0")
        scene.step("mprotect", "m", "prot=rw")
        scene.maps()
        scene.write("m", "0")
        scene.step("mprotect", "m", "prot=none")
        shut = scene.read("m", "0")
        gone = scene.unmap()

        @once_mapped(made, gone=gone)
        def rules(seen: Observation) -> Iterator[str]:
            yield from as_asked(seen, made, shown, perms(prot, scene.ground.sharing))
            if prot == "none" and seen[read].results != [GONE]:
                yield f"a page mapped without access reads {seen[read].results}"
            if seen[shut].results != [GONE]:
                yield f"a page whose access was taken away reads {seen[shut].results}"

        return rules

    return steps


def read_only(scene: Scene) -> Rules:
    made = scene.map(prot="r")
    scene.maps()
    more = scene.step("mprotect", "m", "prot=rw")
    scene.unmap()
    wrote = scene.map(prot="rw")
    scene.unmap()

    def rules(seen: Observation) -> Iterator[str]:
        if scene.ground.sharing != "shared":
            return
        if ok(seen, made) and seen[more].error != "EACCES":
            yield f"mprotect to rw of a read-only file: {said(seen, more)}, not EACCES"
        if seen[wrote].error != "EACCES":
            yield f"mmap rw of a read-only file: {said(seen, wrote)}, not EACCES"

    return rules


def write_only(scene: Scene) -> Rules:
    made = scene.map()

    def rules(seen: Observation) -> Iterator[str]:
        if seen[made].error != "EACCES":
            yield f"mmap of a write-only file: {said(seen, made)}, not EACCES"

    return rules


def again(scene: Scene) -> Rules:
    made = []
    for _ in range(_ROUNDS):
        made.append(scene.map())
        scene.read()
        scene.step("munmap", "m")

    def rules(seen: Observation) -> Iterator[str]:
        if len(errors := {seen[step].error for step in made}) > 1:
            yield f"the same mmap ends now so, now so: {', '.join(sorted(errors))}"
        if scene.target.memory and ok(seen, *made):
            first = seen[made[0] + 1].contents
            for step in made:
                if seen[step + 1].contents != first:
                    yield f"it holds {seen[step + 1].contents}, at first {first}"

    return rules


def populate(scene: Scene) -> Rules:
    return _mapped_with(scene, "populate")


def locked(scene: Scene) -> Rules:
    return _mapped_with(scene, "locked")


def _mapped_with(scene: Scene, flag: str) -> Rules:
    """As without the flag; what was locked before is what is locked after."""
    before = scene.step("status")
    plain = scene.map("plain")
    first = scene.read("plain")
    scene.step("munmap", "plain")
    made = scene.map(more=flag)
    shown = scene.maps()
    read = scene.read()
    gone = scene.unmap()
    after = scene.step("status")

    def rules(seen: Observation) -> Iterator[str]:
        if seen[made].error != seen[plain].error:
            yield f"with {flag} mmap says {said(seen, made)}, not {said(seen, plain)}"
        if not ok(seen, made, plain):
            return
        yield from as_asked(seen, made, shown, scene.ground.perms)
        yield from same(seen, scene, first, read, f"with {flag}")
        yield from nothing_at(seen, gone, "after munmap")
        yield from unlocked(seen, before, after)

    return rules


def over(scene: Scene) -> Rules:
    pages = scene.ground.pages
    around = f"0,{pages + 1}"
    scene.room(pages + 2, filled=True)
    made = scene.map(more="fixed", addr="room+1p")
    scene.read()
    beside = scene.read("room", around)
    gone = scene.script.step("munmap", "m")
    left = scene.maps()
    after = scene.read("room", around)

    def rules(seen: Observation) -> Iterator[str]:
        for step in (beside, after):
            if seen[step].contents != [FILLED, FILLED]:
                yield f"the pages beside it hold {seen[step].contents}"
        if ok(seen, made, gone):
            yield from nothing_at(seen, left, "after munmap")

    return rules


def adjacent(scene: Scene) -> Rules:
    """One behind the other, as the kernel may make one of the two."""
    half = scene.ground.pages // 2
    scene.room(2 * half)
    whole_one = scene.map("whole", pages=2 * half)
    before = scene.read("whole")
    scene.step("munmap", "whole")
    first = scene.map("m", pages=half, more="fixed", addr="room")
    behind = scene.ground.offset + half
    second = scene.map("n", pages=half, offset=behind, more="fixed", addr=f"room+{half}p")
    after = scene.read("room")
    gone = scene.unmap("room")

    def rules(seen: Observation) -> Iterator[str]:
        if ok(seen, whole_one, first, second):
            yield from same(seen, scene, before, after, "in two adjacent mappings")
            yield from nothing_at(seen, gone, "after munmap")

    return rules
