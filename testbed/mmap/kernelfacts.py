# SPDX-License-Identifier: GPL-2.0
"""The facts of one test that kernels are compared by: equal on each boot of one kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator

from testbed.mmap.canonical import Canonical, canonical_facts
from testbed.mmap.observation import Fact, Observation

# What mmap(2) counts for a process. Sizes in memory depend on what else runs.
_COUNTED = ("VmSize", "VmLck", "VmData", "VmStk", "VmExe", "VmLib")

# Numbers of devices and processes are not those of the last boot.
_NUMBERS = re.compile(r"\d+")


def kernel_facts(observation: Observation) -> Canonical:
    """Return canonical_facts(), with the paths of mappings, and how the sizes of processes change.

    Paths depend on the hook's path, so that comparisons of paths do without them.
    """
    found = canonical_facts(observation)
    first: Fact | None = None
    for (step, child, _), fact in sorted(observation.facts.items()):
        label = f"{step} {fact.op}{' in the child' if child else ''}"
        if fact.op == "maps":
            found |= {f"{label}{where}": value for where, value in _paths(fact)}
        elif fact.op == "status" and "fields" in fact.values:
            first = first or fact
            found |= {f"{label}.{key}": value for key, value in _sizes(first, fact)}
    return found


def _paths(fact: Fact) -> Iterator[tuple[str, str]]:
    for index, vma in enumerate(fact.values.get("vmas", ())):
        yield f".vmas[{index}].path", _NUMBERS.sub("N", str(vma.get("path", "")))


def _sizes(first: Fact, fact: Fact) -> Iterator[tuple[str, str]]:
    for key in _COUNTED:
        had, has = (each.values["fields"].get(key) for each in (first, fact))
        if isinstance(had, int) and isinstance(has, int):
            yield key, f"{has - had:+d}"
