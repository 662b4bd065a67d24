# SPDX-License-Identifier: GPL-2.0
"""The testbed works on the hosts that users have: each in a VM, with KVM of its own."""

from __future__ import annotations

import sys

import pytest
from hosting.hosttable import HOSTS

from testbed.deadline import Deadline
from testbed.process import Argv, run
from testbed.settings import CHECKOUT

_PATIENCE = 4 * 3600.0  # seconds, with a disk that has to be made first


@pytest.mark.parametrize("name", HOSTS)
def test_a_user_of_the_host_can_do_what_the_commands_promise(name: str) -> None:
    argv: Argv = [sys.executable, CHECKOUT / "scripts" / "hosts.py", "--host", name]
    shown = run(argv, deadline=Deadline.after(_PATIENCE), ok=(0, 1)).stdout
    assert " passed, 0 failed" in shown, shown
