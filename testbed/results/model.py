# SPDX-License-Identifier: GPL-2.0
"""The results of a run, as values. A case starts as MISS, and only evidence changes that."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

from testbed import errors
from testbed.settings import option_words


class Status(StrEnum):
    """The outcome of one case, worst first. The words are those of KCIDB where it has them."""

    FAIL = "FAIL"  # the kernel under test misbehaved
    ERROR = "ERROR"  # the test itself broke, which says nothing about the kernel
    MISS = "MISS"  # the host or the testbed broke; the test did not run
    XFAIL = "XFAIL"  # a recorded, open kernel defect appeared
    FIXED = "FIXED"  # a recorded defect did not appear on a kernel outside its range
    PASS = "PASS"
    SKIP = "SKIP"  # not applicable here; the case has the reason

    @property
    def as_expected(self) -> bool:
        return self not in (Status.FAIL, Status.ERROR, Status.MISS)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try of a test that was tried more than once."""

    status: Status
    alone: bool  # no other test had used its guest
    error: str = ""  # as in Case, like the rest
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """One test on one architecture, and on one path if it has a path."""

    test: str  # pytest's node id
    arch: str = ""
    path: str = ""
    guarantees: tuple[int, ...] = ()  # those that it tests: testbed/mmap/guarantees.py
    reaches: tuple[str, ...] = ()  # `HOOK by WAY`: the kernel's own hooks that it runs
    status: Status = Status.MISS
    seconds: float = 0.0
    error: str = ""  # the class of an unexpected exception
    reason: str = ""  # one line: why it was skipped, why it may fail, or what failed
    evidence: str = ""  # all that a reader needs to judge the case: facts, hook log, splat
    attempts: tuple[Attempt, ...] = ()  # all in order, if there were several; see `Run.retried`

    def tries(self, *, alone: bool) -> tuple[Attempt, ...]:
        """Return all tries of the test. If it was tried once only, that one was `alone` or not."""
        once = Attempt(
            status=self.status,
            alone=alone,
            error=self.error,
            reason=self.reason,
            seconds=self.seconds,
        )
        return self.attempts or (once,)

    def raised(self, kind: type[Exception]) -> bool:
        """Whether the case raised an error of the testbed of this kind."""
        return issubclass(getattr(errors, self.error, Exception), kind)

    @property
    def row(self) -> str:
        """The row of the case in a table."""
        return row_of(self.test, self.path)

    @property
    def name(self) -> str:
        """The test function, without its file and parameters."""
        return self.test.rpartition("::")[2].partition("[")[0]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The environment in which the cases of one architecture ran."""

    arch: str
    kernel: str  # the guest's `uname -r`
    source: str
    series: tuple[str, ...]
    flavour: str
    isolation: str
    accel: str
    accel_reason: str
    qemu: str
    build_seconds: float = 0.0  # of the kernel, if this run built it
    config: tuple[str, ...] = ()  # files of the user's fragments
    cmdline: str = ""  # the user's words for the kernel
    qemu_argv: tuple[str, ...] = ()  # the user's words for QEMU
    kernel_key: str = ""  # equal kernels have equal keys; empty in older results, as the next four
    commit: str = ""  # the git commit with the kernel's text, if it is one
    patchset: str = ""  # a digest of the series
    compiler: str = ""  # the first line of its --version
    config_digest: str = ""  # SHA-256 of the .config

    @property
    def options(self) -> str:
        """The options that repeat the user's changes to kernel and QEMU; empty without any."""
        return shlex.join(option_words(self.config, self.cmdline, self.qemu_argv))


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run: its cases and their environments."""

    name: str
    command: str  # repeats the run
    started: str  # ISO 8601, UTC
    seconds: float = 0.0
    environments: tuple[Environment, ...] = ()
    cases: tuple[Case, ...] = ()
    retried: tuple[str, ...] = ()  # infrastructure errors that did not recur on a second try
    seed: int | None = None  # of the order of the tests; None: in the order of their files
    left_out: str = ""  # what a selection of the tests does not touch, one line

    def count(self, status: Status) -> int:
        return sum(case.status is status for case in self.cases)


# The facts that the scripts of a test saw, by script and place. They are canonical: equal kernels
# have equal facts.
TestFacts = Mapping[str, Mapping[str, str]]

# The same of several tests, by test.
Facts = Mapping[str, TestFacts]

# Exit status of `testbed run`, as docs/running.md documents it.
EXIT_EXPECTED = 0
EXIT_FINDINGS = 1
EXIT_SETUP = 2
EXIT_INFRA = 3


def exit_status(cases: Iterable[Case]) -> int:
    """Return the exit status of a run.

    0: all is as expected. 1: the kernel misbehaved. 3: infrastructure failed, or no case ran.
    """
    found = {case.status for case in cases}
    if Status.FAIL in found:
        return EXIT_FINDINGS
    if not found - {Status.SKIP} or Status.ERROR in found or Status.MISS in found:
        return EXIT_INFRA
    return EXIT_EXPECTED


def row_of(test: str, path: str) -> str:
    """Return the row of a test in a table: its path, or without one the subject of its file."""
    if path:
        return path
    return PurePath(test.partition("::")[0]).stem.removeprefix("test_").replace("_", " ")


def worst(statuses: Iterable[Status]) -> Status:
    """Return the worst of several statuses, which a summary shows."""
    order = list(Status)
    return min(statuses, key=order.index)
