# SPDX-License-Identifier: GPL-2.0
"""Drivers of the kernel itself in checks: a sample that every kernel has; tests/long has all."""

from __future__ import annotations

import pytest
from driver_kinds import complaints
from intree_drivers import check_driver

from testbed.intree.recipe import load_recipes
from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.path import HookPath

# A file by open(2) with a set-up, a file by an opener with a cookie for its offset, and one whose
# pages change.
SAMPLE = ("sysfs-pci", "io_uring-sqes", "perf")

PATHS = (HookPath.DIRECT, HookPath.STACK_FIRST)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_driver_of_the_kernel_is_checked(lab: Lab, prepared: PreparedKernel, name: str) -> None:
    trials = ("sizes", "fork", "again")
    found = check_driver(load_recipes()[name], lab, prepared, paths=PATHS, trials=trials)
    assert complaints(found) == []
    ran = {(each.trial, each.path) for each in found.outcomes if not each.skipped}
    assert ran >= {(f"{trial}-shared", path) for trial in trials for path in PATHS}
    assert found.base_mappings
