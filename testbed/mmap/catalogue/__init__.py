# SPDX-License-Identifier: GPL-2.0
"""The named scenarios, by subject."""

from __future__ import annotations

from testbed.mmap.catalogue import actions, both, failures, fields, later, outer, vm_file
from testbed.mmap.catalogue.defects import with_switch
from testbed.mmap.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = tuple(
    with_switch(scenario)
    for subject in (fields, actions, failures, vm_file, outer, both, later)
    for scenario in subject.SCENARIOS
)
