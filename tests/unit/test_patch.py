# SPDX-License-Identifier: GPL-2.0
"""The parser of patches, and the patches that it refuses before they reach a tree."""

from __future__ import annotations

from pathlib import Path

import pytest
from diffs import diff

from testbed.errors import SetupError
from testbed.kernel import patch
from testbed.kernel.patch import Patch, make_patch, read_patch

GOOD = diff("mm/util.c", "int a;\n", "int b;\n")
HEAD = "diff --git a/mm/x b/mm/x\n"
LINK = f"{HEAD}new file mode 120000\n--- /dev/null\n+++ b/mm/x\n@@ -0,0 +1 @@\n+/etc/passwd\n"
CUT = GOOD.replace("@@ -1 +1 @@", "@@ -1,4 +1,4 @@")


def made(text: str | bytes) -> Patch:
    return make_patch("x.patch", text.encode() if isinstance(text, str) else text, origin="here")


def plain(old: str, new: str) -> str:
    return f"--- {old}\n+++ {new}\n@@ -1 +1 @@\n-a\n+b\n"


def test_files_and_hunks_are_read() -> None:
    text = diff("mm/a.c", "1\n2\n3\n", "1\nx\n3\n") + diff("mm/b.c", "", "new\n")
    one, other = made(text).diffs
    assert (one.old, one.new, other.new) == ("mm/a.c", "mm/a.c", "mm/b.c")
    assert (one.hunks[0].old, one.hunks[0].new) == (["1", "2", "3"], ["1", "x", "3"])


def test_a_removed_line_that_looks_like_a_file_name_is_not_a_name() -> None:
    text = diff("doc.rst", "-- a/../../x\n++ y\n", "-- y\n")
    assert made(text).files == {"doc.rst"}


def test_an_empty_line_of_context_may_lack_its_blank() -> None:
    text = diff("mm/a.c", "1\n\n3\n", "1\n\nx\n").replace("\n \n", "\n\n")
    assert made(text).diffs[0].hunks[0].old == ["1", "", "3"]


def test_a_patch_may_contain_bytes_that_are_not_utf8() -> None:
    assert made(GOOD.encode() + diff("b.c", "1\n", "\xe4\n").encode("latin-1")).files == {
        "mm/util.c",
        "b.c",
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (plain("a/../../etc/passwd", "b/../../etc/passwd"), "outside the tree"),
        (plain("a/mm/x", "b/mm/../../x"), "outside the tree"),
        (plain("/etc/passwd", "/etc/passwd"), "absolute path"),
        (plain("a//etc/passwd", "b//etc/passwd"), "absolute path"),
        ("diff --git a/mm/x b/../x\nold mode 100644\nnew mode 100755\n", "outside the tree"),
        (f"{HEAD}rename from mm/x\nrename to ../x\n", "outside the tree"),
        (plain("a/.git/config", "b/.git/config"), "belongs to git"),
        (plain("a/mm/.GIT/x", "b/mm/.GIT/x"), "belongs to git"),
        (plain("a/mm/./x", "b/mm/./x"), "unusual way"),
        (plain("a/mm/\x1b[2Jx", "b/mm/\x1b[2Jx"), "unusual way"),
        (plain('"a/mm/\\303"', '"b/mm/\\303"'), "in quotes"),
        ('diff --git "a/mm/\\303" "b/mm/\\303"\nold mode 100644\n', "in quotes"),
        (plain("util.c", "util.c"), "without a leading directory"),
        (LINK, "symbolic link"),
        (LINK.replace("new file mode 120000", "index 1..2 120000"), "symbolic link"),
        (LINK.replace("120000", "160000"), "file of mode 160000"),
        (LINK.replace("120000", "104755"), "file of mode 104755"),
        (f"{HEAD}index 1..2\nGIT binary patch\nliteral 1\nIcmZPo\n", "binary"),
        (f"{HEAD}Binary files a/mm/x and b/mm/x differ\n", "binary"),
        (b"\x7fELF\0\0" + GOOD.encode(), "binary"),
        (GOOD.encode("utf-16"), "UTF-16"),
        (CUT, "is cut off"),
        (HEAD + "index 1..2 100644\n", "its diff of mm/x is cut off"),
        (HEAD + "index 1..2 100644\n--- a/mm/x\n+++ b/mm/x\n", "its diff of mm/x is cut off"),
        (GOOD.replace("@@ -1 +1 @@", "@@ -1"), "hunk at line 4 has a damaged head"),
        (GOOD.replace("@@ -1 +1 @@", "@@ --1 +1 @@"), "hunk at line 4 has a damaged head"),
        (GOOD.replace("@@ -1 +1 @@", f"@@ -{10**12} +1 @@"), "has a damaged head"),
        (plain(f"a/mm/{'n' * 256}", f"b/mm/{'n' * 256}"), "name is too long: mm/nnn"),
        (plain(f"a/{'mm/' * 999}x", f"b/{'mm/' * 999}x"), "name is too long: mm/mm/"),
        ("hello\n", "is not a patch"),
        (b"", "is not a patch"),
    ],
)
def test_an_unsafe_or_malformed_patch_is_refused(text: str | bytes, why: str) -> None:
    with pytest.raises(SetupError, match=why):
        made(text)


def test_a_huge_file_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "huge.patch"
    file.write_text(GOOD)
    monkeypatch.setattr(patch, "LIMIT", len(GOOD) - 1)
    with pytest.raises(SetupError, match=r"huge\.patch is refused: it is larger than"):
        read_patch(file)
    with pytest.raises(SetupError, match="larger than"):
        made(GOOD)


def test_lines_that_end_with_cr_lf_are_taken_without_the_cr() -> None:
    found = made(GOOD.replace("\n", "\r\n"))
    assert found.identity == made(GOOD).identity
    assert found.notes == ("its lines end with CR LF: applied without the CR",)


NO_PREFIX = GOOD.replace("a/mm", "mm").replace("b/mm", "mm")


@pytest.mark.parametrize(
    ("text", "strip"),
    [
        (GOOD, 1),
        (GOOD.replace("a/mm", "i/mm").replace("b/mm", "w/mm"), 1),
        (GOOD.replace("a/mm", "linux.orig/mm").replace("b/mm", "linux/mm"), 1),
        (GOOD.replace("a/mm", "linux/mm").replace("b/mm", "linux/mm"), 1),
        (NO_PREFIX, 0),
        ("".join(line for line in NO_PREFIX.splitlines(True) if "diff" not in line), 0),
        (NO_PREFIX + GOOD, 1),
        (NO_PREFIX.replace("mm/", "kernel/mm/"), 1),
        (NO_PREFIX.replace("mm/", "drivers/net/"), 0),
        ("diff --git mm/a.c mm/b.c\nrename from mm/a.c\nrename to mm/b.c\n", 0),
        ("--- mm/util.c.orig\n+++ mm/util.c\n@@ -1 +1 @@\n-a\n+b\n", 0),
        ("--- before\n+++ after\n\n" + NO_PREFIX, 0),
    ],
    ids=[
        "git",
        "mnemonic",
        "diff-orig",
        "diff-same",
        "none",
        "none-plain",
        "both",
        "kernel",
        "drivers-net",
        "rename",
        "orig",
        "description",
    ],
)
def test_names_without_a_prefix_are_noticed(text: str, strip: int) -> None:
    assert made(text).strip == strip


def test_names_without_a_prefix_are_noted_and_name_the_same_files() -> None:
    found = made(NO_PREFIX)
    assert found.notes == ("its names lack a/ and b/: applied with -p0",)
    assert found.files == made(GOOD).files


DESCRIPTIONS = [
    "--- before\none\n+++ after\ntwo\n",
    "--- before\n+++ after\nand no hunk\n",
    "diff --git a/mm/other.c b/mm/other.c\nand nothing else\n",
    "  diff --git a/x b/x\n  --- a/x\n  +++ b/x\n  @@ -1,1 +1,2 @@\n  +x\n",
]


@pytest.mark.parametrize("text", DESCRIPTIONS)
def test_a_description_that_looks_like_a_diff_is_not_one(text: str) -> None:
    found = made(f"Why.\n\n{text}---\n{GOOD}-- \n2.39.5\n")
    assert (found.files, found.identity) == (made(GOOD).files, made(GOOD).identity)
    assert found.diff_text.decode() == GOOD


def test_a_file_without_a_newline_at_its_end_keeps_that() -> None:
    text = GOOD + "\\ No newline at end of file\n"
    assert made(text + "-- \n2.39.5\n").diff_text.decode() == text


@pytest.mark.parametrize(
    "time", ["\t2025-06-09 09:24:13.000000000 +0100", " 2025-06-09 09:24:13.0 +0100",
             "\tMon Jun  9 09:24:13 2025", " Mon Jun  9 09:24:13 2025"]
)  # fmt: skip
def test_a_time_behind_a_name_is_not_part_of_it(time: str) -> None:
    found = made(f"--- /dev/null{time}\n+++ linux/mm/new.c{time}\n@@ -0,0 +1 @@\n+a\n")
    assert found.files == {"mm/new.c"}


def test_an_empty_file_with_a_blank_in_its_name_is_named() -> None:
    text = "diff --git a/mm/a b.txt b/mm/a b.txt\nnew file mode 100644\nindex 000..e69\n"
    assert made(text).files == {"mm/a b.txt"}


@pytest.mark.parametrize("mode", ["120000 ", "120000\t", "160000", "", "0100644x"])
def test_a_mode_that_is_not_a_plain_files_is_refused(mode: str) -> None:
    with pytest.raises(SetupError, match=r"mode|link"):
        made(f"{HEAD}new file mode {mode}\n--- /dev/null\n+++ b/mm/x\n@@ -0,0 +1 @@\n+a\n")


def test_cr_lf_in_the_diff_alone_is_taken_and_a_mixture_is_named() -> None:
    assert made("Why.\n---\n" + GOOD.replace("\n", "\r\n")).identity == made(GOOD).identity
    with pytest.raises(SetupError, match="some of its lines end with CR LF"):
        made(GOOD.replace("util.c\n", "util.c\r\n"))
