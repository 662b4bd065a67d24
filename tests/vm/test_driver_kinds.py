# SPDX-License-Identifier: GPL-2.0
"""A check accuses no right driver, and finds wrong twins: a sample of tests/long."""

from __future__ import annotations

import pytest
from driver_kinds import KINDS, check_kind, complaints

from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.path import HookPath

BY_NAME = {kind.name: kind for kind in KINDS}

PATHS = (HookPath.DIRECT, HookPath.STACK_FIRST)

# A trial in which an earlier version accused the right driver.
ACCUSED = {
    "dontcopy": "close-first",
    "once": "again",
    "read_only": "write-later",
    "volatile": "fork",
    "exec_only": "mprotect-part",
    "index": "adjacent",
    "token": "adjacent",
    "pins": "exit",
}


@pytest.mark.parametrize("name", ACCUSED)
def test_a_right_driver_is_not_accused(lab: Lab, prepared: PreparedKernel, name: str) -> None:
    found = check_kind(BY_NAME[name], lab, prepared, paths=PATHS, trials=[ACCUSED[name]])
    assert complaints(found) == []
    load, *ran = [each for each in found.outcomes if not each.skipped]
    assert load.trial == "load"
    trial = f"{ACCUSED[name]}-shared"
    assert [(each.trial, each.path) for each in ran] == [(trial, path) for path in PATHS]
    assert all(each.facts for each in ran)


@pytest.mark.parametrize("name", ["dontcopy", "once", "read_only", "volatile", "token", "index"])
def test_a_wrong_twin_is_found(lab: Lab, prepared: PreparedKernel, name: str) -> None:
    kind = BY_NAME[name]
    paths = (HookPath.DIRECT,)
    found = check_kind(kind, lab, prepared, wrong=True, paths=paths, trials=[kind.trial])
    said = [each for each in complaints(found) if each.startswith(f"{kind.trial}-")]
    assert any(kind.wrong in each for each in said), complaints(found)


def test_modules_are_chosen_and_one_that_cannot_be_unloaded_stays(
    lab: Lab, prepared: PreparedKernel
) -> None:
    modules = ("kinds_stays", "kinds")
    found = check_kind(BY_NAME["plain"], lab, prepared, trials=["exit"], modules=modules)
    assert complaints(found) == []
    assert any("kinds_stays.ko pins itself" in note for note in found.notes)


def test_a_module_that_refuses_to_stay_is_named(lab: Lab, prepared: PreparedKernel) -> None:
    modules = ("kinds_refuses", "kinds")
    found = check_kind(BY_NAME["plain"], lab, prepared, trials=["exit"], modules=modules)
    [complaint] = complaints(found)
    assert "kinds_refuses.ko does not load: EAGAIN" in complaint
    assert 'modules = ["kinds"]' in complaint
