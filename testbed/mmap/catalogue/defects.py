# SPDX-License-Identifier: GPL-2.0
"""Open defects of the kernel that named scenarios show (docs/findings.md)."""

from __future__ import annotations

import dataclasses

from testbed.mmap.path import MMAP_STACKS, PREPARING, HookPath
from testbed.mmap.prediction import is_refused
from testbed.mmap.scenario import OpenDefect, Scenario

COMPAT = tuple(path for path in HookPath if path.shape.compat)

_RECORDED = ("7.2", "7.3.4")
_REPLACEMENT = r"replacement of (top|hook) after munmap is \d+, not \d+"

# The layer takes a reference in addition to the one that the hook hands over.
KEPT = OpenDefect("KD1", _REPLACEMENT, _RECORDED, COMPAT, touches=r"\d+ counts\.replacement")
KEPT_SHMEM = OpenDefect(
    "KD1",
    r"(Committed_AS|Shmem) of meminfo after munmap is \d+, not \d+",
    _RECORDED,
    COMPAT,
    touches=r"\d+ meminfo\.(Committed_AS|Shmem)",
)

# The layer leaves the clean-up to the outer hook's caller, which does not call close().
NO_CLOSE = OpenDefect(
    "KD7",
    r"calls of close\(\) is 0, not 1",
    _RECORDED,
    COMPAT,
    touches=r"\d+ hooklog\.\d+( close\..*)?",
)

# The layer overwrites the outer hook's private data, even if the nested hook left it alone.
LOST_PRIVATE = OpenDefect(
    "KD8", r"(vm_private_data|private data of mapped\(\)) is \w+, not 0x77", _RECORDED, MMAP_STACKS
)

# If the core refuses the action of a hook, it never puts the replacement of that hook.
REFUSED = OpenDefect("KD12", _REPLACEMENT, _RECORDED, PREPARING)
# The same for the file to which an outer mmap_prepare has switched.
REFUSED_SWITCH = OpenDefect(
    "KD12",
    r"(lower of top|file of hook) after munmap is \d+, not \d+",
    _RECORDED,
    (HookPath.PREPARE_FIRST,),
    touches=r"\d+ counts\.(file|lower)",
)

# A scenario's plans are refused or not, whatever the size of a page.
_PAGE = 4096

# A failed mapping keeps the commit charge of what it replaced, here or on the reference path.
# After an error of mapped() only the layer shows this: the direct path undoes it by munmap. After
# one of the action, where a hook below mmap_prepare behaves as on the direct path, the reference.
KEPT_CHARGE = OpenDefect(
    "R13",
    r"Committed_AS (of meminfo after munmap is \d+|differs from the reference)",
    ("7.2", "7.2.13"),
    tuple(HookPath),
    touches=r"\d+ meminfo\.Committed_AS",
    fixed="7.3.4",
)
KEPT_CHARGE_OF_MAPPED = dataclasses.replace(KEPT_CHARGE, paths=COMPAT)
KEPT_CHARGE_OF_ACTION = dataclasses.replace(
    KEPT_CHARGE, paths=(HookPath.DIRECT, *COMPAT, HookPath.LEGACY)
)


def with_switch(scenario: Scenario) -> Scenario:
    """Add the defect that each plan shows which the core refuses below a hook that switches."""
    if scenario.plan.replace or not is_refused(scenario, _PAGE):
        return scenario
    shown, known = REFUSED_SWITCH, scenario.defect(HookPath.PREPARE_FIRST)
    if known is not None:  # an older kernel shows both
        shown = dataclasses.replace(
            shown,
            symptom=f"{shown.symptom}|{known.symptom}",
            touches=f"{shown.touches}|{known.touches}",
        )
    return dataclasses.replace(scenario, defects=(shown, *scenario.defects))
