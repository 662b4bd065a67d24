# SPDX-License-Identifier: GPL-2.0
"""PCI devices that are handed to a guest: what the host has to offer for that."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from testbed.errors import SetupError
from testbed.vm.vfio import HostPci, group_node, handed_in, iommu_group, locked_memory, released

CARD, NEIGHBOUR, BRIDGE = "0000:01:00.0", "0000:01:00.1", "0000:00:01.0"


@pytest.fixture
def pci(tmp_path: Path) -> HostPci:
    """A host with a card of two functions behind a bridge, all in group 7, ready for VFIO."""
    found = HostPci(tmp_path / "sys", tmp_path / "dev")
    members = found.sys / "kernel/iommu_groups/7/devices"
    members.mkdir(parents=True)
    (found.dev / "vfio").mkdir(parents=True)
    (found.dev / "vfio/7").touch()
    for address, kind in ((CARD, 0x020000), (NEIGHBOUR, 0x040300), (BRIDGE, 0x060400)):
        device = found.device(address)
        device.mkdir(parents=True)
        (device / "class").write_text(f"{kind:#08x}\n")
        (device / "iommu_group").symlink_to(members.parent)
        (members / address).symlink_to(device)
        drive(found, address, "pcieport" if address == BRIDGE else "vfio-pci")
    return found


def drive(pci: HostPci, address: str, driver: str) -> None:
    place = pci.sys / "bus/pci/drivers" / driver
    place.mkdir(parents=True, exist_ok=True)
    link = pci.device(address) / "driver"
    link.unlink(missing_ok=True)
    link.symlink_to(place)


@pytest.mark.parametrize(
    ("words", "addresses"),
    [
        (("-device", "vfio-pci,host=01:00.0"), (CARD,)),
        (("-device", "vfio-pci,id=x,host=0000:01:00.0,multifunction=on"), (CARD,)),
        (("-device", "edu"), ()),
    ],
)
def test_the_devices_are_found_in_the_words_for_qemu(
    words: tuple[str, ...], addresses: tuple[str, ...]
) -> None:
    assert handed_in(words) == addresses


def test_a_device_that_waits_for_vfio_is_good(pci: HostPci) -> None:
    assert iommu_group(CARD, pci) == "7"
    assert released(CARD, pci) == f"{BRIDGE}, {CARD}, {NEIGHBOUR}"
    assert group_node(CARD, pci) == str(pci.dev / "vfio/7")


def test_a_device_that_does_not_exist_is_named(pci: HostPci) -> None:
    with pytest.raises(SetupError, match=r"no PCI device 0000:05:00\.0"):
        iommu_group("0000:05:00.0", pci)


def test_without_an_iommu_there_is_no_group(pci: HostPci) -> None:
    (pci.device(CARD) / "iommu_group").unlink()
    with pytest.raises(SetupError, match="in no IOMMU group") as caught:
        iommu_group(CARD, pci)
    assert "intel_iommu=on" in caught.value.hint


def test_a_neighbour_with_a_driver_of_the_host_is_in_the_way(pci: HostPci) -> None:
    drive(pci, NEIGHBOUR, "snd_hda_intel")
    with pytest.raises(SetupError, match=f"snd_hda_intel has {NEIGHBOUR}, not vfio-pci") as caught:
        released(CARD, pci)
    assert f"echo {NEIGHBOUR} >/sys/bus/pci/drivers_probe" in caught.value.hint


def test_a_device_without_a_driver_is_not_ready(pci: HostPci) -> None:
    (pci.device(CARD) / "driver").unlink()
    with pytest.raises(SetupError, match=f"no driver has {CARD}"):
        released(CARD, pci)


def test_a_missing_node_is_made_by_the_driver(pci: HostPci) -> None:
    (pci.dev / "vfio/7").unlink()
    with pytest.raises(SetupError, match="there is no") as caught:
        group_node(CARD, pci)
    assert "modprobe vfio-pci" in caught.value.hint


def test_a_node_of_root_is_given_to_the_user(pci: HostPci, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(SetupError, match="cannot open") as caught:
        group_node(CARD, pci)
    assert "sudo chown" in caught.value.hint


def test_the_guests_memory_must_be_lockable() -> None:
    assert locked_memory(512, resource.RLIM_INFINITY) == "unlimited"
    assert locked_memory(512, 640 << 20) == "640 MiB"
    with pytest.raises(SetupError, match="may lock 639 MiB; the guest needs 640") as caught:
        locked_memory(512, (640 << 20) - 1)
    assert f"memlock {640 << 10}" in caught.value.hint
