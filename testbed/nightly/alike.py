# SPDX-License-Identifier: GPL-2.0
"""Findings that are alike, together: one broken hook fails dozens of tests. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from testbed.check.alike import change_kind
from testbed.history.records import Finding
from testbed.nightly.night import Night

Group = Sequence[Finding]


def alike(findings: Iterable[Finding], night: Night) -> list[Group]:
    """Return findings with one class and one cause together, the largest groups first.

    They are of one stream of kernels, with one series, and of any architecture and flavour.
    """
    groups: dict[Hashable, list[Finding]] = {}
    for finding in findings:
        lane = finding.lane
        key = (finding.kind, lane.stream, lane.series, lane.kind, _cause(finding, night))
        groups.setdefault(key, []).append(finding)
    return sorted(groups.values(), key=len, reverse=True)


def lanes_of(group: Group) -> str:
    """Return the lanes of a group, each with the number of its findings."""
    counts = Counter(finding.lane.key for finding in group)
    return ", ".join(f"{count} in {lane}" for lane, count in counts.items())


def _cause(finding: Finding, night: Night) -> Hashable:
    """Return what alike findings have in common besides class and kernels."""
    facts = night.facts_of(finding)
    if facts:
        return change_kind(facts[0])
    # Without a reason, the tests of one function are alike.
    return finding.failure.cause if finding.failure else finding.test.partition("[")[0]
