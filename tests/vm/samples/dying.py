# SPDX-License-Identifier: GPL-2.0
"""Tests whose worker process dies: once, and each time. test_batches.py runs them."""

from __future__ import annotations

import os
import signal

from testbed.lab.guest import Guest
from testbed.lab.lab import Lab


def test_before(guest: Guest) -> None:
    assert guest.session.get("/proc/version")


def test_whose_worker_dies_once(guest: Guest, lab: Lab) -> None:
    try:
        (lab.run_dir / "died").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def test_whose_worker_dies_each_time(guest: Guest) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_behind(guest: Guest) -> None:
    assert guest.session.get("/proc/version")
