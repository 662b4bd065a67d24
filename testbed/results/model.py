# SPDX-License-Identifier: GPL-2.0
"""What a run found, as values. A case starts as MISS: only evidence makes it anything else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

from testbed import errors


class Status(StrEnum):
    """One case's outcome, in the words of KCIDB where it has one; gravest first."""

    FAIL = "FAIL"  # the kernel under test misbehaved
    ERROR = "ERROR"  # the test itself broke; of the kernel nothing is known
    MISS = "MISS"  # the host or the testbed broke; the test did not run
    XFAIL = "XFAIL"  # an open kernel defect showed itself, as recorded
    FIXED = "FIXED"  # a recorded defect did not show on a kernel outside its range
    PASS = "PASS"
    SKIP = "SKIP"  # not applicable here, with the reason

    @property
    def as_expected(self) -> bool:
        return self not in (Status.FAIL, Status.ERROR, Status.MISS)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One test on one architecture, and on one path where it has one."""

    test: str  # pytest's node id
    arch: str = ""
    path: str = ""
    guarantees: tuple[int, ...] = ()  # that it is about: testbed/mmap/guarantees.py
    reaches: tuple[str, ...] = ()  # `HOOK by WAY`: the kernel's own hooks that it runs
    status: Status = Status.MISS
    seconds: float = 0.0
    error: str = ""  # the class of what it raised, when that was not expected
    reason: str = ""  # why it was skipped, expected to fail, or what failed, in one line
    evidence: str = ""  # what a reader needs to judge it: facts, hook log, splat

    def raised(self, kind: type[Exception]) -> bool:
        """Whether what it raised is an error of the testbed's of this kind."""
        return issubclass(getattr(errors, self.error, Exception), kind)

    @property
    def row(self) -> str:
        """Its row in a table."""
        return row_of(self.test, self.path)

    @property
    def name(self) -> str:
        """The test function without its file and parameters."""
        return self.test.rpartition("::")[2].partition("[")[0]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the cases of one architecture ran on."""

    arch: str
    kernel: str  # the guest's `uname -r`
    source: str
    series: tuple[str, ...]
    flavour: str
    isolation: str
    accel: str
    accel_reason: str
    qemu: str
    build_seconds: float = 0.0  # of the kernel, when it was built


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run: its cases and what they ran on."""

    name: str
    command: str  # what to type to do it again
    started: str  # ISO 8601, UTC
    seconds: float = 0.0
    environments: tuple[Environment, ...] = ()
    cases: tuple[Case, ...] = ()
    retried: tuple[str, ...] = ()  # infrastructure errors that a second try got over

    def count(self, status: Status) -> int:
        return sum(case.status is status for case in self.cases)


# What the scripts of each test saw: by test, script and place; canonical, so that equal kernels
# have equal facts.
Facts = Mapping[str, Mapping[str, Mapping[str, str]]]

# Exit status of `testbed run`, as docs/running.md documents it.
EXIT_EXPECTED = 0
EXIT_FINDINGS = 1
EXIT_SETUP = 2
EXIT_INFRA = 3


def exit_status(cases: Iterable[Case]) -> int:
    """0 all as expected, 1 the kernel misbehaved, 3 infrastructure; no case that ran is 3."""
    found = {case.status for case in cases}
    if Status.FAIL in found:
        return EXIT_FINDINGS
    if not found - {Status.SKIP} or Status.ERROR in found or Status.MISS in found:
        return EXIT_INFRA
    return EXIT_EXPECTED


def row_of(test: str, path: str) -> str:
    """The row of a test in a table: its path; the subject of its file where it has none."""
    stem = PurePath(test.partition("::")[0]).stem
    return path or stem.removeprefix("test_").replace("_", " ")


def worst(statuses: Iterable[Status]) -> Status:
    """The one that a summary of several shows."""
    order = list(Status)
    return min(statuses, key=order.index)
