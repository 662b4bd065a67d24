# SPDX-License-Identifier: GPL-2.0
"""Kernels that a process of its own builds, while tests run on another architecture."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from testbed.lab.lab import Lab
from testbed.process import spawn
from testbed.settings import settings_text

_BUILD = "from testbed.cli import main; main()"


@contextmanager
def built_in_background(lab: Lab, arches: Sequence[str]) -> Iterator[None]:
    """Build the kernels of architectures while the block runs. A build ends with the block.

    Whoever needs such a kernel prepares it as usual, and waits until the build releases its
    directory. What fails to build fails again there.
    """
    with ExitStack() as stack:
        if arches:
            settings = dataclasses.replace(lab.ctx.settings, arch=tuple(arches))
            file = lab.run_dir / "build.toml"
            file.write_text(settings_text(settings))
            log = lab.run_dir / "build.log"
            argv = [sys.executable, "-c", _BUILD, "build", "--settings", str(file)]
            stack.enter_context(spawn(argv, log=log))
            lab.ctx.progress.note(f"{', '.join(arches)}: built during the tests, see {log}")
        yield
