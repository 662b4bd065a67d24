# SPDX-License-Identifier: GPL-2.0
"""The PCI BAR with memory behind it that each guest has (testbed/vm/qemu.py)."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.lab.guest import Guest

# ivshmem's vendor and device (QEMU's docs/specs/ivshmem-spec.rst); its BAR 2 is the memory.
_VENDOR, _DEVICE = "0x1af4", "0x1110"
_BAR = 2

# Its lines are the BARs: start, end and flags.
_FIND = """
for d in /sys/bus/pci/devices/*; do
    [ "$(cat $d/vendor) $(cat $d/device)" = "$1 $2" ] || continue
    echo 1 >$d/enable
    echo $d
    cat $d/resource
done
"""


@dataclass(frozen=True)
class Bar:
    """A memory BAR of an enabled device."""

    resource: str  # its file in sysfs, which can be mapped; with `_wc` behind it write-combining
    start: int  # physical address

    def pfn(self, page_size: int) -> int:
        return self.start // page_size


def find_bar(guest: Guest) -> Bar:
    """Find the BAR, and have its device answer."""
    found = guest.session.check(["sh", "-ec", _FIND, "sh", _VENDOR, _DEVICE]).out
    folder, *bars = found.splitlines()
    return Bar(f"{folder}/resource{_BAR}", int(bars[_BAR].split()[0], 16))
