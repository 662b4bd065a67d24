# SPDX-License-Identifier: GPL-2.0
"""A guest that a driver damages is judged by its kernel: a splat, or where it hangs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from testbed.deadline import Deadline
from testbed.errors import GuestTimeout
from testbed.kernel.driver import find_driver
from testbed.lab.guest import Guest
from testbed.lab.lab import Lab
from testbed.mmap.probe import PROGRAM
from testbed.mmap.script import Script
from testbed.settings import CHECKOUT

DRIVER = CHECKOUT / "tests/vm/drivers/corrupt"


Load = Callable[[str], None]

pytestmark = pytest.mark.isolation("boot")


@pytest.fixture
def load(lab: Lab, guest: Guest) -> Load:
    """Return a function that loads the driver. The guest is given up: it will be damaged."""
    driver = find_driver(DRIVER, guest.prepared.kernel, guest.prepared.request, lab.ctx)

    def load(how: str) -> None:
        (module,) = driver.modules
        guest.session.put(module.path.read_bytes(), "/corrupt.ko")
        guest.binaries[module.name] = module.path
        guest.session.load_module("/corrupt.ko", f"how={how}")

    return load


def test_a_silent_hang_is_shown_by_registers_and_call_trace(guest: Guest, load: Load) -> None:
    """The console is silent: with interrupts off, on one CPU, no watchdog runs."""
    load("loop")
    script = Script()
    script.open("f", "/dev/corrupt")
    script.map("m", "f")
    with pytest.raises(GuestTimeout, match="the guest hangs") as caught:
        guest.session.run([PROGRAM], stdin=script.text.encode(), deadline=Deadline.after(1))
    guest.give_up("it hangs")
    shown = caught.value.evidence
    assert "CPU 0 is in the kernel, interrupts off" in shown
    assert "loop_forever+0x" in shown
    assert "[corrupt]" in shown
    called = [line.partition("+")[0].strip(" ?") for line in shown.splitlines()]
    callers = ("loop_forever", "corrupt_mmap", "mmap_region", "do_mmap", "vm_mmap_pgoff")
    places = [called.index(name) for name in callers]
    assert places == sorted(places)
