# SPDX-License-Identifier: GPL-2.0
"""The mmap offset that an ioctl of the plan returns, from which all offsets of a trial count.

Drivers hand out buffers in this way: V4L2's VIDIOC_QUERYBUF, DRM's MAP_DUMB. The value may differ
after each open(2), so the probe takes it over while the script runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from testbed.mmap.observation import Fact, FactDict, Observation


def returned_offset(fact: Fact) -> int | None:
    """Return the mmap offset in bytes that a step returned, or None."""
    text = fact.values.get("mmap_offset")
    return None if text is None else int(text, 16)


def relative(seen: Observation) -> Iterator[Fact]:
    """Yield the facts in order, with file offsets that count from the mmap offset.

    Otherwise one mapping would show another offset on each path.
    """
    page_size, start = 1, 0
    for _, fact in sorted(seen.facts.items()):
        page_size = int(fact.values.get("page_size", page_size))
        taken = returned_offset(fact)
        start = start if taken is None else taken
        yield _less(fact, start, page_size) if start else fact


def _less(fact: Fact, start: int, page_size: int) -> Fact:
    values = dict(fact.values)
    if "vmas" in values:
        values["vmas"] = [_lowered(vma, "offset", start) for vma in values["vmas"]]
    if "pgoff" in values:
        values = _lowered(values, "pgoff", start // page_size)
    return dataclasses.replace(fact, values=FactDict(values))


def _lowered(values: Mapping[str, Any], key: str, start: int) -> dict[str, Any]:
    """Subtract from a hexadecimal value. A lower one is not an offset in the driver's file."""
    number = int(values[key], 16)
    return {**values, key: hex(number - start if number >= start else number)}
