# SPDX-License-Identifier: GPL-2.0
"""The accounting of a process's mappings: their number, total size and locked size."""

from __future__ import annotations

import pytest

from testbed.lab.guest import Guest
from testbed.mmap.observation import Fact
from testbed.mmap.path import KEEPING, TOP, HookPath, hook_name
from testbed.mmap.plan import VM_LOCKED, VM_LOCKONFAULT, Action, Plan, VmOps
from testbed.mmap.probe import Prober, path_script

FULL = Plan(vm_ops=VmOps.FULL)

_LIMIT = "/proc/sys/vm/max_map_count"
_MOST = 250  # more mappings than a program of the session needs, before and for a script


@pytest.fixture
def few(guest: Guest) -> None:
    """Limit each process to _MOST mappings."""
    before = guest.session.get(_LIMIT)
    guest.session.write((_LIMIT, str(_MOST).encode()))
    guest.at_end(lambda: guest.session.write((_LIMIT, before)))


@pytest.mark.usefixtures("few")
@pytest.mark.guarantee(7)
@pytest.mark.paths(*HookPath)
def test_a_mapping_beyond_the_limit_is_enomem(stack: Prober, path: HookPath) -> None:
    """All mappings are of the same page, so they do not merge."""
    script = path_script(path, FULL)
    before = script.step("counts", hook_name(path))
    made = [script.map("m", TOP, pages=1) for _ in range(_MOST)]
    after = script.step("counts", hook_name(path))
    seen = stack.run(script)
    errors = [seen[step].error for step in made]
    fit = errors.count("")
    assert errors == [""] * fit + ["ENOMEM"] * (_MOST - fit)
    assert 0 < fit < _MOST
    hook = "prepare" if path.shape.prepares else "mmap"
    had, has = (seen[step].values["events"][hook] for step in (before, after))
    assert has - had == fit * (2 if path.shape.outer_prepares else 1)


@pytest.mark.usefixtures("few")
@pytest.mark.guarantee(27, 28)
@pytest.mark.paths(*HookPath)
@pytest.mark.parametrize("error", ["", "EIO"], ids=["unmapped", "failed"])
def test_what_is_gone_does_not_count(stack: Prober, path: HookPath, error: str) -> None:
    script = path_script(path, Plan(hook_error=f"-{error}") if error else FULL)
    made = []
    for _ in range(_MOST):
        made.append(script.map("m", TOP, pages=1))
        if not error:
            script.step("munmap", "m")
    seen = stack.run(script)
    assert {seen[step].error for step in made} == {error}


@pytest.mark.guarantee(58)
@pytest.mark.paths(*HookPath)
@pytest.mark.parametrize(
    ("flags", "prot", "counted"),
    [
        ("private", "rw", "VmData"),
        ("private", "rwx", "VmData"),
        ("private", "r", ""),
        ("private", "rx", "VmLib"),
        ("shared", "rw", ""),
        ("shared", "rx", "VmLib"),
    ],
)
def test_a_mapping_counts_as_what_it_is(
    guest: Guest, stack: Prober, path: HookPath, flags: str, prot: str, counted: str
) -> None:
    """vm_stat_account() (mm/vma.c)."""
    script = path_script(path, FULL)
    before = script.step("status")
    script.map("m", TOP, flags=flags, prot=prot)
    mapped = script.step("status")
    script.step("munmap", "m")
    after = script.step("status")
    seen = stack.run(script)
    size = 4 * guest.session.hello().page_size >> 10
    had, has, again = (seen[step].values["fields"] for step in (before, mapped, after))
    for key in ("VmSize", "VmData", "VmLib", "VmStk"):
        grown = has[key] - had[key]
        assert grown == (size if key in ("VmSize", counted) else 0), key
        assert again[key] == had[key]


@pytest.mark.guarantee(58, 59)
@pytest.mark.paths(*KEEPING)
def test_what_is_merged_counts_by_its_own_size(guest: Guest, stack: Prober, path: HookPath) -> None:
    script = path_script(path, FULL)
    script.map("room", "anon", pages=4, prot="none", flags="private")
    before = script.step("status")
    for name, page in (("m", 0), ("n", 2)):
        flags = "shared,locked,fixed"
        script.map(name, TOP, pages=2, offset=page, flags=flags, addr=f"room+{page}p")
    maps, merged = script.maps("room"), script.step("status")
    script.step("munmap", "room")
    after = script.step("status")
    seen = stack.run(script)
    pages = guest.session.hello().page_size >> 10
    assert len(seen[maps].vmas) == 1
    assert _grown(seen[before], seen[merged]) == {"VmSize": 0, "VmLck": 4 * pages}
    assert _grown(seen[before], seen[after]) == {"VmSize": -4 * pages, "VmLck": 0}


@pytest.mark.guarantee(69)
@pytest.mark.parametrize("when", ["future", "future,onfault"])
@pytest.mark.parametrize("action", [Action.NONE, Action.REMAP, Action.KERNEL_PAGES])
def test_what_is_special_is_not_locked_with_all_that_is_mapped(
    stack: Prober, path: HookPath, action: Action, when: str
) -> None:
    script = path_script(path, Plan(vm_ops=VmOps.FULL, action=action))
    everything = script.step("mlockall", when)
    script.map("m", TOP)
    vma = script.step("vma", "m")
    seen = stack.run(script)
    locked = VM_LOCKED | (VM_LOCKONFAULT if "onfault" in when else 0)
    assert seen[everything].error == ""
    found = int(seen[vma].values["flags"], 16) & (VM_LOCKED | VM_LOCKONFAULT)
    assert found == (locked if action is Action.NONE else 0)


def _grown(before: Fact, after: Fact) -> dict[str, int]:
    """Return the growth of a process's size and locked memory, in kB."""
    had, has = before.values["fields"], after.values["fields"]
    return {key: has[key] - had[key] for key in ("VmSize", "VmLck")}
