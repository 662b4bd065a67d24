# SPDX-License-Identifier: GPL-2.0
"""Commands of the checkout, with what they cost: wall time, and the CPU time of all processes."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.process import Argv, run
from testbed.settings import CHECKOUT

_SCRIPTS = CHECKOUT / "scripts"


@dataclass(frozen=True)
class Spent:
    """What a command cost, in seconds."""

    wall: float
    cpu: float  # of all its processes that ended, QEMU too


def command_words(command: str, arches: Sequence[str], kernel: str) -> list[str]:
    """Return the words of a command of the testbed on a kernel."""
    program = str(Path(sys.executable).with_name("testbed"))
    return [program, command, "--arch", ",".join(arches), "--kernel", kernel]


def with_plugin(module: str, **variables: str) -> dict[str, str]:
    """Return the variables with which pytest, and each of its workers, has a plugin of ours."""
    return {"PYTEST_PLUGINS": module, "PYTHONPATH": str(_SCRIPTS), **variables}


def spent(argv: Argv, **options: Any) -> Spent:
    """Run a command in the checkout, with the options of testbed.process.run.

    Nothing else may run in this process meanwhile: its children are counted together.
    """
    began, before = time.monotonic(), _cpu_of_children()
    run(argv, **{"cwd": CHECKOUT, **options})
    return Spent(time.monotonic() - began, _cpu_of_children() - before)


def _cpu_of_children() -> float:
    """Return the CPU seconds of all children that ended, and of those that they waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
