# SPDX-License-Identifier: GPL-2.0
"""A check accuses no right driver, in any trial and on any path, and finds each wrong twin."""

from __future__ import annotations

import pytest
from driver_kinds import KINDS, Kind, check_kind, complaints

from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.path import HookPath

SHARED = [kind for kind in KINDS if kind.sharing == "shared"]
WRONG = [kind for kind in KINDS if kind.wrong]


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_a_right_driver_is_not_accused(lab: Lab, prepared: PreparedKernel, kind: Kind) -> None:
    found = check_kind(kind, lab, prepared)
    assert complaints(found) == []
    assert len([each for each in found.outcomes if not each.skipped]) > 50


@pytest.mark.parametrize("kind", SHARED, ids=[kind.name for kind in SHARED])
def test_private_mappings_of_a_right_driver_are_not_accused(
    lab: Lab, prepared: PreparedKernel, kind: Kind
) -> None:
    paths = (HookPath.DIRECT, HookPath.STACK_FIRST)
    found = check_kind(kind, lab, prepared, paths=paths, sharing="private")
    assert complaints(found) == []
    assert len([each for each in found.outcomes if not each.skipped]) > 50


@pytest.mark.parametrize("kind", WRONG, ids=[kind.name for kind in WRONG])
def test_a_wrong_twin_is_found(lab: Lab, prepared: PreparedKernel, kind: Kind) -> None:
    paths = (HookPath.DIRECT,)
    found = check_kind(kind, lab, prepared, wrong=True, paths=paths, trials=[kind.trial])
    assert any(kind.wrong in each for each in complaints(found)), complaints(found)
