# SPDX-License-Identifier: GPL-2.0
"""The tree's userland tests of VMAs as a sieve, on a fake tree whose tests take milliseconds."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import pytest
from notes import Notes
from tree_parts import Unused

from testbed.context import Context
from testbed.kernel.series import Series
from testbed.kernel.source import Source, SourceTree
from testbed.mutants.mutation import Sieve
from testbed.mutants.vmatests import VmaTests, find_vma_tests

MAKEFILE = """\
vma: main.c
\t$(CC) $(EXTRA_CFLAGS) -c -o main.o main.c
\t$(CC) -o vma main.o
clean:
\trm -f vma main.o
"""

MAIN = """\
#include <stdio.h>
#include "../../../mm/vma.c"
int main(void)
{
\tprintf("2 tests run, %d passed, %d failed.\\n", merge(), 2 - merge());
\treturn 0;
}
"""

VMA = "static int merge(void)\n{\n\treturn 2;\n}\n"


@dataclass
class VmaSetup:
    top: Path
    ctx: Context

    @property
    def tree(self) -> Path:
        return self.top / "tree"

    def find(self, *, in_place: bool = False) -> VmaTests | None:
        source = Source("one", "7.3.0", "a test's text", Unused())
        tree = SourceTree(path=self.tree, source=source, in_place=in_place)
        return find_vma_tests(tree, Series(), self.ctx)

    def patch(self, file: str, old: str, new: str) -> Path:
        before = (self.tree / file).read_text()
        after = before.replace(old, new)
        lines = before.splitlines(keepends=True), after.splitlines(keepends=True)
        path = self.top / "a.patch"
        path.write_text("".join(difflib.unified_diff(lines[0], lines[1], f"a/{file}", f"b/{file}")))
        return path


@pytest.fixture
def setup(tmp_path: Path, ctx: Context) -> VmaSetup:
    setup = VmaSetup(tmp_path, ctx)
    for name, text in (("tools/testing/vma/Makefile", MAKEFILE), ("mm/vma.c", VMA)):
        (setup.tree / name).parent.mkdir(parents=True)
        (setup.tree / name).write_text(text)
    (setup.tree / "tools/testing/vma/main.c").write_text(MAIN)
    (setup.tree / "mm/util.c").write_text("int x;\n")
    return setup


def test_a_mutation_is_caught_or_missed(setup: VmaSetup) -> None:
    found = setup.find()
    assert found is not None
    assert found.judge(setup.patch("mm/vma.c", "\treturn 2;", "\treturn 1;")) is Sieve.CAUGHT
    assert found.judge(setup.patch("mm/vma.c", "\treturn 2;", "\treturn 4 / 2;")) is Sieve.MISSED
    assert found.judge(setup.patch("mm/vma.c", "\treturn 2;", "\treturn x;")) is Sieve.CAUGHT
    assert (setup.tree / "mm/vma.c").read_text() == VMA
    assert not (setup.tree / "tools/testing/vma/vma").exists()


def test_they_are_blind_to_a_file_that_they_do_not_compile(setup: VmaSetup) -> None:
    found = setup.find()
    assert found is not None
    assert found.judge(setup.patch("mm/util.c", "int x;", "int y;")) is Sieve.BLIND


def test_a_tree_without_them_is_not_an_error(setup: VmaSetup, notes: Notes) -> None:
    (setup.tree / "tools/testing/vma").rename(setup.tree / "gone")
    assert setup.find() is None
    assert "has no tools/testing/vma" in notes.texts[0]


@pytest.mark.parametrize(("good", "bad"), [("2;", "1;"), ("2;", "x;"), ("2 tests", "0 tests")])
def test_tests_that_do_not_pass_without_a_mutation_are_not_used(
    setup: VmaSetup, notes: Notes, good: str, bad: str
) -> None:
    for name in ("mm/vma.c", "tools/testing/vma/main.c"):
        file = setup.tree / name
        file.write_text(file.read_text().replace(good, bad))
    assert setup.find() is None
    assert "does not pass" in notes.texts[0]


def test_they_are_not_built_in_a_users_own_tree(setup: VmaSetup, notes: Notes) -> None:
    assert setup.find(in_place=True) is None
    assert "is not built in" in notes.texts[0]
