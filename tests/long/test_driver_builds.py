# SPDX-License-Identifier: GPL-2.0
"""Drivers of all shapes are built for a real kernel as make builds them, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
from driver_corpus import SAMPLES, Sample, built_both_ways

from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_driver_is_built_as_make_builds_it(
    lab: Lab, prepared: PreparedKernel, tmp_path: Path, sample: Sample
) -> None:
    ours, theirs = built_both_ways(sample, tmp_path, prepared.kernel, prepared.request, lab.ctx)
    assert sorted(ours) == list(sample.modules)
    assert ours == theirs
