# SPDX-License-Identifier: GPL-2.0
"""The verdict on a test: pass, or who is to blame. Pure; plugin.py calls it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from testbed.errors import (
    GuestError,
    GuestLost,
    GuestTimeout,
    InfraError,
    KernelSplat,
    SetupError,
    TreeError,
)
from testbed.kernel.version import numbers_of
from testbed.results.model import Status


@dataclass(frozen=True)
class Verdict:
    """The verdict on one phase of a test."""

    status: Status
    reason: str = ""
    error: str = ""  # class of the exception


@dataclass(frozen=True)
class Defect:
    """An open defect of the kernel: its symptom, and the versions that showed it."""

    name: str
    symptom: str  # a regular expression, searched in the failure
    recorded: tuple[str, str]  # first and last version that showed it; it must show in this range
    fixed: str = ""  # first version with the fix: from there on an ordinary test


def judge(error: BaseException, when: str) -> Verdict:
    """Return the verdict on a phase (setup, call or teardown) that raised `error`."""
    name = type(error).__name__
    return Verdict(_blame(error, when), str(error) or name, name)


def judge_defect(defect: Defect, version: str, error: BaseException | None) -> Verdict:
    """Return the verdict on the call of a test with a known defect, on kernel `version`.

    Only a failure with the recorded symptom is the defect; any other failure is judged as usual.
    """
    if defect.fixed and numbers_of(version) >= numbers_of(defect.fixed):
        return Verdict(Status.PASS) if error is None else judge(error, "call")
    first, last = (numbers_of(text) for text in defect.recorded)
    if error is None and first <= numbers_of(version) <= last:
        reason = f"{defect.name} did not show on {version}, where it was recorded"
        return Verdict(Status.FAIL, reason)
    if error is None:
        return Verdict(Status.FIXED, f"{defect.name}: fixed in {version}")
    shown = re.search(defect.symptom, str(error))
    if isinstance(error, AssertionError | KernelSplat) and shown:
        return Verdict(Status.XFAIL, f"{defect.name}: {shown[0]}")
    return judge(error, "call")


def _blame(error: BaseException, when: str) -> Status:
    """Return the status for `error`. Only evidence from a guest that ran is a FAIL.

    A kernel that does not build or boot fails the test of the build or of the boot, in its call.
    Tests that need the kernel in their setup are a MISS. A guest that is broken when a test begins
    was damaged by an earlier test, which did not notice: that is a FAIL too.
    """
    if isinstance(error, KernelSplat | GuestLost | GuestTimeout):
        return Status.FAIL
    if isinstance(error, TreeError | GuestError):
        return Status.MISS if when == "setup" else Status.FAIL
    if isinstance(error, AssertionError | pytest.fail.Exception):
        return Status.FAIL
    return Status.MISS if isinstance(error, InfraError | SetupError) else Status.ERROR
