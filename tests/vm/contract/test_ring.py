# SPDX-License-Identifier: GPL-2.0
"""The VMBus ring model: a custom nested hook below sysfs and kernfs (contract P3, P4)."""

from __future__ import annotations

from functools import partial

import pytest

from testbed.lab.guest import Guest
from testbed.mmap.observation import names
from testbed.mmap.oracle import canonical_vma
from testbed.mmap.probe import Prober
from testbed.mmap.script import Script

pytestmark = pytest.mark.module("mmap_ring")

FOLDER = "/sys/kernel/mmap_ring"

# What to write to `visible`, in hexadecimal.
_OFF, _ON = "30", "31"


@pytest.fixture
def opened(guest: Guest, ring: Prober) -> Prober:
    """Open the channel, so that its ring can be mapped."""
    guest.session.write((f"{FOLDER}/state", b"opened"))
    return ring


@pytest.mark.guarantee(40, 34)
def test_the_ring_is_mapped_with_its_content(opened: Prober) -> None:
    script = Script()
    script.open("f", f"{FOLDER}/ring")
    script.map("m", "f", pages=8)
    maps, read = script.maps("m"), script.read("m")
    seen = opened.run(script)
    assert seen[maps].vma.vmflags >= {"io", "pf", "de", "dd"}
    assert seen[read].contents == [f"ring:{page}" for page in range(8)]


@pytest.mark.guarantee(40)
def test_the_converted_ring_looks_like_the_legacy_one(opened: Prober) -> None:
    script = Script()
    script.open("new", f"{FOLDER}/ring")
    script.open("old", f"{FOLDER}/ring_legacy")
    script.map("m", "new", pages=3, offset=2)
    script.map("n", "old", pages=3, offset=2)
    shown = [(script.maps(name), script.read(name)) for name in ("m", "n")]
    seen = opened.run(script)
    new, old = ((canonical_vma(seen[vma].vma), seen[read].contents) for vma, read in shown)
    assert new == old


def test_a_write_through_the_ring_is_seen_by_another_mapping(guest: Guest, opened: Prober) -> None:
    script = Script()
    script.open("f", f"{FOLDER}/ring")
    script.map("m", "f", pages=1)
    script.map("n", "f", pages=1)
    script.write("m", 0xC0DE)
    read = script.read("n")
    seen = opened.run(script)
    guest.session.write((f"{FOLDER}/reset", b"1"))
    assert seen[read].contents == ["fill:0xc0de"]


def test_a_closed_channel_is_refused(guest: Guest, ring: Prober) -> None:
    guest.session.write((f"{FOLDER}/state", b"closed"))
    assert _errno_of_map(ring, "ring", pages=1) == "ENODEV"


@pytest.mark.guarantee(40)
@pytest.mark.parametrize(
    ("pages", "offset"), [(9, 0), (1, 8), (8, 1)], ids=["too-long", "behind-the-end", "across"]
)
@pytest.mark.parametrize("attribute", ["ring", "ring_legacy"])
def test_what_leaves_the_ring_is_refused(
    opened: Prober, attribute: str, pages: int, offset: int
) -> None:
    assert _errno_of_map(opened, attribute, pages=pages, offset=offset) == "EINVAL"


def test_a_hidden_ring_is_absent(guest: Guest, opened: Prober) -> None:
    guest.session.write((f"{FOLDER}/visible", b"0"))
    script = Script()
    opening = script.open("f", f"{FOLDER}/ring")
    hidden = opened.run(Script(script.lines[:1]))[opening].error
    guest.session.write((f"{FOLDER}/visible", b"1"))
    assert hidden == "ENOENT"


@pytest.mark.guarantee(50)
def test_kernfs_refuses_operations_that_have_a_close(opened: Prober) -> None:
    assert _errno_of_map(opened, "ring_close", pages=1) == "EINVAL"


def test_a_second_mapping_of_the_same_file_succeeds(opened: Prober) -> None:
    script = Script()
    script.open("f", f"{FOLDER}/ring")
    first, second = script.map("m", "f", pages=2), script.map("n", "f", pages=2)
    read = script.read("n")
    seen = opened.run(script)
    assert (seen[first].errno, seen[second].errno) == (0, 0)
    assert seen[read].contents == ["ring:0", "ring:1"]


def test_a_child_sees_the_ring(opened: Prober) -> None:
    script = Script()
    script.open("f", f"{FOLDER}/ring")
    script.map("m", "f", pages=2)
    with script.fork():
        child = script.read("m")
    assert opened.run(script)[child].contents == ["ring:0", "ring:1"]


@pytest.mark.guarantee(50, 51)
@pytest.mark.defect(
    "KD7b", symptom=r"mapped\(\) was called 1 times, close\(\) 0", recorded=("7.2", "7.3.4")
)
def test_what_kernfs_refuses_late_is_closed_again(opened: Prober) -> None:
    """fs/kernfs/file.c, kernfs_fop_mmap() checks vm_ops->close only after mapped() has run."""
    script = Script()
    script.step("clearlog", "ring")
    script.open("f", f"{FOLDER}/ring_close")
    script.map("m", "f", pages=1)
    log = script.hooklog("ring")
    order = names(opened.run(script)[log].events)
    mapped, closed = order.count("mapped"), order.count("close")
    assert mapped == closed, f"mapped() was called {mapped} times, close() {closed}"


def _errno_of_map(ring: Prober, attribute: str, *, pages: int, offset: int = 0) -> str:
    script = Script()
    script.open("f", f"{FOLDER}/{attribute}")
    made = script.map("m", "f", pages=pages, offset=offset)
    return ring.run(script)[made].error


@pytest.mark.parametrize("attribute", ["ring", "ring_legacy"])
def test_what_is_removed_is_unmapped_everywhere(
    guest: Guest, opened: Prober, attribute: str
) -> None:
    """fs/kernfs/file.c, kernfs_drain_open_files() unmaps what was ever mapped of each open file."""
    guest.at_end(partial(guest.session.write, (f"{FOLDER}/visible", b"1")))
    script = Script()
    script.open("visible", f"{FOLDER}/visible")
    for name in ("f", "g", "unmapped"):
        script.open(name, f"{FOLDER}/{attribute}")
    for name, file in (("m", "f"), ("n", "f"), ("o", "g")):
        script.map(name, file, pages=2)
    script.step("close", "g")
    before = [script.read(name) for name in "mno"]
    removed = script.step("write_file", "visible", _OFF)
    after = [script.read(name) for name in "mno"]
    with script.fork():
        child = script.read("m")
    again = [script.map("p", name, pages=1) for name in ("f", "unmapped")]
    shown = script.step("write_file", "visible", _ON)
    fresh = script.open("h", f"{FOLDER}/{attribute}")
    script.map("q", "h", pages=2)
    new, old = script.read("q"), script.read("m")
    seen = opened.run(script)
    assert [seen[step].contents for step in before] == [["ring:0", "ring:1"]] * 3
    assert (seen[removed].error, seen[shown].error, seen[fresh].error) == ("", "", "")
    assert [seen[step].results for step in (*after, child, old)] == [["SIGBUS"] * 2] * 5
    assert [seen[step].error for step in again] == ["ENODEV"] * 2
    assert seen[new].contents == ["ring:0", "ring:1"]


def test_what_has_no_access_operation_is_hidden_from_a_debugger(opened: Prober) -> None:
    """fs/kernfs/file.c, kernfs_vma_access()."""
    script = Script()
    script.open("f", f"{FOLDER}/ring")
    script.map("m", "f", pages=2)
    peek = script.step("peek", "m", "all", by="mem")
    assert opened.run(script)[peek].results == ["EIO"] * 2
