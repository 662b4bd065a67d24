# SPDX-License-Identifier: GPL-2.0
"""Memory without references that any test on a guest has left behind."""

from __future__ import annotations

import pytest

from testbed.lab.guest import Guest
from testbed.lab.lab import Lab
from testbed.settings import Isolation


@pytest.mark.guarantee(28)
@pytest.mark.last
@pytest.mark.kconfig("DEBUG_KMEMLEAK")
def test_nothing_is_left_without_a_reference(guest: Guest, lab: Lab) -> None:
    if lab.ctx.settings.isolation is not Isolation.SHARED:
        pytest.skip("tests leave nothing behind in clones or fresh guests: use --isolation shared")
    leaks = guest.leaks()
    assert not leaks, f"{len(leaks)} objects without a reference:\n" + "\n".join(
        leak.text for leak in leaks
    )
