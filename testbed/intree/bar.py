# SPDX-License-Identifier: GPL-2.0
"""Page frames of each guest: of its memory-backed PCI BAR (testbed/vm/qemu.py), and of its RAM."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.lab.guest import Guest

# Vendor and device of ivshmem, whose BAR 2 is memory (QEMU, docs/specs/ivshmem-spec.rst).
_VENDOR, _DEVICE = "0x1af4", "0x1110"
_BAR = 2

# One line of `resource` per BAR: start, end and flags.
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

    resource: str  # its mappable file in sysfs; the suffix `_wc` gives write-combining
    start: int  # physical address

    def pfn(self, page_size: int) -> int:
        return self.start // page_size


def find_bar(guest: Guest) -> Bar:
    """Find the BAR, and enable its device."""
    found = guest.session.check(["sh", "-ec", _FIND, "sh", _VENDOR, _DEVICE]).out
    folder, *bars = found.splitlines()
    return Bar(f"{folder}/resource{_BAR}", int(bars[_BAR].split()[0], 16))


def find_ram(guest: Guest) -> int:
    """Return the number of a page frame in the middle of the guest's last range of RAM."""
    lines = guest.session.get("/proc/iomem").decode().splitlines()
    last = [line for line in lines if line.strip().endswith("System RAM")][-1]
    start, end = (int(word, 16) for word in last.split(" : ")[0].strip().split("-"))
    return (start + end) // 2 // guest.session.hello().page_size
