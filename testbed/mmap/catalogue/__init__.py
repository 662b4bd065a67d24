# SPDX-License-Identifier: GPL-2.0
"""The named scenarios, by subject."""

from __future__ import annotations

from testbed.mmap.catalogue import actions, failures, fields, later, outer, vm_file
from testbed.mmap.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *fields.SCENARIOS,
    *actions.SCENARIOS,
    *failures.SCENARIOS,
    *vm_file.SCENARIOS,
    *outer.SCENARIOS,
    *later.SCENARIOS,
)
