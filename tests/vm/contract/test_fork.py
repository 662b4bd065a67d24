# SPDX-License-Identifier: GPL-2.0
"""What a child gets of its parent's mappings, and what both account for (dup_mmap())."""

from __future__ import annotations

import pytest

from testbed.lab.guest import Guest
from testbed.mmap.path import TOP, HookPath
from testbed.mmap.plan import VM_DONTCOPY, Plan, VmOps
from testbed.mmap.probe import Prober, path_script
from testbed.mmap.script import Script

pytestmark = pytest.mark.guarantee(67)

FULL = Plan(vm_ops=VmOps.FULL)

_LIMIT = "/proc/sys/vm/max_map_count"
_MOST = 250  # more mappings than a program of the session needs, before and for a script

everywhere = pytest.mark.paths(*HookPath)


@everywhere
@pytest.mark.guarantee(69)
@pytest.mark.parametrize("onfault", [False, True], ids=["locked", "locked-on-fault"])
def test_a_child_locks_nothing(stack: Prober, path: HookPath, onfault: bool) -> None:
    script = path_script(path, FULL)
    if onfault:
        script.step("mlockall", "future,onfault")
        script.map("m", TOP)
    else:
        script.map("m", TOP, flags="shared,locked")
    with script.fork():
        child, status = script.maps("m"), script.step("status")
        script.step("munmap", "m")
        after = script.step("status")
    parent = script.maps("m")
    seen = stack.run(script)
    assert not {"lo", "lf"} & seen[child].vma.vmflags
    assert [seen[step].values["fields"]["VmLck"] for step in (status, after)] == [0, 0]
    assert "lo" in seen[parent].vma.vmflags


@everywhere
@pytest.mark.parametrize("kept", [True, False], ids=["copied", "not-copied"])
def test_the_size_of_a_child_is_that_of_what_it_got(
    stack: Prober, path: HookPath, kept: bool
) -> None:
    script = path_script(path, FULL if kept else Plan(vm_ops=VmOps.FULL, set_flags=VM_DONTCOPY))
    script.map("m", TOP, flags="private")
    maps = script.maps("m")
    before = script.step("status")
    with script.fork():
        child = script.step("status")
    after = script.step("status")
    seen = stack.run(script)
    missing = 0 if kept else seen[maps].vma.size >> 10
    # VmLib is exec_vm without the program's text.
    for key in ("VmSize", "VmData", "VmStk", "VmExe", "VmLib"):
        less = missing if key in ("VmSize", "VmData") else 0
        sizes = [seen[step].values["fields"][key] for step in (before, child, after)]
        assert sizes == [sizes[0], sizes[0] - less, sizes[0]], key


@everywhere
@pytest.mark.guarantee(27, 58)
def test_what_a_child_may_write_is_charged_again(
    guest: Guest, stack: Prober, path: HookPath
) -> None:
    script = path_script(path, Plan(vm_ops=VmOps.NULL))
    script.map("m", TOP, flags="private", pages=1024)
    before = script.step("meminfo")
    with script.fork():
        child = script.step("meminfo")
    after = script.step("meminfo")
    seen = stack.run(script)
    had, more, has = (
        seen[step].values["fields"]["Committed_AS"] for step in (before, child, after)
    )
    size = 1024 * guest.session.hello().page_size >> 10
    assert more - had >= size
    assert has - had < size // 2


def test_a_child_counts_as_one_more_that_may_write(guest: Guest) -> None:
    """i_mmap_writable, which seals look at: a child's end must not take the parent's away."""
    script = Script()
    script.step("memfd", "f", "4p")
    script.map("m", "f")
    with script.fork():
        script.step("munmap", "m")
    kept = script.step("seal", "f", "write")
    script.step("munmap", "m")
    sealed = script.step("seal", "f", "write")
    seen = guest.prober.run(script)
    assert (seen[kept].error, seen[sealed].error) == ("EBUSY", "")


@pytest.mark.parametrize("flags", ["shared", "private"])
def test_what_a_file_loses_a_child_loses(guest: Guest, flags: str) -> None:
    """The child's mapping must be found from the file (i_mmap)."""
    script = Script()
    script.step("memfd", "f", "4p")
    script.map("m", "f", flags=flags)
    script.read("m")
    with script.fork():
        before = script.read("m")
        script.step("ftruncate", "f", "1p")
        child = script.read("m")
    parent = script.read("m")
    seen = guest.prober.run(script)
    assert seen[before].results == ["ok"] * 4
    for step in (child, parent):
        assert seen[step].results == ["ok", "SIGBUS", "SIGBUS", "SIGBUS"]


def test_a_child_may_have_as_many_mappings_as_its_parent(guest: Guest) -> None:
    before = guest.session.get(_LIMIT)
    guest.session.write((_LIMIT, str(_MOST).encode()))
    guest.at_end(lambda: guest.session.write((_LIMIT, before)))
    script = Script()
    script.step("memfd", "f", "1p")
    with script.fork():
        child = [script.map("m", "f", pages=1) for _ in range(_MOST)]
    parent = [script.map("m", "f", pages=1) for _ in range(_MOST)]
    seen = guest.prober.run(script)
    fits = [[seen[step].error for step in steps].count("") for steps in (child, parent)]
    assert fits[0] == fits[1]
    assert 0 < fits[0] < _MOST


def test_pages_of_its_own_are_copied_when_one_of_both_writes(guest: Guest) -> None:
    script = Script()
    script.step("memfd", "f", "4p")
    script.map("m", "f", flags="private")
    script.write("m", 0x11, "0-2")
    with script.fork():
        got = script.read("m")
        script.write("m", 0x22, "1")
        child = script.read("m")
    script.write("m", 0x33, "2")
    parent = script.read("m")
    file = script.step("pread", "f", off=0, len="4p")
    seen = guest.prober.run(script)
    old = "fill:0x11"
    assert seen[got].contents == [old, old, old, "zero"]
    assert seen[child].contents == [old, "fill:0x22", old, "zero"]
    assert seen[parent].contents == [old, old, "fill:0x33", "zero"]
    assert seen[file].contents == ["zero"] * 4


@pytest.mark.parametrize("advice", ["wipeonfork", "keeponfork"])
def test_memory_is_wiped_only_where_that_was_asked_for(guest: Guest, advice: str) -> None:
    script = Script()
    script.map("m", "anon", flags="private")
    script.write("m", 0x11)
    script.step("madvise", "m", "wipeonfork")
    script.step("madvise", "m", advice)
    with script.fork():
        child, maps = script.read("m"), script.maps("m")
    parent = script.read("m")
    seen = guest.prober.run(script)
    wiped = advice == "wipeonfork"
    assert seen[child].contents == ["zero" if wiped else "fill:0x11"] * 4
    assert ("wf" in seen[maps].vma.vmflags) is wiped
    assert seen[parent].contents == ["fill:0x11"] * 4


@pytest.mark.kconfig("USERFAULTFD")
def test_a_child_is_not_watched(guest: Guest) -> None:
    """A userfaultfd serves one process, unless it asks for events (dup_userfaultfd())."""
    script = Script()
    script.map("m", "anon", flags="private")
    script.step("uffd", "u")
    watched = script.step("uffd_register", "m", "u", "1-2")
    with script.fork():
        child, touched = script.maps("m"), script.write("m", 0x7)
    parent = script.maps("m")
    seen = guest.prober.run(script)
    assert seen[watched].error == ""
    assert ["um" in vma.vmflags for vma in seen[parent].vmas] == [False, True, False]
    assert not any("um" in vma.vmflags for vma in seen[child].vmas)
    assert seen[touched].results == ["ok"] * 4
