# SPDX-License-Identifier: GPL-2.0
"""The folder of a test in C, in the layout of the kernel's tools/testing/selftests."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from testbed.arch import Arch
from testbed.files import write_whole
from testbed.fuzz.program import Program
from testbed.fuzz.selftest import c_makefile, c_test
from testbed.kernel.toolchain import find_gcc
from testbed.mmap.path import HookPath
from testbed.process import run
from testbed.settings import CHECKOUT

_SHARED = Path(__file__).parent / "reproducer"
_INTERFACE = CHECKOUT / "modules" / "include" / "mmap_testbed.h"

_CFLAGS = ("-static", "-pthread", "-O2", "-Wall", "-Wextra", "-Werror")


def write_selftest(
    folder: Path, name: str, program: Program, paths: Sequence[HookPath], about: str
) -> Path:
    """Write the folder of a test in C. Return its C file."""
    folder.mkdir()
    for file in (*_SHARED.glob("*.h"), _INTERFACE):
        shutil.copy(file, folder)
    source = folder / f"{name}.c"
    write_whole(source, c_test(program, paths, about))
    write_whole(folder / "Makefile", c_makefile(name))
    return source


def compiled_selftest(source: Path, arch: Arch) -> bytes:
    """Compile the C file of a test, and return the program.

    Raises:
        SetupError: the compiler is not installed.
        CommandError: it does not compile.
    """
    binary = source.with_suffix("")
    try:
        run([find_gcc(arch), *_CFLAGS, "-o", binary, source], alone=True)
        return binary.read_bytes()
    finally:
        binary.unlink(missing_ok=True)
