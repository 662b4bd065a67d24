# SPDX-License-Identifier: GPL-2.0
"""Who is to blame for how a test ended. Pure; plugin.py asks, recorder.py keeps."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from testbed.errors import GuestError, InfraError, KernelSplat, SetupError, TreeError
from testbed.kernel.version import numbers_of
from testbed.results.model import Status


@dataclass(frozen=True)
class Verdict:
    """What one phase of a test says of it."""

    status: Status
    reason: str = ""
    error: str = ""  # the class of what was raised


@dataclass(frozen=True)
class Defect:
    """An open defect of the kernel: how it shows, and where it was seen."""

    name: str
    symptom: str  # a regular expression, searched in the failure
    recorded: tuple[str, str]  # first and last version it was seen on: strict in between
    fixed: str = ""  # the first version that has the fix: from there on the test is any other


def judge(error: BaseException, when: str) -> Verdict:
    """The verdict on a phase (setup, call or teardown) that raised `error`."""
    name = type(error).__name__
    return Verdict(_blame(error, when), str(error) or name, name)


def judge_defect(defect: Defect, version: str, error: BaseException | None) -> Verdict:
    """The verdict on the call of a test that is known to fail on `version` of the kernel.

    Only the recorded symptom is the defect: another failure is judged as any other.
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
    """Only evidence from a guest that ran the test is held against the kernel.

    A kernel that does not build or boot fails the test that is about that, in its
    call; the tests that needed it could not run.
    """
    if isinstance(error, TreeError | GuestError):
        return Status.MISS if when == "setup" else Status.FAIL
    if isinstance(error, AssertionError | pytest.fail.Exception):
        return Status.FAIL
    return Status.MISS if isinstance(error, InfraError | SetupError) else Status.ERROR
