# SPDX-License-Identifier: GPL-2.0
"""The suite fails on broken kernels: one without the layer, and one that does not boot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from testbed.mmap.path import MMAP_STACKS, HookPath
from testbed.process import run
from testbed.results.model import EXIT_FINDINGS

Command = Callable[..., list[str]]

FOLDER = Path(__file__).parent
SAMPLE = "test_the_vma_is_that_of_the_direct_path or test_pages_come_from_the_hooks_fault_handler"


def run_sample(command: Command, patch: str, tmp_path: Path) -> list[dict[str, str]]:
    """Run a few tests on a kernel that a patch breaks. Return the cases."""
    series = str(FOLDER / patch)
    done = run(command("run", "--series", series, "-k", SAMPLE), ok=range(256))
    assert done.status == EXIT_FINDINGS, done.stdout + done.stderr
    cases = json.loads((tmp_path / "results" / "latest" / "result.json").read_text())["cases"]
    assert isinstance(cases, list)
    return cases


def test_without_the_layer_only_the_stacks_fail(command: Command, tmp_path: Path) -> None:
    cases = run_sample(command, "no-layer.patch", tmp_path)
    found = {path: {case["status"] for case in cases if case["path"] == path} for path in HookPath}
    expected = {path: {"FAIL"} if path in MMAP_STACKS else {"PASS"} for path in HookPath}
    assert found == expected


def test_a_kernel_that_does_not_boot_fails_the_run(command: Command, tmp_path: Path) -> None:
    cases = run_sample(command, "no-boot.patch", tmp_path)
    reason = "the kernel panicked at boot: this kernel does not boot"
    assert {(case["status"], case["reason"]) for case in cases} == {("MISS", reason)}
    # The kernel is not booted again for each test.
    assert len(list((tmp_path / "results" / "latest").glob("vm-*"))) == 2
