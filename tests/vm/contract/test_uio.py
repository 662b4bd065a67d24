# SPDX-License-Identifier: GPL-2.0
"""UIO: drivers/uio/uio.c runs a provider's hook from its own .mmap."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest

from testbed.lab.guest import Guest
from testbed.mmap.observation import names, only
from testbed.mmap.oracle import canonical_vma
from testbed.mmap.script import Script

MODULE = "mmap_uio"

pytestmark = [pytest.mark.kconfig("UIO"), pytest.mark.module(MODULE)]
PAGES = 4  # of each map


@dataclass(frozen=True)
class Devices:
    """Two UIO devices with the same memory."""

    hooked: str  # with uio_info.mmap_prepare
    legacy: str  # without a hook: uio.c maps the memory


def _load(guest: Guest, parameters: str = "") -> Devices:
    """Load the module with parameters (docs/probe.md, mmap_uio.ko)."""
    if guest.prepared.kernel.symbol("UIO") == "m":
        guest.at_end(partial(guest.session.check, ["modprobe", "-r", "uio"]))
        guest.session.check(["modprobe", "uio"])
    guest.load(MODULE, parameters)
    return Devices(_node(guest, "mmap_uio"), _node(guest, "mmap_uio_legacy"))


def _node(guest: Guest, name: str) -> str:
    """Return the node of the UIO device with this name."""
    found = guest.session.check(["sh", "-c", f"grep -lx {name} /sys/class/uio/*/name"]).out
    return f"/dev/{found.split('/')[-2]}"


def _script(devices: Devices) -> Script:
    script = Script()
    script.step("clearlog", "uio")
    script.open("f", devices.hooked)
    script.open("old", devices.legacy)
    return script


@pytest.mark.parametrize(("number", "action"), [(0, "fault"), (1, "remap")])
def test_a_hook_maps_as_the_legacy_code_does(guest: Guest, number: int, action: str) -> None:
    script = _script(_load(guest, f"action={action}"))
    shown = []
    for name, file in (("m", "f"), ("n", "old")):
        script.map(name, file, offset=number)
        shown.append((script.maps(name), script.read(name)))
    seen = guest.prober.run(script)
    new, old = ((canonical_vma(seen[maps].vma), seen[read].contents) for maps, read in shown)
    assert new == old
    assert new[1] == [f"uio:{number * PAGES + page}" for page in range(PAGES)]


def test_a_debugger_sees_what_uio_serves_on_faults(guest: Guest) -> None:
    script = _script(_load(guest))
    script.map("m", "old")
    peek = script.step("peek", "m", "all", by="mem")
    seen = guest.prober.run(script)
    assert seen[peek].contents == [f"uio:{page}" for page in range(PAGES)]


@pytest.mark.parametrize(
    ("number", "flags"), [(0, {"de", "dd"}), (1, {"io", "pf", "de", "dd"})], ids=["0", "1"]
)
def test_what_uio_maps_itself_neither_grows_nor_is_dumped(
    guest: Guest, number: int, flags: set[str]
) -> None:
    script = _script(_load(guest))
    script.map("m", "old", offset=number)
    maps = script.maps("m")
    grown = script.step("mremap", "m", len=f"{PAGES + 1}p", flags="maymove")
    seen = guest.prober.run(script)
    assert seen[maps].vma.vmflags & {"io", "pf", "de", "dd", "mm"} == flags
    assert seen[grown].error == "EFAULT"


@pytest.mark.parametrize("action", ["fault", "remap", "kernel_pages"])
def test_a_shared_write_is_seen_through_the_other_device(guest: Guest, action: str) -> None:
    script = _script(_load(guest, f"action={action}"))
    script.map("m", "f", pages=2)
    script.map("n", "old", pages=2)
    script.write("m", 0xFEED, "1")
    with script.fork():
        child = script.read("m")
    other = script.read("n")
    seen = guest.prober.run(script)
    assert seen[other].contents == ["uio:0", "fill:0xfeed"]
    assert seen[child].contents == seen[other].contents


@pytest.mark.guarantee(41)
def test_kernel_pages_are_there_at_once(guest: Guest) -> None:
    script = _script(_load(guest, "action=kernel_pages"))
    script.map("m", "f", offset=1)
    maps, read, log = script.maps("m"), script.read("m"), script.hooklog("uio")
    seen = guest.prober.run(script)
    assert "mm" in seen[maps].vma.vmflags
    assert seen[maps].vma.smaps["Rss"] << 10 == seen[maps].vma.size
    assert seen[read].contents == ["uio:4", "uio:5", "uio:6", "uio:7"]
    assert "fault" not in names(seen[log].events)


@pytest.mark.guarantee(8, 9, 10, 11, 12, 15, 16, 17)
def test_the_descriptor_tells_of_the_device_and_the_map(guest: Guest) -> None:
    devices = _load(guest)
    script = _script(devices)
    made = script.map("m", "f", pages=3, offset=1)
    log = script.hooklog("uio")
    seen = guest.prober.run(script)
    entry = only(seen[log].events, "prepare")
    node = devices.hooked.removeprefix("/dev/")
    found = {key: entry.values[key] for key in ("file", "vm_file", "mm", "vm_ops", "private")}
    assert found == {
        "file": node,
        "vm_file": node,
        "mm": "current",
        "vm_ops": "dummy",
        "private": "NULL",
    }
    assert (entry.number("start"), entry.number("pgoff")) == (seen[made].address, 1)
    assert entry.number("end") - entry.number("start") == seen[made].values["len"]
    assert (entry.values["action"], entry.values["override"], entry.values["hide"]) == (
        ("none", "0", "0")
    )


@pytest.mark.guarantee(48, 49, 50)
def test_mapped_runs_once_before_the_vma_is_visible(guest: Guest) -> None:
    script = _script(_load(guest))
    script.map("m", "f", pages=2)
    script.read("m", "0")
    log = script.hooklog("uio")
    events = guest.prober.run(script)[log].events
    assert names(events) == ["prepare", "prepare_done", "mapped", "fault"]
    mapped = only(events, "mapped")
    assert (mapped.values["visible"], mapped.values["private"]) == ("0", "pointer")


@pytest.mark.parametrize(
    ("device", "pages", "number"),
    [
        ("f", PAGES + 1, 0),
        ("old", PAGES + 1, 0),
        ("old", PAGES + 1, 1),
        ("f", 1, 2),
        ("f", 1, 5),
        ("old", 1, 5),
        ("old", 1, 9),
    ],
)
def test_what_no_map_has_is_refused_before_the_hook(
    guest: Guest, device: str, pages: int, number: int
) -> None:
    script = _script(_load(guest))
    made = script.map("m", device, pages=pages, offset=number)
    log = script.hooklog("uio")
    seen = guest.prober.run(script)
    assert seen[made].error == "EINVAL"
    assert seen[log].events == []


@pytest.mark.parametrize(
    ("number", "pages", "error"),
    [(2, 2, ""), (2, 3, "EINVAL"), (3, 1, "ENODEV"), (3, 2, "ENODEV"), (4, 1, "EINVAL")],
)
def test_a_map_within_pages_is_served_whole_or_not_at_all(
    guest: Guest, number: int, pages: int, error: str
) -> None:
    """drivers/uio/uio.c, uio_mmap() and uio_mmap_physical()."""
    script = _script(_load(guest))
    made = script.map("m", "old", pages=pages, offset=number)
    read = script.read("m")
    seen = guest.prober.run(script)
    assert seen[made].error == error
    if not error:
        assert seen[read].contents == [f"uio:{page}" for page in range(pages)]


@pytest.mark.parametrize(("number", "error"), [(-1, "EPERM"), (-12, "ENOMEM"), (-512, "512")])
@pytest.mark.guarantee(54)
def test_a_hooks_error_comes_back_verbatim(guest: Guest, number: int, error: str) -> None:
    script = _script(_load(guest, f"hook_error={number}"))
    script.map("m", "anon", pages=3)
    made = script.map("m", "f", pages=1, flags="shared,fixed", addr="m+1p")
    log = script.hooklog("uio")
    seen = guest.prober.run(script)
    assert seen[made].values.get("error", str(seen[made].errno)) == error
    assert names(seen[log].events) == ["prepare", "prepare_done"]


@pytest.mark.parametrize("action", ["fault", "remap", "kernel_pages"])
@pytest.mark.guarantee(51, 54, 55)
def test_an_error_of_mapped_leaves_a_hole(guest: Guest, action: str) -> None:
    script = _script(_load(guest, f"mapped_error=-28 action={action}"))
    script.map("m", "anon", pages=3)
    made = script.map("failed", "f", pages=1, flags="shared,fixed", addr="m+1p")
    log, left = script.hooklog("uio"), script.maps("m")
    script.map("n", "old")
    read = script.read("n")
    seen = guest.prober.run(script)
    assert seen[made].error == "ENOSPC"
    assert names(seen[log].events)[:3] == ["prepare", "prepare_done", "mapped"]
    assert len(seen[left].vmas) == 2
    first, last = seen[left].vmas
    assert last.start - first.end == first.size
    assert seen[read].contents == ["uio:0", "uio:1", "uio:2", "uio:3"]


@pytest.mark.guarantee(65, 67)
def test_opens_and_closes_balance(guest: Guest) -> None:
    script = _script(_load(guest))
    script.map("m", "f")
    with script.fork():
        script.step("munmap", "m", "1")
    script.step("munmap", "m", "0")
    script.step("munmap", "m", "2")
    script.step("munmap", "m")
    log = script.hooklog("uio")
    order = names(guest.prober.run(script)[log].events)
    assert order.count("mapped") == 1
    assert order.count("close") == order.count("open") + 1
    assert order.count("open") == 6, "a child, and five splits"


@pytest.mark.guarantee(27)
def test_a_mapping_keeps_the_module(guest: Guest) -> None:
    script = _script(_load(guest))
    script.map("m", "f")
    for name in ("f", "old"):
        script.step("close", name)
    refused = script.step("rmmod", MODULE)
    read = script.read("m", "0")
    seen = guest.prober.run(script)
    assert seen[refused].error == "EAGAIN"
    assert seen[read].contents == ["uio:0"]


@pytest.mark.defect(
    "KD8",
    symptom=r"the VMA's private data is NULL, and reads are .*SIGBUS.*",
    recorded=("7.2", "7.3.4"),
)
@pytest.mark.guarantee(24)
def test_what_uio_stored_in_the_vma_survives_a_hook_that_leaves_it(guest: Guest) -> None:
    """mm/vma.h, compat_set_vma_from_desc() copies private_data even if no hook has set it."""
    script = _script(_load(guest, "leave_private=1"))
    script.map("m", "f")
    read, log = script.read("m"), script.hooklog("uio")
    seen = guest.prober.run(script)
    private = {event.values["private"] for event in seen[log].events if event.name == "fault"}
    assert seen[read].contents == ["uio:0", "uio:1", "uio:2", "uio:3"], (
        f"the VMA's private data is {'/'.join(private)}, and reads are {seen[read].contents}"
    )
