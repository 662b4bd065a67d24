# SPDX-License-Identifier: GPL-2.0
"""The edits that make objects of a kernel count, and the hunks that each test ran."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from testbed.context import Context
from testbed.coverage.counted import Subject
from testbed.coverage.counters import counting_diff
from testbed.coverage.covering import Covering
from testbed.coverage.hunks import Hunk, Seen, Way, hunk_runs
from testbed.coverage.hunktable import hunks_by_test
from testbed.coverage.ranby import hunks_of_tests, write_coverage
from testbed.errors import SetupError
from testbed.kernel.patch import make_patch
from testbed.kernel.series import Series
from testbed.settings import Toolchain

LOADED = "static int post_relocation(struct module *mod, const struct load_info *info)\n{\n"
TREE = {
    "kernel/Makefile": "obj-y += fork.o\nobj-$(CONFIG_GCOV_KERNEL) += gcov/\n",
    "kernel/gcov/gcc_base.c": "#include <linux/export.h>\n",
    "kernel/module/main.c": f"{LOADED}\treturn 0;\n}}\n",
    "include/asm-generic/vmlinux.lds.h": "#define DATA_DATA\t\t\t\t\t\t\t\\\n\t*(.data)\n",
    "mm/Makefile": "obj-y += util.o\n",
}
FILE = "mm/util.c"


def text_of(name: str) -> str:
    return TREE.get(name, "")


def test_only_the_named_objects_get_the_flags() -> None:
    diff = counting_diff(text_of, ["mm/util.o", "mm/deeper/vma.o"])
    added = [line[1:] for line in diff.splitlines() if line.startswith("+CFLAGS")]
    assert [line.split(" += ")[0] for line in added] == ["CFLAGS_util.o", "CFLAGS_deeper/vma.o"]
    assert all("-fprofile-info-section=gcov_info" in line for line in added)
    assert added[0].endswith(" -frandom-seed=mm/util.o")


def test_the_diff_is_a_patch_of_each_file() -> None:
    patch = make_patch("counters.patch", counting_diff(text_of, ["mm/util.o"]).encode(), origin="x")
    assert set(patch.files) == set(TREE)


def test_an_object_beside_the_switch_shares_its_makefile() -> None:
    diff = counting_diff(text_of, ["kernel/relay.o"])
    assert diff.count("+++ b/kernel/Makefile") == 1
    assert "+obj-y += gcov/" in diff
    assert "+CFLAGS_relay.o += " in diff


@pytest.mark.parametrize("name", [name for name in TREE if name != "mm/Makefile"])
@pytest.mark.parametrize("text", ["other\n", ""], ids=["other", "none"])
def test_a_kernel_with_another_text_is_refused(name: str, text: str) -> None:
    tree = {**TREE, name: text}
    with pytest.raises(SetupError, match=f"this kernel cannot count: its {name} is not as"):
        counting_diff(lambda each: tree.get(each, ""), ["mm/util.o"])


HUNKS = (Hunk(FILE, range(2, 4)), Hunk(FILE, range(8, 9)))


def test_each_test_has_the_hunks_that_it_ran(tmp_path: Path) -> None:
    seen = [
        Seen("t::a", Way.DIRECT, {FILE: frozenset({3, 8})}),
        Seen("t::b", Way.DIRECT, {FILE: frozenset({8})}),
        Seen("t::c", Way.DIRECT, {FILE: frozenset({5}), "mm/vma.c": frozenset({2})}),
    ]
    by_test = hunks_by_test(seen, HUNKS)
    assert by_test == {"t::a": ["mm/util.c:2-3", "mm/util.c:8"], "t::b": ["mm/util.c:8"]}
    runs = [*hunk_runs(HUNKS, {FILE: frozenset({2, 3, 8})}, seen)]
    write_coverage(tmp_path, {"x86_64": runs}, {"x86_64": by_test})
    assert hunks_of_tests(tmp_path) == by_test
    assert "2 of 3 lines ran; 0 of 2 hunks never ran" in (tmp_path / "coverage.md").read_text()


def test_lines_that_only_generated_programs_ran_are_said_to_be() -> None:
    seen = [Seen("fuzz", Way.FUZZ, {FILE: frozenset({8})})]
    found = [*hunk_runs(HUNKS, {FILE: frozenset({8})}, seen)][1]
    assert (found.ran(Way.FUZZ), found.ran(None)) == ([8], [])


@pytest.mark.parametrize("content", [None, "{", json.dumps({"hunks": {}}), "[]"])
def test_a_folder_without_coverage_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "coverage.json").write_text(content)
    with pytest.raises(SetupError, match="has no coverage"):
        hunks_of_tests(tmp_path)


@pytest.mark.parametrize(
    ("kind", "gcov", "message"),
    [
        (Toolchain.LLVM, "gcov", "only kernels that GCC compiles count"),
        (Toolchain.GCC, "gcov-of-nobody", "gcov-of-nobody is not installed"),
    ],
)
def test_what_cannot_be_read_is_refused_before_anything_is_built(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, kind: Toolchain, gcov: str, message: str
) -> None:
    compiler = SimpleNamespace(kind=kind, gcov=gcov)
    monkeypatch.setattr("testbed.coverage.covering.find_compiler", lambda *_: compiler)
    subject = Subject(Series(), HUNKS, ("mm/util.o",))
    covering = Covering(ctx=ctx, plain=Series(), subject=subject, folder=Path("/nonexistent"))
    with pytest.raises(SetupError, match=message):
        covering.run("x86_64", lambda _: None)
