# SPDX-License-Identifier: GPL-2.0
"""`testbed hooks`: symbols, architectures, burn-down, and files for programs."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from diffs import diff
from inventory_parts import tree
from test_cli import Testbed, testbed
from tree_parts import GIT_ALONE

from testbed.inventory.burndown import burn_down
from testbed.inventory.kbuild import Kbuild
from testbed.inventory.kconfigtree import Kconfig
from testbed.inventory.treefiles import CommitFiles
from testbed.process import run
from testbed.results.model import Case, Run, Status
from testbed.results.store import write_run

__all__ = ["testbed"]

OLD = "struct file_operations f = {\n\t.mmap = f_mmap,\n};\n"
NEW = "struct file_operations f = {\n\t.mmap_prepare = f_prepare,\n};\n"


@pytest.mark.parametrize(
    ("makefile", "symbols"),
    [
        ("obj-$(CONFIG_A) += b.o\n", ("A",)),
        ("obj-y += b.o\n", ()),
        ("obj-$(CONFIG_A) += c.o\nc-y := x.o \\\n\tb.o\n", ("A",)),
        ("obj-$(CONFIG_A) += c.o\nc-objs += b.o\n", ("A",)),
        ("obj-$(CONFIG_A) += c.o\nc-$(CONFIG_B) += b.o\n", ("B", "A")),
        ("obj-$(CONFIG_A) += c.o\ng-y := b.o\nc-y += $(g-y)\n", ("A",)),
        ("ifdef CONFIG_B\nobj-$(CONFIG_A) += b.o\nendif\n", ("A", "B")),
        ("ifneq ($(CONFIG_B),y)\nobj-$(CONFIG_A) += b.o\nendif\n", ("A",)),
        ("obj-$(subst m,y,$(CONFIG_A)) += b.o\n", ("A",)),
        ("obj-$(CONFIG_A) += c.o\nc-y += $(addprefix sub/, other.o) b.o\n", ("A",)),
        ("obj-$(CONFIG_A) += other.o\n", None),
        ("obj-$(CONFIG_A) += b.o\nb-y := b.o\n", ("A",)),
    ],
)
def test_the_symbols_of_a_file(makefile: str, symbols: tuple[str, ...] | None) -> None:
    files = {"drivers/Makefile": makefile}
    assert Kbuild(files.keys(), lambda name: files[name].encode()).symbols("drivers/b.c") == symbols


def test_folders_add_their_symbols() -> None:
    files = {
        "drivers/Makefile": "obj-$(CONFIG_BUS) += bus/\n",
        "drivers/bus/Kbuild": "obj-$(CONFIG_A) += a.o\na-y += sub/b.o\n",
        "drivers/bus/Makefile": "obj-$(CONFIG_WRONG) += a.o\n",
    }
    kbuild = Kbuild(files.keys(), lambda name: files[name].encode())
    assert kbuild.symbols("drivers/bus/sub/b.c") == ("A", "BUS")


KCONFIG = """
source "arch/$(SRCARCH)/Kconfig"
config A
    tristate "a"
    depends on MACHINE || COMPILE_TEST
    help
        depends on NOTHING
config COMPILE_TEST
    bool "compile"
    depends on !MOON
if SUN
config B
    bool "b"
endif
config C
    bool
config D
    bool "d"
    depends on SUN
    select C if D != n
config E
    bool "e" if MOON
config F
    def_bool SUN && !MOON
"""


@pytest.mark.parametrize(
    ("symbol", "arches"),
    [
        ("A", ("x86_64", "arm64")),
        ("B", ("arm64",)),
        ("C", ("arm64",)),
        ("D", ("arm64",)),
        ("E", ("moon",)),
        ("F", ("arm64",)),
        ("MACHINE", ("arm64",)),
        ("VANISHED", ()),
    ],
)
def test_the_architectures_of_a_symbol(symbol: str, arches: tuple[str, ...]) -> None:
    files = {
        "Kconfig": KCONFIG,
        "arch/x86/Kconfig": "config X86\n\tdef_bool y\n",
        "arch/arm64/Kconfig": 'config SUN\n\tdef_bool y\nconfig MACHINE\n\tbool "m"\n',
        "arch/moon/Kconfig": "config MOON\n\tdef_bool y\n",
    }
    kconfig = Kconfig(files.keys(), lambda name: files[name].encode())
    kconfig.load()
    assert kconfig.arches([symbol]) == arches
    assert kconfig.known(symbol) is (symbol != "VANISHED")


def test_a_symbol_that_no_kconfig_file_defines_is_one_clear_line(tmp_path: Path) -> None:
    files = {"drivers/a.c": OLD, "drivers/Makefile": "obj-$(CONFIG_LOST) += a.o\n"}
    found = tree(tmp_path, files).inventory()
    assert found.unread == (
        "drivers/a.c: its Makefile asks for LOST, which no Kconfig file defines",
    )
    assert found.hooks[0].arches == ()


def test_a_burn_down(tmp_path: Path) -> None:
    other = "struct sub_ops %s = { .mmap = m };\n"
    before = {"drivers/a.c": OLD, "drivers/b.c": NEW, "drivers/c.c": other % "gone"}
    after = {"drivers/a.c": NEW, "drivers/b.c": OLD, "drivers/c.c": other % "come"}
    for files, folder in ((before, "drivers/d"), (after, "drivers/e")):
        files[f"{folder}.c"] = other % "moved"
    found = burn_down(
        tree(tmp_path / "before", before).inventory(), tree(tmp_path / "after", after).inventory()
    )
    assert [(each.change, each.name, each.place) for each in found.changed] == [
        ("converted", "f", "drivers/a.c:2"),
        ("unconverted", "f", "drivers/b.c:2"),
        ("new", "come", "drivers/c.c:1"),
        ("gone", "gone", "drivers/c.c:1"),
    ]
    totals = {each.struct: (each.before, each.after) for each in found.progress}
    assert totals == {"file_operations": ((1, 2), (1, 2)), "sub_ops": ((0, 2), (0, 2))}


def test_a_tree_and_a_series(testbed: Testbed, tmp_path: Path) -> None:
    path = tree(tmp_path / "linux", {"drivers/a.c": OLD}).path
    (tmp_path / "1.patch").write_text(diff("drivers/a.c", OLD, NEW))
    done = testbed("hooks", "--kernel", f"tree:{path}", "--series", str(tmp_path / "1.patch"))
    assert done.status == 0, done.stderr
    assert "1 converted, 0 unconverted, 0 new, 0 gone" in done.stdout
    assert "f: f_mmap -> f_prepare  drivers/a.c:2" in done.stdout


def test_a_page_of_what_changed(testbed: Testbed, tmp_path: Path) -> None:
    old = tree(tmp_path / "old", {"drivers/a.c": OLD}).path
    new = tree(tmp_path / "new", {"drivers/a.c": NEW}).path
    page = tmp_path / "page.html"
    words = ("hooks", "--kernel", f"tree:{new}", "--html", str(page))
    done = testbed(*words)
    assert done.status == 2
    assert "give --against or --series" in done.stderr
    assert not page.exists()
    done = testbed(*words, "--against", f"tree:{old}")
    assert done.status == 0, done.stderr
    assert "f_prepare" in page.read_text()


def test_files_for_programs(testbed: Testbed, tmp_path: Path) -> None:
    path = tree(tmp_path / "linux", {"drivers/a.c": OLD}).path
    table = tmp_path / "hooks.csv"
    done = testbed("hooks", "--kernel", f"tree:{path}", "--json", "-", "--csv", str(table))
    assert done.status == 0, done.stderr
    (hook,) = json.loads(done.stdout)["hooks"]
    (row,) = csv.DictReader(io.StringIO(table.read_text()))
    assert (hook["symbols"], hook["converted"], hook["line"]) == (["A"], False, 2)
    assert (row["symbols"], row["converted"], row["line"]) == ("A", "no", "2")


def test_two_files_on_stdout_are_refused(testbed: Testbed, tmp_path: Path) -> None:
    path = tree(tmp_path / "linux", {"drivers/a.c": OLD}).path
    done = testbed("hooks", "--kernel", f"tree:{path}", "--json", "-", "--csv", "-")
    assert (done.status, done.stdout) == (2, "")
    assert "--json and --csv cannot both be stdout" in done.stderr


def test_a_series_for_a_name_that_is_taken_is_refused(testbed: Testbed, tmp_path: Path) -> None:
    path = tree(tmp_path / "linux", {"drivers/a.c": OLD}).path
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "old"]):
        run(["git", "-C", str(path), *words], env=GIT_ALONE)
    for kernel, name, why in (
        (f"tree:{path}", "drivers", "is a directory"),
        (f"tree:{path}@HEAD", "drivers", "is a directory"),
        (f"tree:{path}", "drivers/a.c/b.c", "is below a file"),
    ):
        (tmp_path / "1.patch").write_text(diff(name, "1\n", "2\n"))
        done = testbed("hooks", "--kernel", kernel, "--series", str(tmp_path / "1.patch"))
        assert done.status == 2, done.stderr
        assert f"the series is refused: {name} {why}" in done.stderr


def test_lines_of_some_hooks(testbed: Testbed, tmp_path: Path) -> None:
    path = tree(tmp_path / "linux", {"drivers/a.c": OLD, "drivers/b.c": NEW}).path
    done = testbed("hooks", "--kernel", f"tree:{path}", "--list", "-k", "f_prepare")
    lines = done.stdout.splitlines()
    assert [line for line in lines if ".c:" in line] == [
        "drivers/b.c:2: file_operations.mmap_prepare f = f_prepare [unknown] - x86_64,arm64"
    ]
    totals, *counts = lines[-3:]
    assert totals.startswith("2 hooks of 1 structs, 1 converted; 0 NULL")
    assert counts == [
        "converted hooks of files: 0 of 1 can be reached by a recipe, and the function of 0 more",
        "other hooks: 0 of 1 can be reached by a recipe, and the function of 0 more",
    ]


def test_a_tree_without_hooks_is_one_clear_line(testbed: Testbed, tmp_path: Path) -> None:
    path = tree(tmp_path / "linux", {"include/linux/fs.h": ""}).path
    done = testbed("hooks", "--kernel", f"tree:{path}")
    assert done.status == 2
    assert "is not a kernel's: no struct has a member for an mmap hook" in done.stderr


def test_a_commit_is_read_without_a_checkout(tmp_path: Path) -> None:
    path = tree(tmp_path / "linux", {"drivers/a.c": OLD}).path
    git = ["git", "-C", str(path)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "old"]):
        run([*git, *words], env=GIT_ALONE)
    (path / "drivers/a.c").write_text(NEW)
    commit = run([*git, "rev-parse", "HEAD"], env=GIT_ALONE).stdout.strip()
    files = CommitFiles(path, commit)
    assert files.read("drivers/a.c") == OLD.encode()
    found = list(files.having([b"f_mmap"], files.names))
    assert found == [("drivers/a.c", OLD.encode())]
    assert list(files.having([b"f_prepare"], files.names)) == []


def test_what_a_run_has_reached(testbed: Testbed, tmp_path: Path) -> None:
    path = tree(tmp_path / "linux", {"drivers/a.c": OLD, "drivers/b.c": NEW}).path
    reached = Case(test="t", arch="arm64", reaches=("drivers/b.c:f by stack",), status=Status.PASS)
    (tmp_path / "run").mkdir()
    write_run(tmp_path / "run", Run(name="r", command="c", started="s", cases=(reached,)))
    options = ("--kernel", f"tree:{path}", "--list", "--run", str(tmp_path / "run"))
    done = testbed("hooks", *options)
    assert done.status == 0, done.stderr
    assert "x86_64,arm64; reached by stack (arm64)" in done.stdout
    assert "0 of 1 reached directly, 1 below a stack" in done.stdout
