# SPDX-License-Identifier: GPL-2.0
"""PCI devices of the host that the user hands to a guest, with `--qemu -device vfio-pci,host=...`.

The kernel gives a device to a process only in a whole IOMMU group, and only if no driver of the
host uses a device of that group (Documentation/driver-api/vfio.rst).
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import SetupError
from testbed.process import user_name

_DEVICE = re.compile(r"vfio-pci,(?:.*,)?host=(?P<address>[0-9a-fA-F:.]+)(?:,|$)")

# linux/pci_ids.h: PCI_BASE_CLASS_BRIDGE. A bridge in the group needs no driver of VFIO.
_BRIDGE = 0x06

# Memory of a guest besides its RAM that VFIO pins as well: ROMs, and BARs of emulated devices.
_MORE_MIB = 128


@dataclass(frozen=True)
class HostPci:
    """Where the kernel shows its PCI devices. Tests replace it."""

    sys: Path = Path("/sys")
    dev: Path = Path("/dev")

    def device(self, address: str) -> Path:
        return self.sys / "bus" / "pci" / "devices" / address


def handed_in(words: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses of the devices that words for QEMU hand in, such as 0000:01:00.0."""
    found = (match["address"] for word in words if (match := _DEVICE.match(word)))
    return tuple(address if address.count(":") == 2 else f"0000:{address}" for address in found)


def iommu_group(address: str, pci: HostPci = HostPci()) -> str:
    """Return the number of a device's IOMMU group.

    Raises:
        SetupError: there is no such device, or the kernel uses no IOMMU.
    """
    if not pci.device(address).exists():
        raise SetupError(f"there is no PCI device {address}", hint="`lspci -D` lists the devices")
    link = pci.device(address) / "iommu_group"
    if not link.exists():
        raise SetupError(
            f"{address} is in no IOMMU group",
            hint="switch on the IOMMU in the firmware (VT-d, AMD-Vi, SMMU); on an Intel processor"
            " also boot with intel_iommu=on",
        )
    return link.resolve().name


def released(address: str, pci: HostPci = HostPci()) -> str:
    """Check that every device of the group waits for VFIO. Return their addresses.

    Raises:
        SetupError: a driver of the host has one, or none has it.
    """
    members = sorted(
        (pci.sys / "kernel/iommu_groups" / iommu_group(address, pci) / "devices").iterdir()
    )
    for member in members:
        device = pci.device(member.name)
        if int((device / "class").read_text(), 16) >> 16 == _BRIDGE:
            continue
        driver = device / "driver"
        owner = driver.resolve().name if driver.exists() else "no driver"
        if owner != "vfio-pci":
            raise SetupError(f"{owner} has {member.name}, not vfio-pci", hint=_release(member.name))
    return ", ".join(member.name for member in members)


def _release(address: str) -> str:
    """Return the commands that take a device from its driver."""
    device = f"/sys/bus/pci/devices/{address}"
    return (
        "as root: modprobe vfio-pci;"
        f" echo vfio-pci >{device}/driver_override;"
        f" echo {address} >{device}/driver/unbind;"
        f" echo {address} >/sys/bus/pci/drivers_probe"
    )


def group_node(address: str, pci: HostPci = HostPci()) -> str:
    """Return the file by which QEMU opens the device's group.

    Raises:
        SetupError: this user cannot open it.
    """
    node = pci.dev / "vfio" / iommu_group(address, pci)
    if not node.exists():
        raise SetupError(f"there is no {node}", hint=_release(address))
    if not os.access(node, os.R_OK | os.W_OK):
        message = f"{user_name()} cannot open {node}"
        raise SetupError(message, hint=f"run `sudo chown {user_name()} {node}`")
    return str(node)


def locked_memory(guest_mib: int, limit: int | None = None) -> str:
    """Check that a guest's memory may be locked: the device writes to it by physical address.

    Args:
        limit: in bytes; by default that of this process (getrlimit(2), RLIMIT_MEMLOCK).

    Raises:
        SetupError: the limit is too low.
    """
    if limit is None:
        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    needed = guest_mib + _MORE_MIB
    if limit != resource.RLIM_INFINITY and limit < needed << 20:
        raise SetupError(
            f"a process may lock {limit >> 20} MiB; the guest needs {needed}",
            hint=f"write `{user_name()} - memlock {needed << 10}` to"
            " /etc/security/limits.d/vfio.conf, then log in again",
        )
    return "unlimited" if limit == resource.RLIM_INFINITY else f"{limit >> 20} MiB"
