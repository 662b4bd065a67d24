# SPDX-License-Identifier: GPL-2.0
"""What each in-tree hook promises by itself, on each path (testbed/intree/promises.py)."""

from __future__ import annotations

from itertools import product

import pytest

from testbed.intree.intreefile import LOW, InTreeFile
from testbed.intree.promises import error_of_call, flags_of_call, path_of, promise_of
from testbed.lab.guest import Guest
from testbed.mmap.canonical import DROPPED_VMFLAGS
from testbed.mmap.oracle import canonical_vma
from testbed.mmap.path import HookPath, stack_over
from testbed.suite.intreecases import first_page, intree_files, ready

# Of mmap(2): with and without execution, and what no program asks for.
_ACCESS = ("none", "r", "w", "x", "rw", "rx", "wx", "rwx")


class Subject:
    """A file that is open on a path, and where to map it."""

    def __init__(self, guest: Guest, user: InTreeFile, path: HookPath) -> None:
        self.user = user
        self.script = ready(guest, user)
        if path is not HookPath.DIRECT and user.name == "zero-shared":
            guest.excuse_leaks()  # KD1
        self.first = first_page(guest, user)
        self.top = stack_over(self.script, path, LOW, user.mode)

    def map(self, name: str = "m", **how: str) -> int:
        """Map the file's usual part."""
        how.setdefault("prot", self.user.prot)
        how.setdefault("flags", self.user.flags[0])
        return self.script.map(name, self.top, pages=self.user.pages, offset=self.first, **how)


@intree_files()
@pytest.mark.guarantee(13, 19, 34)
def test_the_flags_are_those_of_the_call_and_of_the_hook(
    guest: Guest, user: InTreeFile, path: HookPath
) -> None:
    subject = Subject(guest, user, path)
    shown = {}
    for prot, flags in product(_ACCESS, user.flags):
        made = subject.map(prot=prot, flags=flags)
        shown[prot, flags] = (made, subject.script.maps("m"))
    seen = guest.prober.run(subject.script)
    for (prot, flags), (made, maps) in shown.items():
        noexec = user.noexec and path is HookPath.DIRECT
        error = error_of_call(prot, flags, user.mode, noexec=noexec)
        assert seen[made].error == error, (prot, flags)
        if error:
            continue
        wanted = flags_of_call(prot, flags, user.mode, noexec=noexec) | promise_of(user).flags
        assert seen[maps].vma.vmflags - DROPPED_VMFLAGS == wanted, (prot, flags)


@intree_files(most=2)
@pytest.mark.guarantee(18, 29)
def test_the_mapping_is_of_its_file_at_its_offset(
    guest: Guest, user: InTreeFile, path: HookPath
) -> None:
    subject = Subject(guest, user, path)
    shown = []
    for flags in user.flags:
        subject.map(flags=flags)
        shown.append(subject.script.maps("m"))
    seen = guest.prober.run(subject.script)
    for maps in shown:
        vma = seen[maps].vma
        assert vma.offset == subject.first * (vma.size // user.pages)
        if path is HookPath.DIRECT:
            assert vma.path == path_of(user)


@intree_files(most=2)
@pytest.mark.guarantee(67)
def test_a_child_gets_what_its_parent_has(guest: Guest, user: InTreeFile, path: HookPath) -> None:
    subject = Subject(guest, user, path)
    script = subject.script
    shown = []
    for flags in user.flags:
        made = subject.map(flags=flags)
        parents = script.maps("m"), script.read("m", volatile=not user.stable)
        with script.fork():
            childs = script.maps("m"), script.read("m", volatile=not user.stable)
        shown.append((made, parents, childs))
    seen = guest.prober.run(script)
    for made, parents, childs in shown:
        assert seen[made].error == ""
        parent, child = (canonical_vma(seen[maps].vma) for maps, _ in (parents, childs))
        assert child == parent
        assert seen[childs[1]].results == ["ok"] * user.pages
        if user.stable:
            assert seen[childs[1]].contents == seen[parents[1]].contents


@intree_files(lambda user: promise_of(user).accesses is not None)
def test_only_a_hook_that_says_so_touches_the_time_of_the_last_access(
    guest: Guest, user: InTreeFile, path: HookPath
) -> None:
    subject = Subject(guest, user, path)
    shown = []
    for flags in user.flags:
        aged = subject.script.step("old", LOW)
        before = subject.script.step("stat", LOW)
        made = subject.map(flags=flags)
        shown.append((aged, before, made, subject.script.step("stat", LOW)))
    seen = guest.prober.run(subject.script)
    for aged, before, made, after in shown:
        assert (seen[aged].error, seen[made].error) == ("", "")
        assert not seen[before].values["accessed"]
        assert seen[after].values["accessed"] is promise_of(user).accesses
        assert not seen[after].values["changed"]


@intree_files(lambda user: bool(promise_of(user).refuses))
@pytest.mark.guarantee(28, 40)
def test_what_the_hook_refuses_is_refused(guest: Guest, user: InTreeFile, path: HookPath) -> None:
    subject = Subject(guest, user, path)
    made = {}
    for each in promise_of(user).refuses:
        made[each] = subject.script.map(
            "m", subject.top, pages=each.pages, offset=each.offset, prot=each.prot, flags=each.flags
        )
    right = subject.map()
    seen = guest.prober.run(subject.script)
    assert {each: seen[step].error for each, step in made.items()} == {
        each: each.error for each in made
    }
    assert seen[right].error == ""


@intree_files(most=1)
@pytest.mark.guarantee(71)
def test_a_synchronous_mapping_needs_persistent_memory(
    guest: Guest, user: InTreeFile, path: HookPath
) -> None:
    """ext4 and xfs have FOP_MMAP_SYNC, so that only their hooks can refuse it."""
    subject = Subject(guest, user, path)
    made = subject.map(flags="shared_validate,sync", prot="r")
    assert guest.prober.run(subject.script)[made].error == "EOPNOTSUPP"


@intree_files(lambda user: user.stable, most=2)
def test_a_debugger_sees_what_the_hook_lets_it_see(
    guest: Guest, user: InTreeFile, path: HookPath
) -> None:
    """For page frames vm_ops->access decides (mm/memory.c, __access_remote_vm())."""
    subject = Subject(guest, user, path)
    made = subject.map()
    read, peek = subject.script.read("m"), subject.script.step("peek", "m", "all", by="mem")
    seen = guest.prober.run(subject.script)
    assert seen[made].error == ""
    if promise_of(user).debugged:
        assert seen[peek].contents == seen[read].contents
    else:
        assert seen[peek].results == ["EIO"] * user.pages


@intree_files(most=2)
@pytest.mark.guarantee(66)
def test_it_grows_unless_the_hook_forbids_it(
    guest: Guest, user: InTreeFile, path: HookPath
) -> None:
    subject = Subject(guest, user, path)
    subject.map()
    grown = subject.script.step("mremap", "m", len=f"{user.pages + 1}p", flags="maymove")
    seen = guest.prober.run(subject.script)
    assert seen[grown].error == ("" if promise_of(user).grows else "EFAULT")


@intree_files(most=2)
@pytest.mark.guarantee(69)
def test_it_is_locked_unless_it_is_special(guest: Guest, user: InTreeFile, path: HookPath) -> None:
    """Both mmap(2) and mlock(2) leave special mappings alone, without an error.

    Secret memory is locked by mmap(2) or not at all (mm/mlock.c, mlock_fixup()), and mlock(2)
    cannot fault its pages in.
    """
    subject = Subject(guest, user, path)
    shown = []
    for flags, later in ((f"{user.flags[0]},locked", False), (user.flags[0], True)):
        before = subject.script.step("status")
        made = subject.map(flags=flags)
        locked = subject.script.step("mlock", "m") if later else made
        maps, after = subject.script.maps("m"), subject.script.step("status")
        subject.script.step("munmap", "m")
        shown.append((before, made, locked, maps, after))
    seen = guest.prober.run(subject.script)
    for before, made, locked, maps, after in shown:
        secret = locked != made and user.name == "secretmem"
        assert (seen[made].error, seen[locked].error) == ("", "ENOMEM" if secret else "")
        vma = seen[maps].vma
        grown = seen[after].values["fields"]["VmLck"] - seen[before].values["fields"]["VmLck"]
        locks = promise_of(user).locks and not secret
        assert ("lo" in vma.vmflags) is locks
        assert grown << 10 == (vma.size if locks else 0)


@intree_files(lambda user: user.pages > 1, most=1)
@pytest.mark.guarantee(59, 62)
def test_neighbours_of_one_file_become_one_unless_they_are_special(
    guest: Guest, user: InTreeFile, path: HookPath
) -> None:
    subject = Subject(guest, user, path)
    if user.name == "relay":
        pytest.skip("relay maps only whole buffers, so that it has no neighbours")
    script, flags = subject.script, f"{user.flags[0]},fixed"
    script.map("room", "anon", pages=2, prot="none", flags="private")
    made = [
        script.map(
            name,
            subject.top,
            pages=1,
            offset=subject.first + page,
            prot=user.prot,
            flags=flags,
            addr=f"room+{page}p",
        )
        for page, name in enumerate("mn")
    ]
    maps = script.maps("room")
    seen = guest.prober.run(script)
    assert [seen[step].error for step in made] == ["", ""]
    assert len(seen[maps].vmas) == (1 if promise_of(user).merges else 2)


@intree_files(most=1)
@pytest.mark.kconfig("ANON_VMA_NAME")
def test_only_memory_without_a_name_can_be_named(
    guest: Guest, user: InTreeFile, path: HookPath
) -> None:
    """An unlinked shmem file counts as anonymous (mm/shmem.c, shmem_mmap_prepare())."""
    subject = Subject(guest, user, path)
    subject.map()
    named = subject.script.step("vma_name", "m", "text")
    maps = subject.script.maps("m")
    seen = guest.prober.run(subject.script)
    assert seen[named].error == ("" if promise_of(user).named else "EBADF")
    assert (seen[maps].vma.path == "[anon_shmem:text]") is promise_of(user).named
