# SPDX-License-Identifier: GPL-2.0
"""Tests that share a loaded module, and one that keeps it in use. test_batches.py runs them."""

from __future__ import annotations

from testbed.lab.guest import Guest
from testbed.mmap.probe import Prober

# It opens the file before it ends: a child in the background would do so at any time.
HOLDER = b"#!/bin/sh\nexec 3</dev/mmap_direct\nsleep 1000 >/dev/null 2>&1 &\n"
REFERENCES = "/sys/module/mmap_stack/refcnt"


def test_that_loads_the_module(guest: Guest, stack: Prober) -> None:
    assert guest.session.get(REFERENCES) == b"0\n"


def test_that_finds_the_module(guest: Guest) -> None:
    assert guest.session.get(REFERENCES) == b"0\n"


def test_that_keeps_the_module_in_use(guest: Guest, stack: Prober) -> None:
    # The agent ends all that it started, but not what the kernel starts.
    guest.session.put(HOLDER, "/tmp/hold", mode=0o755)
    guest.session.write(("/proc/sys/kernel/modprobe", b"/tmp/hold"))
    guest.session.check(["/bin/sh", "-c", "mount -t unknown none /tmp || true"])
    assert guest.session.get(REFERENCES) == b"1\n"
