# SPDX-License-Identifier: GPL-2.0
"""Objects of changed texts: compiled as kbuild did, and compared by their code."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.arch import find_arch
from testbed.context import Context
from testbed.errors import SetupError
from testbed.kernel.builddir import BuildDir
from testbed.kernel.make import Make
from testbed.kernel.toolchain import Compiler
from testbed.mutants.harvest import files_of
from testbed.mutants.objects import ObjectMaker
from testbed.pace import Pace
from testbed.settings import Toolchain

TEXT = b'#include "near.h"\nint f(int a)\n{\n\treturn a + ONE;\n}\n'


@pytest.fixture
def build_dir(tmp_path: Path, ctx: Context) -> BuildDir:
    """A build directory in which kbuild has compiled mm/a.c."""
    src, obj = tmp_path / "src", tmp_path / "obj"
    for folder in (src, obj):
        (folder / "mm").mkdir(parents=True)
    (src / "mm/near.h").write_text("#define ONE 1\n")
    (src / "mm/a.c").write_bytes(TEXT)
    (src / "mm/b.c").write_bytes(TEXT)
    command = f"ccache gcc -Wp,-MMD,mm/.a.o.d -g -O2 -c -o mm/a.o {src}/mm/a.c"
    (obj / "mm/.a.o.cmd").write_text(f"savedcmd_mm/a.o := {command} ; ./objtool mm/a.o\n\nmore\n")
    compiler = Compiler(kind=Toolchain.GCC, arch=find_arch("x86_64"), prefix="", versions=())
    make = Make(src=src, obj=obj, compiler=compiler, jobs=1, ccache={})
    return BuildDir(tmp_path, make, ctx.progress, Pace(tmp_path / "pace", "compile", 1.0))


def test_equal_code_is_equal_whatever_the_text(build_dir: BuildDir) -> None:
    maker = ObjectMaker.of(build_dir, "mm/a.c")
    good = maker.code(TEXT)
    assert good is not None
    assert maker.code(TEXT.replace(b"a + ONE", b"ONE + a")) == good
    assert maker.code(TEXT.replace(b"a + ONE", b"a - ONE")) not in (good, None)


def test_what_is_no_c_makes_no_object(build_dir: BuildDir) -> None:
    assert ObjectMaker.of(build_dir, "mm/a.c").code(TEXT.replace(b"return", b"retrun")) is None


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ("mm/absent.c", "is not a C file of the kernel's tree"),
        ("mm/near.h", "is not a C file of the kernel's tree"),
        ("mm/b.c", "is not compiled in this configuration"),
    ],
)
def test_a_file_without_an_object_is_refused(
    build_dir: BuildDir, file: str, complaint: str
) -> None:
    with pytest.raises(SetupError, match=complaint):
        ObjectMaker.of(build_dir, file)


def test_files_are_named_once() -> None:
    assert files_of(["mm/a.c", "./mm/a.c", "mm/b.c"]) == ("mm/a.c", "mm/b.c")
