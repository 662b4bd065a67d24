# SPDX-License-Identifier: GPL-2.0
"""The files of a failed test that run it again, alone."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import vm_parts

from testbed.kernel.patch import make_patch
from testbed.kernel.series import Series
from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.observation import Observation
from testbed.process import check_output
from testbed.settings import Settings
from testbed.suite.repro import again, write_repro

TEST = "tests/vm/contract/test_a.py::test_a[arm64-stack-it's $HOME]"

PATCH = b"""\
--- a/mm/util.c
+++ b/mm/util.c
@@ -1 +1 @@
-one
+two
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a test that failed on a kernel with one patch."""
    kernel = vm_parts.kernel("arm64", tmp_path)
    (tmp_path / ".config").write_text("CONFIG_MMU=y\n")
    fragments = (tmp_path / "a b.config", tmp_path / "c.config")
    for file in fragments:
        file.write_text(f"# {file.name}\n")
    settings = Settings(
        kernel="debian:7.3",
        series="fixes/",
        flavour="16k",
        config=fragments,
        cmdline='dyndbg="file mm/util.c +p"',
        qemu=("-device", "edu"),
    )
    lab = SimpleNamespace(
        run_dir=tmp_path / "run",
        ctx=SimpleNamespace(settings=settings),
        series=Series((make_patch("0001-two.patch", PATCH, origin="fixes"),)),
    )
    prepared = SimpleNamespace(arch=kernel.arch, kernel=kernel)
    seen = [Observation("map m f\n", '{"step":1}\n', {}), Observation("fork\n", "", {})]
    about = {"kernel": kernel.release}
    return write_repro(cast(Lab, lab), cast(PreparedKernel, prepared), TEST, seen, about)


def test_the_command_names_the_test_and_all_settings() -> None:
    words = again(TEST, "arm64", Settings(kernel="debian:7.3", flavour="16k"), "fixes/")
    assert words[:2] == ["scripts/test", TEST]
    options = dict(zip(words[2::2], words[3::2], strict=True))
    assert options["--arch"] == "arm64"
    assert options["--kernel"] == "debian:7.3"
    assert options["--series"] == "fixes/"
    assert options["--flavour"] == "16k"
    assert options["--isolation"] == "batch"


def test_a_kernel_without_patches_has_no_series() -> None:
    assert "--series" not in again(TEST, "arm64", Settings(), "")


def test_the_folder_has_scripts_patches_configuration_and_environment(folder: Path) -> None:
    assert (folder / "scripts" / "2").read_text() == "fork\n"
    assert (folder / "facts" / "1").read_text() == '{"step":1}\n'
    assert (folder / "series" / "series").read_text() == "0001-two.patch\n"
    assert (folder / "series" / "0001-two.patch").read_bytes() == PATCH
    assert (folder / "config").read_text() == "CONFIG_MMU=y\n"
    assert json.loads((folder / "about.json").read_text())["kernel"].startswith("7.3.4")


def test_the_script_runs_the_test_in_the_given_checkout(folder: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "check out"
    program = checkout / "scripts" / "test"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nfor word; do printf "%s\\n" "$word"; done\n')
    program.chmod(0o755)
    words = check_output([folder / "run.sh", checkout]).splitlines()
    assert words[0] == TEST
    assert words[words.index("--series") + 1] == str(folder / "series")
    assert f"--config={folder}/fragments/1.config" in words
    assert (folder / "fragments" / "2.config").read_text() == "# c.config\n"
    assert '--cmdline=dyndbg="file mm/util.c +p"' in words
    assert "--qemu=-device edu" in words


def test_the_script_is_valid_shell(folder: Path) -> None:
    check_output(["sh", "-n", folder / "run.sh"])
    assert shlex.split((folder / "run.sh").read_text(), comments=True)
