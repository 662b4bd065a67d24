"""Trials of who else holds a mapping: a child, another mapping, the file, the module."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.check.rules import Rules, as_asked, ended, ok, once_mapped, same
from testbed.check.scene import FILLED, Scene
from testbed.mmap.observation import Observation


def exit(scene: Scene) -> Rules:
    """Who is mapped need not unmap, nor need its child."""
    scene.map()
    scene.read()
    with scene.script.fork() as child:
        scene.read()

    def rules(seen: Observation) -> Iterator[str]:
        yield from ended(seen, child)

    return rules


def fork(scene: Scene) -> Rules:
    made = scene.map()
    shown = scene.maps()
    before = scene.read()
    with scene.script.fork() as child:
        inherited = scene.maps()
        theirs = scene.read()
        scene.step("munmap", "m")
    after = scene.read()
    gone = scene.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from ended(seen, child)
        flags = seen[shown].vmas[0].vmflags if seen[shown].vmas else frozenset()
        if not {"dc", "wf"} & flags:
            yield from as_asked(seen, made, inherited, scene.ground.perms)
            yield from same(seen, scene, before, theirs, "in a child")
        yield from same(seen, scene, before, after, "after a child has unmapped it")

    return rules


def fork_write(scene: Scene) -> Rules:
    made = scene.map()
    before = scene.read("m", "0")
    with scene.script.fork() as child:
        wrote = scene.write("m", "0")
    after = scene.read("m", "0")
    scene.step("munmap", "m")

    @once_mapped(made)
    def rules(seen: Observation) -> Iterator[str]:
        yield from ended(seen, child)
        if seen[wrote].results != ["ok"]:
            return
        if scene.ground.sharing == "private":
            yield from same(seen, scene, before, after, "after a child has written to its own")
        elif seen[after].contents != [FILLED]:
            yield f"a child's write is not seen: page 0 is {seen[after].contents[0]}"

    return rules


def write(scene: Scene) -> Rules:
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
        if not ok(seen, made) or seen[wrote].results != ["ok"]:
            return
        if seen[mine].contents != [FILLED]:
            yield f"what was written is not there: page 0 is {seen[mine].contents[0]}"
        if ok(seen, other) and scene.ground.sharing == "private":
            yield from same(seen, scene, before, theirs, "after a private mapping was written to")

    return rules


def close_first(scene: Scene) -> Rules:
    made = scene.map()
    before = scene.read()
    scene.close()
    after = scene.read()
    with scene.script.fork() as child:
        theirs = scene.read()
    gone = scene.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from ended(seen, child)
        yield from same(seen, scene, before, after, "after the file was closed")
        yield from same(seen, scene, before, theirs, "in a child after the file was closed")

    return rules


def unload(scene: Scene) -> Rules:
    made = scene.map()
    before = scene.read()
    opened = scene.step("rmmod", scene.target.module)
    scene.close()
    mapped = scene.step("rmmod", scene.target.module)
    after = scene.read()
    gone = scene.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        if scene.target.is_device:
            for step, what in ((opened, "open and mapped"), (mapped, "mapped")):
                if ok(seen, step):
                    yield f"the module can be unloaded while its node is {what}"
            yield from same(seen, scene, before, after, "after an attempt to unload the module")

    return rules
