# SPDX-License-Identifier: GPL-2.0
"""Device trees with nodes on top of QEMU's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from testbed.arch import find_arch
from testbed.context import Context
from testbed.errors import CommandError, SetupError
from testbed.process import check_output
from testbed.vm.devicetree import build_devicetree, find_compiler
from testbed.vm.qemu import Accel

OVERLAY = '/dts-v1/;\n/plugin/;\n&{/} { foo@0 { compatible = "maker,foo"; }; };\n'

needs_dtc = pytest.mark.skipif(
    shutil.which("fdtoverlay") is None, reason="device-tree-compiler is not installed"
)


def build(overlay: str, ctx: Context) -> Path:
    return build_devicetree(overlay, find_arch("arm64"), Accel.TCG, 512, ctx)


@needs_dtc
def test_a_tree_has_the_machines_nodes_and_those_of_the_overlay(ctx: Context) -> None:
    file = build(OVERLAY, ctx)
    source = check_output([find_compiler()[0], "-q", "-I", "dtb", "-O", "dts", file])
    assert 'compatible = "maker,foo"' in source
    assert 'compatible = "linux,dummy-virt"' in source


@needs_dtc
def test_a_tree_is_made_once_for_a_machine_and_an_overlay(ctx: Context) -> None:
    file = build(OVERLAY, ctx)
    assert build(OVERLAY, ctx) == file
    assert build(OVERLAY.replace("foo", "bar"), ctx) != file


@needs_dtc
def test_an_overlay_that_does_not_compile_is_an_error_with_its_line(ctx: Context) -> None:
    with pytest.raises(CommandError) as raised:
        build("/dts-v1/;\n/plugin/;\n&{/} { foo };\n", ctx)
    assert "own.dts:3" in str(raised.value)


def test_a_missing_compiler_is_an_error_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError) as raised:
        find_compiler()
    assert "device-tree-compiler" in raised.value.hint
