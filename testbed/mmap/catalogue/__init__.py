"""The named scenarios, by what they are about."""

from __future__ import annotations

from testbed.mmap.catalogue import actions, errors, fields, files, later, outer
from testbed.mmap.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *fields.SCENARIOS,
    *actions.SCENARIOS,
    *errors.SCENARIOS,
    *files.SCENARIOS,
    *outer.SCENARIOS,
    *later.SCENARIOS,
)
