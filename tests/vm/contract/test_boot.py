# SPDX-License-Identifier: GPL-2.0
"""The kernel under test builds and boots, and the guest runs that kernel."""

from __future__ import annotations

from testbed.lab.guest import Guest
from testbed.lab.lab import Lab
from testbed.settings import Isolation


def test_kernel_builds(lab: Lab, arch: str) -> None:
    assert lab.prepared(arch).kernel.image.is_file()


def test_kernel_boots(lab: Lab, arch: str) -> None:
    with lab.guest(arch, Isolation.BOOT) as guest:
        assert guest.vm.why_dead() is None


def test_guest_runs_the_kernel_that_was_built(guest: Guest) -> None:
    release = guest.session.check(["uname", "-r"]).out.strip()
    assert release == guest.prepared.kernel.release


def test_guest_has_the_machine_that_was_asked_for(guest: Guest) -> None:
    assert guest.session.check(["uname", "-m"]).out.strip() == guest.prepared.arch.uname
