# SPDX-License-Identifier: GPL-2.0
"""tcmu, the only UIO provider in the tree with an mmap_prepare hook."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from testbed.lab.guest import Guest
from testbed.mmap.script import Script

pytestmark = pytest.mark.kconfig("TCM_USER2")

# A backstore of user_0 with the least memory. It expects no reply by netlink.
CONTROL = "dev_size=1048576,dev_config=testbed,nl_reply_supported=-1"
CONTROL += ",max_data_area_mb=1,data_pages_per_blk=1"

UP = f"""
modprobe target_core_user
[ -d /sys/kernel/config/target ] || mount -t configfs configfs /sys/kernel/config
mkdir -p /sys/kernel/config/target/core/user_0/t
cd /sys/kernel/config/target/core/user_0/t
echo {CONTROL} >control
echo 1 >enable
grep -l ^tcm-user/0/t /sys/class/uio/*/name
"""
DOWN = """
cd /sys/kernel/config/target/core
rmdir user_0/t
rmdir user_0
cd /
umount /sys/kernel/config
modprobe -r target_core_user
"""


@dataclass(frozen=True)
class Device:
    """The UIO device of a backstore."""

    node: str
    pages: int  # of its map, which must be mapped as a whole


@pytest.fixture
def device(guest: Guest) -> Device:
    """Set up a backstore. Its removal after the test fails if a mapping still refers to it."""
    guest.at_end(lambda: guest.session.check(["sh", "-ec", DOWN]))
    name = guest.session.check(["sh", "-ec", UP]).out.split("/")[-2]
    size = int(guest.session.get(f"/sys/class/uio/{name}/maps/map0/size"), 16)
    return Device(f"/dev/{name}", size // guest.session.hello().page_size)


def _script(device: Device) -> Script:
    script = Script()
    script.open("f", device.node)
    return script


def test_the_command_ring_is_shared_with_the_kernel(guest: Guest, device: Device) -> None:
    script = _script(device)
    made = script.map("m", "f", pages=device.pages)
    maps, mailbox = script.maps("m"), script.read("m", "0,1")
    with script.fork():
        script.write("m", 0x5, "1")
    ring = script.read("m", "1")
    seen = guest.prober.run(script)
    assert seen[made].errno == 0
    assert seen[maps].vma.vmflags >= {"de", "dd", "sh"}
    assert seen[maps].vma.path == device.node
    # struct tcmu_mailbox (include/uapi/linux/target_core_user.h): u16 version, which is 2,
    # u16 flags, u32 offset of the ring.
    first = int(seen[mailbox].values["pages"][0]["word"], 16)
    assert first & 0xFFFF == 2
    assert seen[mailbox].contents[1] == "zero"
    assert seen[ring].contents == ["fill:0x5"]


def test_a_data_page_without_a_command_is_sigbus(guest: Guest, device: Device) -> None:
    script = _script(device)
    script.map("m", "f", pages=device.pages)
    read = script.read("m", str(device.pages - 1))
    assert guest.prober.run(script)[read].results == ["SIGBUS"]


@pytest.mark.guarantee(54)
@pytest.mark.parametrize("more", [-1, 1])
def test_another_size_than_the_maps_is_refused(guest: Guest, device: Device, more: int) -> None:
    """The hook refuses one page less; drivers/uio/uio.c already refuses one page more."""
    script = _script(device)
    made = script.map("m", "f", pages=device.pages + more)
    again = script.map("m", "f", pages=device.pages)
    seen = guest.prober.run(script)
    assert (seen[made].error, seen[again].error) == ("EINVAL", "")


def test_a_split_mapping_outlives_its_file_and_lets_go(guest: Guest, device: Device) -> None:
    """A leaked reference would make the removal of the device fail."""
    script = _script(device)
    script.map("m", "f", pages=device.pages)
    script.step("close", "f")
    with script.fork():
        script.step("munmap", "m", "1")
    read = script.read("m", "0")
    seen = guest.prober.run(script)
    assert seen[read].results == ["ok"]
