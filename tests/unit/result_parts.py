# SPDX-License-Identifier: GPL-2.0
"""Made-up values for the results of a run."""

from __future__ import annotations

from testbed.results.model import Environment


def environment(arch: str = "x86_64", *, flavour: str = "base") -> Environment:
    return Environment(
        arch=arch,
        kernel="7.3.4-testbed-0123456789abcdef",
        source="linux-source-7.3",
        series=("a.patch",),
        flavour=flavour,
        isolation="clone",
        accel="tcg",
        accel_reason="the host has no /dev/kvm",
        qemu="10.0.2",
        build_seconds=60.0,
    )
