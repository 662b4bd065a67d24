# SPDX-License-Identifier: GPL-2.0
"""Build the guest's static programs, which every kernel of an architecture shares."""

from __future__ import annotations

from pathlib import Path

from testbed.arch import Arch
from testbed.cache import digest
from testbed.context import Context
from testbed.errors import BuildError, CommandError, SetupError
from testbed.kernel.diagnose import build_error
from testbed.kernel.guestsources import GuestSources
from testbed.kernel.toolchain import find_gcc
from testbed.process import check_output, run

_LAYOUT = "1"

_CFLAGS = ("-static", "-O2", "-Wall", "-Wextra", "-Werror")


def build_programs(arch: Arch, sources: GuestSources, ctx: Context) -> Path:
    """Return the folder with the programs for an architecture.

    Raises:
        SetupError: there is no compiler, or the programs do not compile with it.
        InfraError: the disk is full, or the compiler was killed.
    """
    gcc = find_gcc(arch)

    def make(entry: Path) -> None:
        # An error message names the log. So the log is in the work directory, which stays after a
        # failure, and not in the entry.
        with (
            ctx.cache.work(f"programs-{arch}") as work,
            ctx.progress.step(f"programs for {arch}"),
        ):
            log = work / "build.log"
            log.write_text("")
            for name, files in sources.program_files.items():
                _compile(gcc, sources, files, entry / name, log)

    how = (*_CFLAGS, check_output([gcc, "--version"]))
    key = digest(_LAYOUT, arch.name, *how, sources.programs_identity)
    return ctx.cache.get("programs", key, make)


def _compile(gcc: str, sources: GuestSources, files: list[Path], target: Path, log: Path) -> None:
    include = sources.modules / "include"
    try:
        run([gcc, *_CFLAGS, "-I", include, "-o", target, *files], log=log, alone=True)
    except CommandError as exc:
        error = build_error(f"the program {target.name}", log, cause=exc)
        if isinstance(error, BuildError):
            # The programs belong to the testbed and are the same for all kernels, so the tree is
            # not at fault.
            hint = f"look for {gcc} in the output of `testbed doctor`"
            raise SetupError(error.message, hint=hint, logs=error.logs) from exc
        raise error from exc
