# SPDX-License-Identifier: GPL-2.0
"""Verdicts: only evidence from a guest that ran the test counts against the kernel."""

from __future__ import annotations

import pytest

from testbed.errors import (
    BootHang,
    BuildError,
    GuestFileError,
    GuestLost,
    GuestTimeout,
    KernelSplat,
    LaunchError,
    ProbeProtocolError,
    SetupError,
)
from testbed.results.model import Status
from testbed.suite.verdict import Defect, judge, judge_defect

KD1 = Defect("KD1", r"Shmem grew by \d+ kB", ("7.2", "7.3.4"))


@pytest.mark.parametrize(
    ("error", "when", "status"),
    [
        (AssertionError("x"), "call", Status.FAIL),
        (KernelSplat("WARNING"), "call", Status.FAIL),
        (GuestLost("panic"), "call", Status.FAIL),
        (BuildError("x.c:1"), "call", Status.FAIL),
        (BuildError("x.c:1"), "setup", Status.MISS),
        (BootHang("silent"), "setup", Status.MISS),
        (GuestFileError("insmod"), "setup", Status.MISS),
        (KernelSplat("WARNING"), "setup", Status.FAIL),
        (GuestLost("panic"), "setup", Status.FAIL),
        (GuestTimeout("hang"), "setup", Status.FAIL),
        (LaunchError("no QEMU"), "setup", Status.MISS),
        (SetupError("no compiler"), "setup", Status.MISS),
        (ProbeProtocolError("cut"), "call", Status.ERROR),
        (TypeError("ours"), "call", Status.ERROR),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(type(value), "__name__", ""),
)
def test_blame_follows_class_and_phase(error: BaseException, when: str, status: Status) -> None:
    assert judge(error, when).status is status


@pytest.mark.parametrize("version", ["7.2.12", "7.3.4", "7.4.1"])
def test_a_defect_that_shows_is_expected_on_any_kernel(version: str) -> None:
    verdict = judge_defect(KD1, version, AssertionError("Shmem grew by 12844 kB after 50"))
    assert (verdict.status, verdict.reason) == (Status.XFAIL, "KD1: Shmem grew by 12844 kB")


@pytest.mark.parametrize("version", ["7.2", "7.2.12", "7.3.4"])
def test_a_defect_that_does_not_show_where_it_was_recorded_fails(version: str) -> None:
    assert judge_defect(KD1, version, None).status is Status.FAIL


def test_a_defect_that_is_gone_from_a_newer_kernel_is_fixed() -> None:
    verdict = judge_defect(KD1, "7.3.5", None)
    assert (verdict.status, verdict.reason) == (Status.FIXED, "KD1: fixed in 7.3.5")


@pytest.mark.parametrize(
    ("version", "error", "status"),
    [
        ("7.2.13", "Shmem grew by 4 kB", Status.XFAIL),
        ("7.2.13", None, Status.FAIL),
        ("7.2.14", None, Status.FIXED),
        ("7.3.4", None, Status.PASS),
        ("7.3.4", "Shmem grew by 4 kB", Status.FAIL),
        ("7.4", "Shmem grew by 4 kB", Status.FAIL),
    ],
)
def test_a_fixed_defect_is_an_ordinary_failure_from_the_fix_on(
    version: str, error: str | None, status: Status
) -> None:
    defect = Defect("R13", r"Shmem grew by \d+ kB", ("7.2", "7.2.13"), fixed="7.3.4")
    raised = AssertionError(error) if error else None
    assert judge_defect(defect, version, raised).status is status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AssertionError("EINVAL"), Status.FAIL),
        (ProbeProtocolError("Shmem grew by 1 kB"), Status.ERROR),
    ],
    ids=["another-assertion", "another-class"],
)
def test_another_failure_is_not_the_defect(error: Exception, status: Status) -> None:
    assert judge_defect(KD1, "7.3.4", error).status is status
