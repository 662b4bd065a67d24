# SPDX-License-Identifier: GPL-2.0
"""The static programs that run in the guest: the same for every kernel of an architecture."""

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
    """The folder with the programs for an architecture.

    Raises:
        SetupError: there is no compiler, or one with which they do not compile.
        InfraError: the disk is full, or the compiler was killed.
    """
    gcc = find_gcc(arch)

    def make(entry: Path) -> None:
        # The log of a failure is told of, and stays; the entry goes.
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
        run([gcc, *_CFLAGS, "-I", include, "-o", target, *files], log=log)
    except CommandError as exc:
        error = build_error(f"the program {target.name}", log, cause=exc)
        if isinstance(error, BuildError):
            # They are the testbed's own and the same for all kernels: no tree is to blame.
            hint = f"see what `testbed doctor` says of {gcc}"
            raise SetupError(error.message, hint=hint, logs=error.logs) from exc
        raise error from exc
