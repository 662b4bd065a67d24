# SPDX-License-Identifier: GPL-2.0
"""Fixtures that all tests share."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel

# A shell starts a background job with SIGINT ignored, and children inherit that (signal(7)).
# A test that interrupts a child would then wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def command(lab: Lab, prepared: PreparedKernel, tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function that makes the argv of a `testbed` command for the kernel under test.

    The command puts its results into a folder below `tmp_path`.
    """
    settings = lab.ctx.settings

    def words(name: str, *more: str, results: str = "results") -> list[str]:
        # fmt: off
        return [
            str(Path(sys.executable).with_name("testbed")), name,
            "--arch", prepared.arch.name, "--kernel", settings.kernel,
            "--flavour", settings.flavour,
            "--accel", settings.accel, "--toolchain", settings.toolchain,
            "--results", str(tmp_path / results), *more,
        ]
        # fmt: on

    return words
