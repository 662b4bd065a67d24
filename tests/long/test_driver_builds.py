# SPDX-License-Identifier: GPL-2.0
"""Drivers of all shapes are built for a real kernel as make builds them, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
from driver_corpus import (
    HEADER,
    MAIN,
    REAL_SAMPLES,
    SAMPLES,
    TWO_OBJECTS,
    Sample,
    built_both_ways,
    native,
    ring,
)

from testbed.kernel.build import open_builder
from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel


@pytest.mark.parametrize("sample", [*SAMPLES, *REAL_SAMPLES], ids=lambda sample: sample.name)
def test_a_driver_is_built_as_make_builds_it(
    lab: Lab, prepared: PreparedKernel, tmp_path: Path, sample: Sample
) -> None:
    ours, theirs = built_both_ways(sample, tmp_path, prepared.kernel, prepared.request, lab.ctx)
    assert sorted(ours) == list(sample.modules)
    assert ours == theirs


@pytest.mark.parametrize("name", ["fill.o_shipped", "fill.o"])
def test_an_object_of_a_vendor_is_linked_as_make_links_it(
    lab: Lab, prepared: PreparedKernel, tmp_path: Path, name: str
) -> None:
    whole = ring("whole", TWO_OBJECTS, {"drv/ring.h": HEADER})
    with open_builder(prepared.request, lab.ctx) as builder:
        make = builder.build_dir.make
        folder = native(whole.lay_out(tmp_path / "vendor"), make, tmp_path / "vendor.log")
    objects = {f"drv/sub/{name}": (folder / "fill.o").read_bytes()}
    if name == "fill.o":  # or modpost lacks its command
        objects["drv/sub/.fill.o.cmd"] = b""
    # 7.3 copies a shipped object in a folder below only: its rule is for $(obj)/, which is ./ here.
    files = {"drv/Makefile": "obj-m := sub/\n", "drv/sub/Makefile": TWO_OBJECTS}
    files |= {"drv/sub/main.c": MAIN, "drv/sub/ring.h": HEADER}
    sample = Sample("vendor", files, objects=objects)
    ours, theirs = built_both_ways(
        sample, tmp_path / "both", prepared.kernel, prepared.request, lab.ctx
    )
    assert list(ours) == ["ring.ko"]
    assert ours == theirs
