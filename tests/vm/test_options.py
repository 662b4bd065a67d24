# SPDX-License-Identifier: GPL-2.0
"""The user's own words for QEMU and for the kernel, on a real guest."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.process import run
from testbed.results.model import EXIT_EXPECTED, EXIT_SETUP
from testbed.settings import Isolation

Command = Callable[..., list[str]]

# The PCI device id of QEMU's device `edu`.
EDU = "0x11e8"

# A device that QEMU cannot save.
UNSAVEABLE = (
    "-object memory-backend-ram,id=more,size=1M -device ivshmem-plain,memdev=more,master=off"
)


def test_the_guest_has_the_users_device_and_words(
    lab: Lab, prepared: PreparedKernel, tmp_path: Path
) -> None:
    settings = dataclasses.replace(
        lab.ctx.settings,
        qemu=("-device", "edu"),
        cmdline='own="two  words"',
        isolation=Isolation.BOOT,
        results_dir=tmp_path,
    )
    ctx = dataclasses.replace(lab.ctx, settings=settings)
    with closing(Lab(ctx, lab.series)) as own, own.guest(prepared.arch.name) as guest:
        assert guest.session.get("/proc/cmdline").decode().strip().endswith('own="two  words"')
        found = guest.session.check(["sh", "-c", "cat /sys/bus/pci/devices/*/device"]).out
        assert EDU in found.split()


def test_a_word_that_qemu_refuses_is_the_callers_fault(command: Command) -> None:
    done = run(command("boot", "--qemu", "-device nosuch"), ok=range(256))
    assert done.status == EXIT_SETUP, done.stdout + done.stderr
    assert "'nosuch' is not a valid device model name" in done.stderr
    assert "is --qemu right? It appends -device nosuch" in done.stderr


def test_with_a_device_that_cannot_be_saved_every_test_boots(command: Command) -> None:
    tests = "test_pgoff_is_the_offset_in_pages and direct"
    words = ("run", "--workers", "1", "--qemu", UNSAVEABLE, "-k", tests)
    done = run(command(*words), ok=range(256))
    said = done.stdout + done.stderr
    assert done.status == EXIT_EXPECTED, said
    assert f"every test boots, because QEMU cannot save a VM with {UNSAVEABLE}" in done.stdout
    assert len(re.findall("^template of .*: done", said, re.MULTILINE)) == 1, said
