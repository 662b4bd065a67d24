# SPDX-License-Identifier: GPL-2.0
"""The environment that a prepared kernel gives its cases, as results keep it."""

from __future__ import annotations

import hashlib
import json

from testbed.lab.prepared import PreparedKernel
from testbed.results.model import Environment


def environment_of(prepared: PreparedKernel, isolation: str) -> Environment:
    """Return what a result says about the kernel, its build and its QEMU."""
    kernel = prepared.kernel
    build = json.loads(kernel.build_json.read_text())
    return Environment(
        arch=prepared.arch.name,
        kernel=kernel.release,
        source=prepared.source.description,
        series=prepared.series.names,
        flavour=prepared.flavour.name,
        isolation=isolation,
        accel=prepared.accel.accel,
        accel_reason=prepared.accel.reason,
        qemu=prepared.qemu_version,
        build_seconds=build["seconds"],
        config=tuple(map(str, prepared.request.user_fragments)),
        cmdline=prepared.user_cmdline,
        qemu_argv=prepared.user_argv,
        kernel_key=kernel.key,
        commit=prepared.source.commit,
        patchset=prepared.series.patchset_hash,
        compiler=build["compiler"][0],
        config_digest=hashlib.sha256(kernel.config.read_bytes()).hexdigest(),
    )
