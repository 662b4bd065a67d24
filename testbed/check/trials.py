"""What userspace can do to a mapping, and what must be true of any driver when it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from testbed.check.plan import CheckPlan
from testbed.check.scene import FILLED, Ground, Scene, Target, perms, whole
from testbed.mmap.observation import Observation
from testbed.mmap.path import HookPath

# What is wrong in an observation, in words.
Rules = Callable[[Observation], Iterator[str]]

# Writes a trial's steps, and returns what must be true of their facts.
Steps = Callable[[Scene], Rules]

# Beyond any memory; of pages of 64 KiB the last ones that an off_t can tell.
_FAR = (1 << 47) - 16  # pages

_ROUNDS = 16

# Where a mapping moves to: a page away from whatever lies beside that room.
_WITHIN = "addr=room+1p"

# Pages of a mapping that all trials start from.
_MOST = 8

_GONE = "SIGSEGV"


@dataclass(frozen=True)
class Trial:
    """One thing that is done to a mapping, on every path."""

    name: str
    ground: Ground
    steps: Steps
    mode: str = "rw"  # in which the files are opened
    least: int = 1  # pages that the ground must have
    writes: bool = False  # the ground must be writable
    unloads: bool = False  # it tries to unload the module itself

    def why_not(self, plan: CheckPlan) -> str:
        """Why it is not tried, if so."""
        if plan.skips(self.name):
            return "the plan says so"
        if self.ground.pages < self.least:
            return f"nothing of {self.least} pages can be mapped"
        if self.writes and not self.ground.writable:
            return "nothing can be mapped for writing"
        if self.writes and not plan.memory:
            return "the plan says that it is no plain memory"
        return ""

    def scene(self, path: HookPath, target: Target) -> tuple[Scene, Rules]:
        """The script on a path, and its rules."""
        scene = Scene(path, target, self.ground, self.mode)
        return scene, self.steps(scene)


def trials_on(ground: Ground, plan: CheckPlan) -> Iterator[Trial]:
    """All trials that start from a ground."""

    def trial(name: str, steps: Steps, **keys: int | str | bool) -> Trial:
        return Trial(f"{name}-{ground.sharing}", ground, steps, **keys)  # type: ignore[arg-type]

    yield trial("sizes", _sizes(plan))
    for prot in plan.prots:
        yield trial(f"prot-{prot}", _protection(prot))
    yield trial("read-only", _read_only, mode="ro")
    yield trial("write-only", _write_only, mode="wo")
    yield trial("exit", _exit)
    yield trial("again", _again)
    yield trial("fork", _fork)
    yield trial("fork-write", _fork_write, writes=True)
    yield trial("munmap-part", _munmap_part, least=3)
    yield trial("mprotect-part", _mprotect_part, least=3)
    yield trial("shrink", _shrink, least=2)
    yield trial("grow", _grow)
    yield trial("move", _move)
    yield trial("move-part", _move_part, least=3)
    yield trial("move-refused", _move_refused)
    yield trial("populate", _populate)
    yield trial("locked", _locked)
    yield trial("mlock", _mlock)
    yield trial("dontneed", _dontneed)
    yield trial("over", _over)
    yield trial("adjacent", _adjacent, least=2)
    yield trial("write", _write, writes=True)
    yield trial("close-first", _close_first)
    yield trial("unload", _unload, unloads=True)


@dataclass
class Survey:
    """Looks for the mapping that all other trials start from."""

    path: HookPath
    target: Target
    plan: CheckPlan
    sharing: str
    scene: Scene = field(init=False)
    _steps: dict[tuple[str, int, int], tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ground = Ground(self.sharing, 1, 0, self.plan.prots[0])
        self.scene = Scene(self.path, self.target, ground)
        for prot in self.plan.prots:
            for offset in self.plan.offsets:
                for size in self.plan.sizes:
                    made = self.scene.map(pages=size, prot=prot, offset=offset)
                    self._steps[prot, offset, size] = made, self.scene.read()
                    self.scene.step("munmap", "m")

    def ground(self, seen: Observation) -> Ground | None:
        """The first protection that maps at all decides, then the first offset, then the size.

        That is the largest of at most eight pages all of which can be touched, if there is one.
        """
        mapped = [key for key, (made, _) in self._steps.items() if not seen[made].error]
        if not mapped:
            return None
        prot, offset, _ = mapped[0]
        sizes = [size for *where, size in mapped if where == [prot, offset]]
        few = [size for size in sizes if size <= _MOST]
        good = [
            size for size in few if {*seen[self._steps[prot, offset, size][1]].results} == {"ok"}
        ]
        return Ground(self.sharing, max(good or few or [min(sizes)]), offset, prot)


def _ok(seen: Observation, *steps: int) -> bool:
    return not any(seen[step].error for step in steps)


def _said(seen: Observation, step: int) -> str:
    return seen[step].error or "success"


def _as_asked(
    seen: Observation, made: int, shown: int, access: str, pages: int | None = None
) -> Iterator[str]:
    """What was mapped is there, all of it and once, with the access that was asked for."""
    if not _ok(seen, made):
        return
    vmas, size = seen[shown].vmas, seen[made].values["len"]
    if pages is not None:
        size = pages * _page_size(seen)
    if whole(vmas) != size:
        yield f"{size} bytes were mapped, {whole(vmas)} are"
    for vma in vmas:
        if vma.perms != access:
            yield f"it is mapped {vma.perms}, not {access}"


def _page_size(seen: Observation) -> int:
    return int(seen[1].values["page_size"])


def _nothing_at(seen: Observation, shown: int, when: str) -> Iterator[str]:
    if vmas := seen[shown].vmas:
        yield f"{whole(vmas)} bytes are still mapped {when}"


def _same(
    seen: Observation, scene: Scene, read: int, again: int, when: str, *, or_lost: bool = False
) -> Iterator[str]:
    """Pages that were read twice hold the same, as far as the second reading goes."""
    if not scene.target.memory:
        return
    before = {page["page"]: page for page in seen[read].values["pages"]}
    for page in seen[again].values["pages"]:
        first, now = _content(before.get(page["page"], page)), _content(page)
        if first != now and not (or_lost and now == "SIGBUS"):
            yield f"page {page['page']} is {now} {when}, was {first}"


def _content(page: dict[str, str]) -> str:
    return page.get("content", page["result"])


def _unmap(scene: Scene, name: str = "m") -> int:
    """Unmap all, and look that it is gone; the number of that look."""
    scene.step("munmap", name)
    return scene.maps(name)


def _sizes(plan: CheckPlan) -> Steps:
    def steps(scene: Scene) -> Rules:
        kept = []
        for offset in plan.offsets:
            for size in plan.sizes:
                made = scene.map(pages=size, offset=offset)
                shown = scene.maps()
                ends = ",".join(str(page) for page in dict.fromkeys((0, size - 1)))
                scene.read("m", ends)
                kept.append((made, shown, _unmap(scene)))
        scene.map("far", offset=_FAR)
        scene.read("far", "0")
        _unmap(scene, "far")

        def rules(seen: Observation) -> Iterator[str]:
            for made, shown, gone in kept:
                yield from _as_asked(seen, made, shown, scene.ground.perms)
                if _ok(seen, made):
                    yield from _nothing_at(seen, gone, "after munmap")

        return rules

    return steps


def _protection(prot: str) -> Steps:
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
        gone = _unmap(scene)

        def rules(seen: Observation) -> Iterator[str]:
            if not _ok(seen, made):
                return
            yield from _as_asked(seen, made, shown, perms(prot, scene.ground.sharing))
            if prot == "none" and seen[read].results != [_GONE]:
                yield f"a page mapped without access reads {seen[read].results}"
            if seen[shut].results != [_GONE]:
                yield f"a page whose access was taken away reads {seen[shut].results}"
            yield from _nothing_at(seen, gone, "after munmap")

        return rules

    return steps


def _read_only(scene: Scene) -> Rules:
    made = scene.map(prot="r")
    scene.maps()
    more = scene.step("mprotect", "m", "prot=rw")
    _unmap(scene)
    wrote = scene.map(prot="rw")
    _unmap(scene)

    def rules(seen: Observation) -> Iterator[str]:
        if scene.ground.sharing != "shared":
            return
        if _ok(seen, made) and seen[more].error != "EACCES":
            yield f"mprotect to rw of a read-only file: {_said(seen, more)}, not EACCES"
        if seen[wrote].error != "EACCES":
            yield f"mmap rw of a read-only file: {_said(seen, wrote)}, not EACCES"

    return rules


def _write_only(scene: Scene) -> Rules:
    made = scene.map()

    def rules(seen: Observation) -> Iterator[str]:
        if seen[made].error != "EACCES":
            yield f"mmap of a write-only file: {_said(seen, made)}, not EACCES"

    return rules


def _exit(scene: Scene) -> Rules:
    """Who is mapped need not unmap, nor need its child."""
    scene.map()
    scene.read()
    with scene.script.fork() as child:
        scene.read()

    def rules(seen: Observation) -> Iterator[str]:
        yield from _ended(seen, child)

    return rules


def _ended(seen: Observation, child: int) -> Iterator[str]:
    fact = seen.facts[child, False, 0]
    if fact.error:
        yield f"fork fails with {fact.error}"
    elif fact.values.get("status") != 0:
        yield f"the child ended by {fact.values.get('signal', fact.values.get('status'))}"


def _again(scene: Scene) -> Rules:
    made = []
    for _ in range(_ROUNDS):
        made.append(scene.map())
        scene.read()
        scene.step("munmap", "m")

    def rules(seen: Observation) -> Iterator[str]:
        if len(errors := {seen[step].error for step in made}) > 1:
            yield f"the same mmap ends now so, now so: {', '.join(sorted(errors))}"
        if scene.target.memory and _ok(seen, *made):
            first = seen[made[0] + 1].contents
            for step in made:
                if seen[step + 1].contents != first:
                    yield f"it holds {seen[step + 1].contents}, at first {first}"

    return rules


def _fork(scene: Scene) -> Rules:
    made = scene.map()
    shown = scene.maps()
    before = scene.read()
    with scene.script.fork() as child:
        inherited = scene.maps()
        theirs = scene.read()
        scene.step("munmap", "m")
    after = scene.read()
    gone = _unmap(scene)

    def rules(seen: Observation) -> Iterator[str]:
        if not _ok(seen, made):
            return
        yield from _ended(seen, child)
        flags = seen[shown].vmas[0].vmflags if seen[shown].vmas else frozenset()
        if not {"dc", "wf"} & flags:
            yield from _as_asked(seen, made, inherited, scene.ground.perms)
            yield from _same(seen, scene, before, theirs, "in a child")
        yield from _same(seen, scene, before, after, "after a child has unmapped it")
        yield from _nothing_at(seen, gone, "after munmap")

    return rules


def _fork_write(scene: Scene) -> Rules:
    made = scene.map()
    before = scene.read("m", "0")
    with scene.script.fork() as child:
        wrote = scene.write("m", "0")
    after = scene.read("m", "0")
    scene.step("munmap", "m")

    def rules(seen: Observation) -> Iterator[str]:
        if not _ok(seen, made):
            return
        yield from _ended(seen, child)
        if seen[wrote].results != ["ok"]:
            return
        if scene.ground.sharing == "private":
            yield from _same(seen, scene, before, after, "after a child has written to its own")
        elif seen[after].contents != [FILLED]:
            yield f"a child's write is not seen: page 0 is {seen[after].contents[0]}"

    return rules


def _munmap_part(scene: Scene) -> Rules:
    made = scene.map()
    before = scene.read()
    cut = scene.step("munmap", "m", "1")
    shown = scene.maps()
    rest = ",".join(str(page) for page in range(scene.ground.pages) if page != 1)
    after = scene.read("m", rest)
    hole = scene.read("m", "1")
    gone = _unmap(scene)

    def rules(seen: Observation) -> Iterator[str]:
        if not _ok(seen, made):
            return
        yield from _same(seen, scene, before, after, "after a page beside it was unmapped")
        if _ok(seen, cut):
            left = scene.ground.pages - 1
            yield from _as_asked(seen, made, shown, scene.ground.perms, left)
            if seen[hole].results != [_GONE]:
                yield f"a page that was unmapped reads {seen[hole].results[0]}"
        yield from _nothing_at(seen, gone, "after munmap")

    return rules


def _mprotect_part(scene: Scene) -> Rules:
    made = scene.map()
    before = scene.read()
    scene.step("mprotect", "m", "1", "prot=r")
    scene.maps()
    after = scene.read()
    scene.step("mprotect", "m", f"prot={scene.ground.prot}")
    back = scene.maps()
    again = scene.read()
    gone = _unmap(scene)

    def rules(seen: Observation) -> Iterator[str]:
        if not _ok(seen, made):
            return
        yield from _same(seen, scene, before, after, "after a page was protected")
        yield from _same(seen, scene, before, again, "after the protection was taken back")
        yield from _as_asked(seen, made, back, scene.ground.perms)
        yield from _nothing_at(seen, gone, "after munmap")

    return rules


def _shrink(scene: Scene) -> Rules:
    made = scene.map()
    before = scene.read()
    less = scene.step("mremap", "m", "len=1p")
    shown = scene.maps()
    after = scene.read()
    gone = _unmap(scene)

    def rules(seen: Observation) -> Iterator[str]:
        if not _ok(seen, made, less):
            return
        yield from _as_asked(seen, made, shown, scene.ground.perms, 1)
        yield from _same(seen, scene, before, after, "after mremap has shrunk it")
        yield from _nothing_at(seen, gone, "after munmap")

    return rules


def _grow(scene: Scene) -> Rules:
    made = scene.map()
    shown = scene.maps()
    before = scene.read()
    more = scene.step("mremap", "m", f"len={scene.ground.pages + 1}p", "flags=maymove")
    grown = scene.maps()
    after = scene.read()
    gone = _unmap(scene)

    def rules(seen: Observation) -> Iterator[str]:
        if not _ok(seen, made):
            return
        fixed = any("de" in vma.vmflags for vma in seen[shown].vmas)
        if fixed and seen[more].error != "EFAULT":
            yield f"it must not be expanded, and mremap says {_said(seen, more)}"
        pages = scene.ground.pages + (not seen[more].error)
        yield from _as_asked(seen, made, grown, scene.ground.perms, pages)
        yield from _same(seen, scene, before, after, "after mremap was asked for more")
        yield from _nothing_at(seen, gone, "after munmap")

    return rules


def _move(scene: Scene) -> Rules:
    scene.room(scene.ground.pages + 2)
    made = scene.map()
    before = scene.read()
    size = f"len={scene.ground.pages}p"
    moved = scene.step("mremap", "m", size, "flags=maymove,fixed", _WITHIN, "as=n")
    left = scene.maps()
    shown = scene.maps("n")
    after = scene.read("n")
    gone = _unmap(scene, "n")

    def rules(seen: Observation) -> Iterator[str]:
        if not _ok(seen, made, moved):
            return
        yield from _nothing_at(seen, left, "where it was before it moved")
        yield from _as_asked(seen, moved, shown, scene.ground.perms)
        yield from _same(seen, scene, before, after, "after it was moved")
        yield from _nothing_at(seen, gone, "after munmap")

    return rules


def _move_part(scene: Scene) -> Rules:
    scene.room(3)
    made = scene.map()
    before = scene.read()
    words = ("from=1p", "old=1p", "len=1p", "flags=maymove,fixed", _WITHIN, "as=n")
    moved = scene.step("mremap", "m", *words)
    scene.maps("n")
    there = scene.read("n")
    rest = scene.read("m", f"0,2-{scene.ground.pages - 1}")
    _unmap(scene, "n")
    gone = _unmap(scene)

    def rules(seen: Observation) -> Iterator[str]:
        if not _ok(seen, made):
            return
        yield from _same(seen, scene, before, rest, "after a page beside it was moved")
        if _ok(seen, moved) and scene.target.memory:
            first, now = seen[before].contents[1], seen[there].contents[0]
            if first != now:
                yield f"page 1 is {now} after it was moved, was {first}"
        yield from _nothing_at(seen, gone, "after munmap")

    return rules


def _move_refused(scene: Scene) -> Rules:
    """A move without MREMAP_MAYMOVE to a longer range that is taken changes nothing."""
    pages = scene.ground.pages
    scene.room(pages + 1, filled=True)
    made = scene.map(more="fixed", addr="room")
    before = scene.read()
    more = scene.step("mremap", "m", f"len={pages + 1}p")
    shown = scene.maps()
    after = scene.read()
    behind = scene.read("room", str(pages))
    gone = _unmap(scene)

    def rules(seen: Observation) -> Iterator[str]:
        if not _ok(seen, made):
            return
        if _ok(seen, more):
            yield "it grew over what is mapped behind it"
        yield from _as_asked(seen, made, shown, scene.ground.perms)
        yield from _same(seen, scene, before, after, "after an mremap that was refused")
        if seen[behind].contents != [FILLED]:
            yield f"the page behind it holds {seen[behind].contents[0]}"
        yield from _nothing_at(seen, gone, "after munmap")

    return rules


def _populate(scene: Scene) -> Rules:
    return _mapped_with(scene, "populate")


def _locked(scene: Scene) -> Rules:
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
    gone = _unmap(scene)
    after = scene.step("status")

    def rules(seen: Observation) -> Iterator[str]:
        if seen[made].error != seen[plain].error:
            yield f"with {flag} mmap says {_said(seen, made)}, not {_said(seen, plain)}"
        if not _ok(seen, made, plain):
            return
        yield from _as_asked(seen, made, shown, scene.ground.perms)
        yield from _same(seen, scene, first, read, f"with {flag}")
        yield from _nothing_at(seen, gone, "after munmap")
        yield from _unlocked(seen, before, after)

    return rules


def _unlocked(seen: Observation, before: int, after: int) -> Iterator[str]:
    was, now = (seen[step].values["fields"].get("VmLck") for step in (before, after))
    if was != now:
        yield f"{now} kB are locked after munmap, were {was}"


def _mlock(scene: Scene) -> Rules:
    before = scene.step("status")
    made = scene.map()
    first = scene.read()
    scene.step("mlock", "m")
    scene.maps()
    read = scene.read()
    scene.step("munlock", "m", "0")
    scene.maps()
    gone = _unmap(scene)
    after = scene.step("status")

    def rules(seen: Observation) -> Iterator[str]:
        if not _ok(seen, made):
            return
        yield from _same(seen, scene, first, read, "after mlock")
        yield from _nothing_at(seen, gone, "after munmap")
        yield from _unlocked(seen, before, after)

    return rules


def _dontneed(scene: Scene) -> Rules:
    """Pages that are dropped come back as they were, if they do."""
    made = scene.map()
    before = scene.read()
    scene.step("msync", "m")
    scene.step("madvise", "m", "dontneed")
    scene.step("ptes", "m", "0")
    after = scene.read()
    scene.maps()
    gone = _unmap(scene)

    def rules(seen: Observation) -> Iterator[str]:
        if not _ok(seen, made):
            return
        # What was inserted once, and has no fault handler, is gone for good.
        yield from _same(seen, scene, before, after, "after madvise dontneed", or_lost=True)
        yield from _nothing_at(seen, gone, "after munmap")

    return rules


def _over(scene: Scene) -> Rules:
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
        if _ok(seen, made, gone):
            yield from _nothing_at(seen, left, "after munmap")

    return rules


def _adjacent(scene: Scene) -> Rules:
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
    gone = _unmap(scene, "room")

    def rules(seen: Observation) -> Iterator[str]:
        if _ok(seen, whole_one, first, second):
            yield from _same(seen, scene, before, after, "in two adjacent mappings")
            yield from _nothing_at(seen, gone, "after munmap")

    return rules


def _write(scene: Scene) -> Rules:
    """What is written is there; nobody else sees it if the mapping is private."""
    other = scene.map("other", sharing="shared", prot="r")
    before = scene.read("other", "0")
    made = scene.map()
    wrote = scene.write("m", "0")
    mine = scene.read("m", "0")
    theirs = scene.read("other", "0")
    scene.maps()
    scene.step("munmap", "m")
    scene.step("munmap", "other")

    def rules(seen: Observation) -> Iterator[str]:
        if not _ok(seen, made) or seen[wrote].results != ["ok"]:
            return
        if seen[mine].contents != [FILLED]:
            yield f"what was written is not there: page 0 is {seen[mine].contents[0]}"
        if _ok(seen, other) and scene.ground.sharing == "private":
            yield from _same(seen, scene, before, theirs, "after a private mapping was written to")

    return rules


def _close_first(scene: Scene) -> Rules:
    made = scene.map()
    before = scene.read()
    scene.close()
    after = scene.read()
    with scene.script.fork() as child:
        theirs = scene.read()
    gone = _unmap(scene)

    def rules(seen: Observation) -> Iterator[str]:
        if not _ok(seen, made):
            return
        yield from _ended(seen, child)
        yield from _same(seen, scene, before, after, "after the file was closed")
        yield from _same(seen, scene, before, theirs, "in a child after the file was closed")
        yield from _nothing_at(seen, gone, "after munmap")

    return rules


def _unload(scene: Scene) -> Rules:
    made = scene.map()
    before = scene.read()
    opened = scene.step("rmmod", scene.target.module)
    scene.close()
    mapped = scene.step("rmmod", scene.target.module)
    after = scene.read()
    gone = _unmap(scene)

    def rules(seen: Observation) -> Iterator[str]:
        if not _ok(seen, made):
            return
        if scene.target.is_device:
            for step, what in ((opened, "open and mapped"), (mapped, "mapped")):
                if _ok(seen, step):
                    yield f"the module can be unloaded while its node is {what}"
            yield from _same(seen, scene, before, after, "after an attempt to unload the module")
        yield from _nothing_at(seen, gone, "after munmap")

    return rules
