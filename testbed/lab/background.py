# SPDX-License-Identifier: GPL-2.0
"""Kernels that a process of its own builds, while another kernel is prepared and tested."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from testbed.context import Context
from testbed.process import spawn
from testbed.results.store import BUILD_LOG, BUILD_SETTINGS
from testbed.settings import settings_text

_BUILD = "from testbed.cli import main; main()"


@contextmanager
def built_in_background(ctx: Context, run_dir: Path, arches: Sequence[str]) -> Iterator[None]:
    """Build the kernels of architectures while the block runs. A build ends with the block.

    Whoever needs such a kernel prepares it as usual, and waits until the build releases its
    directory. What fails to build fails again there.
    """
    settings = dataclasses.replace(ctx.settings, arch=tuple(arches))
    file, log = run_dir / BUILD_SETTINGS, run_dir / BUILD_LOG
    file.write_text(settings_text(settings))
    argv = [sys.executable, "-c", _BUILD, "build", "--settings", str(file)]
    with spawn(argv, log=log):
        ctx.progress.note(f"{', '.join(arches)}: built in the background, see {log}")
        yield
