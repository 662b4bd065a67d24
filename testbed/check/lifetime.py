# SPDX-License-Identifier: GPL-2.0
"""Trials of a mapping's lifetime, with a child, a second mapping, the file, the module."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.check.invariants import (
    Rules,
    as_requested,
    ended,
    inherited,
    ok,
    once_mapped,
    same,
)
from testbed.check.script import FILLED, DriverScript
from testbed.mmap.observation import Observation

# The name of a module that does not exist.
NOBODY = "none"


def exit(script: DriverScript) -> Rules:
    """A process and its child may exit without munmap()."""
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
        childs = script.maps()
        theirs = script.read()
        script.step("munmap", "m")
    after = script.read()
    gone = script.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        yield from ended(seen, child)
        if inherited(seen, shown):
            yield from as_requested(seen, made, childs, script.base.perms)
            yield from same(seen, script, before, theirs, "in a child")
        yield from same(seen, script, before, after, "after munmap in a child")

    return rules


def fork_write(script: DriverScript) -> Rules:
    page = script.steady_page
    made = script.map()
    before = script.read("m", page)
    with script.probe_script.fork() as child:
        wrote = script.write("m", page)
    after = script.read("m", page)
    script.step("munmap", "m")

    @once_mapped(made)
    def rules(seen: Observation) -> Iterator[str]:
        yield from ended(seen, child)
        if seen[wrote].results != ["ok"] or script.unsteady(before, int(page), across=False):
            return
        if script.base.sharing == "private":
            yield from same(seen, script, before, after, "after a write in a child")
        elif seen[after].contents != [FILLED]:
            yield f"a child's write does not show: page {page} is {seen[after].contents[0]}"

    return rules


def write(script: DriverScript) -> Rules:
    """A write shows in the mapping. It does not show in others if the mapping is private."""
    page = script.steady_page
    made = script.map()
    # The driver may permit one mapping at a time, and refuse this one.
    other = script.map("other", sharing="shared", prot="r")
    before = script.read("other", page)
    wrote = script.write("m", page)
    mine = script.read("m", page)
    theirs = script.read("other", page)
    script.maps()
    script.step("munmap", "m")
    script.step("munmap", "other")

    def rules(seen: Observation) -> Iterator[str]:
        if not ok(seen, made) or seen[wrote].results != ["ok"]:
            return
        if script.unsteady(mine, int(page), across=False):
            return
        if seen[mine].contents != [FILLED]:
            yield f"the write does not show: page {page} is {seen[mine].contents[0]}"
        if ok(seen, other) and script.base.sharing == "private":
            yield from same(seen, script, before, theirs, "after a write to a private mapping")

    return rules


def close_first(script: DriverScript) -> Rules:
    made = script.map()
    shown = script.maps()
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
        if inherited(seen, shown):
            yield from same(seen, script, before, theirs, "in a child after the file was closed")

    return rules


def unload(script: DriverScript) -> Rules:
    made = script.map()
    before = script.read()
    opened = script.step("rmmod", script.node.module or NOBODY)
    script.close()
    mapped = script.step("rmmod", script.node.module or NOBODY)
    after = script.read()
    gone = script.unmap()

    @once_mapped(made, gone=gone)
    def rules(seen: Observation) -> Iterator[str]:
        if script.node.is_device and script.node.module:
            for step, what in ((opened, "open and mapped"), (mapped, "mapped")):
                if ok(seen, step):
                    yield f"the module can be unloaded while its node is {what}"
            yield from same(seen, script, before, after, "after an attempt to unload the module")

    return rules
