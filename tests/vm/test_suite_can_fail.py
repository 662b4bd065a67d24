"""The suite finds a broken kernel: one without the compatibility layer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from testbed.lab.lab import Lab
from testbed.mmap.path import STACKS, HookPath
from testbed.results.model import EXIT_KERNEL
from testbed.run import run

TESTBED = Path(sys.executable).with_name("testbed")
SERIES = Path(__file__).with_name("no-layer.patch")
SAMPLE = "test_the_vma_is_that_of_the_direct_path or test_pages_come_from_the_hooks_fault_handler"


def test_without_the_layer_stacks_fail_and_the_rest_passes(
    lab: Lab, arch: str, tmp_path: Path
) -> None:
    # fmt: off
    done = run([
        TESTBED, "run", "--arch", arch, "--kernel", lab.settings.kernel, "--series", SERIES,
        "--accel", lab.settings.accel, "--toolchain", lab.settings.toolchain,
        "--results", tmp_path, "-k", SAMPLE,
    ], ok=range(256))
    # fmt: on
    assert done.status == EXIT_KERNEL, done.stdout + done.stderr
    cases = json.loads((tmp_path / "latest" / "result.json").read_text())["cases"]
    found = {path: {case["status"] for case in cases if case["path"] == path} for path in HookPath}
    expected = {path: {"FAIL"} if path in STACKS else {"PASS"} for path in HookPath}
    assert found == expected
