"""Trials of what becomes of a mapping: cut, protected, moved, locked, dropped."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.check.rules import (
    GONE,
    Rules,
    as_asked,
    nothing_at,
    ok,
    once_mapped,
    said,
    same,
    unlocked,
)
from testbed.check.scene import FILLED, Scene
from testbed.mmap.observation import Observation

# Where a mapping moves to: a page away from whatever lies beside that room.
_WITHIN = "addr=room+1p"


def munmap_part(scene: Scene) -> Rules:
    made = scene.map()
    before = scene.read()
    cut = scene.step("munmap", "m", "1")
    shown = scene.maps()
    rest = ",".join(str(page) for page in range(scene.ground.pages) if page != 1)
    after = scene.read("m", rest)
    hole = scene.read("m", "1")
    gone = scene.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from same(seen, scene, before, after, "after a page beside it was unmapped")
        if ok(seen, cut):
            left = scene.ground.pages - 1
            yield from as_asked(seen, made, shown, scene.ground.perms, left)
            if seen[hole].results != [GONE]:
                yield f"a page that was unmapped reads {seen[hole].results[0]}"

    return rules


def mprotect_part(scene: Scene) -> Rules:
    made = scene.map()
    before = scene.read()
    scene.step("mprotect", "m", "1", "prot=r")
    scene.maps()
    after = scene.read()
    scene.step("mprotect", "m", f"prot={scene.ground.prot}")
    back = scene.maps()
    again = scene.read()
    gone = scene.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from same(seen, scene, before, after, "after a page was protected")
        yield from same(seen, scene, before, again, "after the protection was taken back")
        yield from as_asked(seen, made, back, scene.ground.perms)

    return rules


def shrink(scene: Scene) -> Rules:
    made = scene.map()
    before = scene.read()
    less = scene.step("mremap", "m", "len=1p")
    shown = scene.maps()
    after = scene.read()
    gone = scene.unmap()

    @once_mapped(made, less, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from as_asked(seen, made, shown, scene.ground.perms, 1)
        yield from same(seen, scene, before, after, "after mremap has shrunk it")

    return rules


def grow(scene: Scene) -> Rules:
    made = scene.map()
    shown = scene.maps()
    before = scene.read()
    more = scene.step("mremap", "m", f"len={scene.ground.pages + 1}p", "flags=maymove")
    grown = scene.maps()
    after = scene.read()
    gone = scene.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        fixed = any("de" in vma.vmflags for vma in seen[shown].vmas)
        if fixed and seen[more].error != "EFAULT":
            yield f"it must not be expanded, and mremap says {said(seen, more)}"
        pages = scene.ground.pages + (not seen[more].error)
        yield from as_asked(seen, made, grown, scene.ground.perms, pages)
        yield from same(seen, scene, before, after, "after mremap was asked for more")

    return rules


def move(scene: Scene) -> Rules:
    scene.room(scene.ground.pages + 2)
    made = scene.map()
    before = scene.read()
    size = f"len={scene.ground.pages}p"
    moved = scene.step("mremap", "m", size, "flags=maymove,fixed", _WITHIN, "as=n")
    left = scene.maps()
    shown = scene.maps("n")
    after = scene.read("n")
    gone = scene.unmap("n")

    @once_mapped(made, moved, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from nothing_at(seen, left, "where it was before it moved")
        yield from as_asked(seen, moved, shown, scene.ground.perms)
        yield from same(seen, scene, before, after, "after it was moved")

    return rules


def move_part(scene: Scene) -> Rules:
    scene.room(3)
    made = scene.map()
    before = scene.read()
    words = ("from=1p", "old=1p", "len=1p", "flags=maymove,fixed", _WITHIN, "as=n")
    moved = scene.step("mremap", "m", *words)
    scene.maps("n")
    there = scene.read("n")
    rest = scene.read("m", f"0,2-{scene.ground.pages - 1}")
    scene.unmap("n")
    gone = scene.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from same(seen, scene, before, rest, "after a page beside it was moved")
        if ok(seen, moved) and scene.target.memory:
            first, now = seen[before].contents[1], seen[there].contents[0]
            if first != now:
                yield f"page 1 is {now} after it was moved, was {first}"

    return rules


def move_refused(scene: Scene) -> Rules:
    """A move without MREMAP_MAYMOVE to a longer range that is taken changes nothing."""
    pages = scene.ground.pages
    scene.room(pages + 1, filled=True)
    made = scene.map(more="fixed", addr="room")
    before = scene.read()
    more = scene.step("mremap", "m", f"len={pages + 1}p")
    shown = scene.maps()
    after = scene.read()
    behind = scene.read("room", str(pages))
    gone = scene.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        if ok(seen, more):
            yield "it grew over what is mapped behind it"
        yield from as_asked(seen, made, shown, scene.ground.perms)
        yield from same(seen, scene, before, after, "after an mremap that was refused")
        if seen[behind].contents != [FILLED]:
            yield f"the page behind it holds {seen[behind].contents[0]}"

    return rules


def mlock(scene: Scene) -> Rules:
    before = scene.step("status")
    made = scene.map()
    first = scene.read()
    scene.step("mlock", "m")
    scene.maps()
    read = scene.read()
    scene.step("munlock", "m", "0")
    scene.maps()
    gone = scene.unmap()
    after = scene.step("status")

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from same(seen, scene, first, read, "after mlock")
        yield from unlocked(seen, before, after)

    return rules


def dontneed(scene: Scene) -> Rules:
    """Pages that are dropped come back as they were, if they do."""
    made = scene.map()
    before = scene.read()
    scene.step("msync", "m")
    scene.step("madvise", "m", "dontneed")
    scene.step("ptes", "m", "0")
    after = scene.read()
    scene.maps()
    gone = scene.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        # What was inserted once, and has no fault handler, is gone for good.
        yield from same(seen, scene, before, after, "after madvise dontneed", or_lost=True)

    return rules
