# SPDX-License-Identifier: GPL-2.0
"""The plugin on real guests: a test that breaks its guest fails; the next gets a fresh guest."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from testbed.lab.lab import Lab
from testbed.process import run
from testbed.settings import CHECKOUT

TESTS = """
from testbed.guest.splat_patterns import SplatKind
from testbed.mmap.script import Script


def _map_both(stack):
    script = Script()
    script.open("f", "/dev/mmap_both")
    script.map("m", "f")
    stack.run(script)


def test_1_unexpected_warning(stack):
    _map_both(stack)


def test_2_expected_warning(guest, stack):
    with guest.expect_splat(SplatKind.WARNING):
        _map_both(stack)


def test_3_expected_and_missing(guest, stack):
    with guest.expect_splat(SplatKind.WARNING):
        pass


def test_4_module_in_use(guest, stack):
    holder = "exec 3</dev/mmap_direct; echo >/tmp/held; exec sleep 600"
    waiter = f"setsid sh -c '{holder}' >/dev/null 2>&1 & until [ -e /tmp/held ]; do :; done"
    guest.session.check(["sh", "-c", waiter])


def test_5_after_it(guest, stack):
    pass


def test_6_panic(guest):
    guest.session.write(("/proc/sysrq-trigger", b"c"))


def test_7_after_it(guest, stack):
    pass


def test_7b_power_off(guest):
    from testbed.deadline import Deadline

    # The kernel powers off from a work item, after the write returned (kernel/power/poweroff.c).
    guest.session.write(("/proc/sysrq-trigger", b"o"))
    guest.session.check(["sleep", "600"], deadline=Deadline.after(600))


def test_7c_after_it(guest, stack):
    pass


def test_8_hangs(guest):
    from testbed.deadline import Deadline

    guest.session.run(["sleep", "600"], deadline=Deadline.after(1))


def test_9_after_it(guest, stack):
    pass
"""

EXPECTED = {
    "test_1_unexpected_warning": "FAIL",
    "test_2_expected_warning": "PASS",
    "test_3_expected_and_missing": "FAIL",
    "test_4_module_in_use": "FAIL",
    "test_5_after_it": "PASS",
    "test_6_panic": "FAIL",
    "test_7_after_it": "PASS",
    "test_7b_power_off": "FAIL",
    "test_7c_after_it": "PASS",
    "test_8_hangs": "FAIL",
    "test_9_after_it": "PASS",
}


@pytest.mark.usefixtures("prepared")
def test_a_broken_guest_fails_one_test_and_no_other(lab: Lab, arch: str, tmp_path: Path) -> None:
    file = tmp_path / "test_small.py"
    file.write_text(TESTS)
    settings = lab.ctx.settings
    # fmt: off
    run([
        sys.executable, "-m", "pytest", "-q", file, "-c", CHECKOUT / "pyproject.toml",
        f"--rootdir={tmp_path}", "--arch", arch, "--kernel", settings.kernel,
        "--accel", settings.accel, "--toolchain", settings.toolchain, "--results", tmp_path / "r",
    ], ok=range(256))
    # fmt: on
    cases = json.loads((tmp_path / "r" / "latest" / "result.json").read_text())["cases"]
    found = {case["test"].partition("::")[2].partition("[")[0]: case for case in cases}
    assert {name: case["status"] for name, case in found.items()} == EXPECTED
    assert "do_mmap" in found["test_1_unexpected_warning"]["evidence"]
    assert "sysrq triggered crash" in found["test_6_panic"]["evidence"]
    assert "powered itself off" in found["test_7b_power_off"]["reason"]
