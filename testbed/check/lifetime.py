# SPDX-License-Identifier: GPL-2.0
"""Trials of who else holds a mapping: a child, another mapping, the file, the module."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.check.invariants import Rules, as_asked, ended, ok, once_mapped, same
from testbed.check.script import FILLED, DriverScript
from testbed.mmap.observation import Observation


def exit(script: DriverScript) -> Rules:
    """Who is mapped need not unmap, nor need its child."""
    script.map()
    script.read()
    with script.probe_script.fork() as child:
        script.read()

    def rules(seen: Observation) -> Iterator[str]:
        yield from ended(seen, child)

    return rules


def fork(script: DriverScript) -> Rules:
    made = script.map()
    shown = script.maps()
    before = script.read()
    with script.probe_script.fork() as child:
        inherited = script.maps()
        theirs = script.read()
        script.step("munmap", "m")
    after = script.read()
    gone = script.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from ended(seen, child)
        flags = seen[shown].vmas[0].vmflags if seen[shown].vmas else frozenset()
        if not {"dc", "wf"} & flags:
            yield from as_asked(seen, made, inherited, script.base.perms)
            yield from same(seen, script, before, theirs, "in a child")
        yield from same(seen, script, before, after, "after a child has unmapped it")

    return rules


def fork_write(script: DriverScript) -> Rules:
    made = script.map()
    before = script.read("m", "0")
    with script.probe_script.fork() as child:
        wrote = script.write("m", "0")
    after = script.read("m", "0")
    script.step("munmap", "m")

    @once_mapped(made)
    def rules(seen: Observation) -> Iterator[str]:
        yield from ended(seen, child)
        if seen[wrote].results != ["ok"]:
            return
        if script.base.sharing == "private":
            yield from same(seen, script, before, after, "after a child has written to its own")
        elif seen[after].contents != [FILLED]:
            yield f"a child's write is not seen: page 0 is {seen[after].contents[0]}"

    return rules


def write(script: DriverScript) -> Rules:
    """What is written is there; nobody else sees it if the mapping is private."""
    other = script.map("other", sharing="shared", prot="r")
    before = script.read("other", "0")
    made = script.map()
    wrote = script.write("m", "0")
    mine = script.read("m", "0")
    theirs = script.read("other", "0")
    script.maps()
    script.step("munmap", "m")
    script.step("munmap", "other")

    def rules(seen: Observation) -> Iterator[str]:
        if not ok(seen, made) or seen[wrote].results != ["ok"]:
            return
        if seen[mine].contents != [FILLED]:
            yield f"what was written is not there: page 0 is {seen[mine].contents[0]}"
        if ok(seen, other) and script.base.sharing == "private":
            yield from same(seen, script, before, theirs, "after a private mapping was written to")

    return rules


def close_first(script: DriverScript) -> Rules:
    made = script.map()
    before = script.read()
    script.close()
    after = script.read()
    with script.probe_script.fork() as child:
        theirs = script.read()
    gone = script.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from ended(seen, child)
        yield from same(seen, script, before, after, "after the file was closed")
        yield from same(seen, script, before, theirs, "in a child after the file was closed")

    return rules


def unload(script: DriverScript) -> Rules:
    made = script.map()
    before = script.read()
    opened = script.step("rmmod", script.node.module)
    script.close()
    mapped = script.step("rmmod", script.node.module)
    after = script.read()
    gone = script.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        if script.node.is_device:
            for step, what in ((opened, "open and mapped"), (mapped, "mapped")):
                if ok(seen, step):
                    yield f"the module can be unloaded while its node is {what}"
            yield from same(seen, script, before, after, "after an attempt to unload the module")

    return rules
