# SPDX-License-Identifier: GPL-2.0
"""The fit of patches: they apply, with offset or fuzz, are already merged, or conflict."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from diffs import diff

from testbed.errors import PatchError, SetupError
from testbed.kernel.fit import Fit, PatchFit, check_stage, examine, fit_lines, refuse_conflicts
from testbed.kernel.patch import make_patch
from testbed.kernel.series import Series

FILE = "mm/util.c"
OLD = "".join(f"line {number}\n" for number in range(1, 41))
CHANGED = OLD.replace("line 20\n", "line twenty\n")
INSERTED = OLD.replace("line 20\n", "between\nline 20\n")
SHORTER = OLD.replace("line 20\n", "")

PATCHES = {
    "change": diff(FILE, OLD, CHANGED),
    "insert": diff(FILE, OLD, INSERTED),
    "delete": diff(FILE, OLD, SHORTER),
}
RESULTS = {"change": CHANGED, "insert": INSERTED, "delete": SHORTER}


def fits(tree: Path, text: str, *patches: str, exact: bool = False) -> list[PatchFit]:
    """Examine how the patches fit a tree whose only file has this text."""
    (tree / FILE).parent.mkdir(exist_ok=True)
    (tree / FILE).write_text(text)
    made = (
        make_patch(f"{number}.patch", patch.encode(), origin="", exact=exact)
        for number, patch in enumerate(patches, 1)
    )
    found = examine(Series(tuple(made)), tree)
    assert (tree / FILE).read_text() == text
    return found


@pytest.mark.parametrize("kind", PATCHES)
def test_a_patch_applies_without_offset_or_fuzz(tmp_path: Path, kind: str) -> None:
    assert fits(tmp_path, OLD, PATCHES[kind]) == [PatchFit("1.patch", Fit.APPLIES)]


@pytest.mark.parametrize("kind", PATCHES)
def test_an_offset_is_reported(tmp_path: Path, kind: str) -> None:
    [found] = fits(tmp_path, f"more\nand more\n{OLD}", PATCHES[kind])
    assert found == PatchFit("1.patch", Fit.OFFSET, (f"{FILE}, hunk 1: offset of +2 lines",))


@pytest.mark.parametrize("kind", PATCHES)
@pytest.mark.parametrize(("away", "fuzz"), [(3, 1), (2, 2)])
def test_changed_context_needs_fuzz(tmp_path: Path, kind: str, away: int, fuzz: int) -> None:
    [found] = fits(tmp_path, OLD.replace(f"line {20 - away}\n", "else\n"), PATCHES[kind])
    assert found.fit is Fit.FUZZ
    assert f"fuzz of {fuzz} lines" in found.details[0]


@pytest.mark.parametrize("kind", PATCHES)
def test_a_patch_that_is_in_the_text_is_merged(tmp_path: Path, kind: str) -> None:
    assert fits(tmp_path, RESULTS[kind], PATCHES[kind]) == [PatchFit("1.patch", Fit.MERGED)]


@pytest.mark.parametrize("kind", PATCHES)
def test_a_merged_patch_is_found_at_another_line(tmp_path: Path, kind: str) -> None:
    [found] = fits(tmp_path, f"more\nand more\n{RESULTS[kind]}", PATCHES[kind])
    assert found.fit is Fit.MERGED
    assert "offset of" in found.details[0]


@pytest.mark.parametrize("kind", PATCHES)
def test_a_merged_patch_is_found_in_changed_context(tmp_path: Path, kind: str) -> None:
    [found] = fits(tmp_path, RESULTS[kind].replace("line 18\n", "else\n"), PATCHES[kind])
    assert found.fit is Fit.MERGED
    assert "fuzz of 2 lines" in found.details[0]


def test_a_merged_patch_is_not_applied_again_at_another_place(tmp_path: Path) -> None:
    # The lines around it occur twice, as the lines of error paths do.
    body = "{\n\tif (err)\n\t\treturn err;\n}\n\n"
    old = f"int one(void)\n{body}int two(void)\n{body}"
    new = old.replace("\t\treturn err;\n", "\t\treturn err;\n\tdone();\n", 1)
    [found] = fits(tmp_path, f"/* more */\n{new}", diff(FILE, old, new, context=2))
    assert found.fit is Fit.MERGED


def test_a_patch_whose_result_occurs_elsewhere_is_applied_at_its_place(tmp_path: Path) -> None:
    body = "{\n\tif (err)\n\t\treturn err;\n}\n\n"
    done = body.replace("\t\treturn err;\n", "\t\treturn err;\n\tdone();\n")
    rest = "".join(f"int number_{number};\n" for number in range(40))
    old = f"int one(void)\n{done}{rest}int two(void)\n{body}"
    new = f"int one(void)\n{done}{rest}int two(void)\n{done}"
    [found] = fits(tmp_path, f"/* more */\n{old}", diff(FILE, old, new, context=2))
    assert found.fit is Fit.OFFSET


def test_a_removal_is_not_merged_if_its_context_stands_together_elsewhere(tmp_path: Path) -> None:
    body = "{\n\tif (err)\n\t\treturn err;\n}\n\n"
    long = body.replace("\t\treturn err;\n", "\t\treturn err;\n\tdone();\n")
    old = f"int one(void)\n{long}"
    text = f"int zero(void)\n{body}{old}"
    [found] = fits(tmp_path, text, diff(FILE, old, f"int one(void)\n{body}", context=2))
    assert found.fit is Fit.OFFSET


def test_a_conflict_names_file_hunk_line_and_reason(tmp_path: Path) -> None:
    both = diff(FILE, OLD, CHANGED.replace("line 38\n", "line thirty-eight\n"))
    [found] = fits(tmp_path, OLD.replace("line 20\n", "line XX\n"), both)
    [detail] = found.details
    assert found.fit is Fit.CONFLICTS
    assert detail == (f"{FILE}, hunk 1 at line 17: line 20 is `line XX`, expected `line 20`")


def test_a_conflict_names_the_hunk_that_is_already_merged(tmp_path: Path) -> None:
    both = diff(FILE, OLD, CHANGED.replace("line 38\n", "line thirty-eight\n"))
    [found] = fits(tmp_path, CHANGED, both)
    assert found.fit is Fit.CONFLICTS
    assert found.details == (f"{FILE}, hunk 1 at line 17: it is already in the tree",)


def test_missing_files_and_files_that_already_exist_are_conflicts(tmp_path: Path) -> None:
    missing = diff("mm/none.c", "a\n", "b\n")
    create = f"diff --git a/{FILE} b/{FILE}\nnew file mode 100644\n--- /dev/null\n+++ b/{FILE}\n"
    found = fits(tmp_path, OLD, missing, f"{create}@@ -0,0 +1 @@\n+x\n")
    assert [fit.fit for fit in found] == [Fit.CONFLICTS, Fit.CONFLICTS]
    assert found[0].details == ("mm/none.c: No such file or directory",)
    assert found[1].details == (f"{FILE}: already exists in working directory",)


def test_a_file_without_any_line_of_the_hunk_is_reported(tmp_path: Path) -> None:
    [found] = fits(tmp_path, "all\nelse\n", PATCHES["change"])
    assert found.details[0].endswith("the file has none of its lines")


def test_patches_build_upon_each_other_even_if_one_is_merged(tmp_path: Path) -> None:
    second = diff(FILE, CHANGED, CHANGED.replace("line twenty\n", "line XX\n"))
    assert [fit.fit for fit in fits(tmp_path, OLD, PATCHES["change"], second)] == [Fit.APPLIES] * 2
    found = fits(tmp_path, CHANGED, PATCHES["change"], second)
    assert [fit.fit for fit in found] == [Fit.MERGED, Fit.APPLIES]


def test_an_exact_patch_is_neither_fuzzy_nor_merged(tmp_path: Path) -> None:
    for text in (CHANGED, OLD.replace("line 18\n", "else\n")):
        [found] = fits(tmp_path, text, PATCHES["change"], exact=True)
        assert found.fit is Fit.CONFLICTS
    [found] = fits(tmp_path, f"more\n{OLD}", PATCHES["change"], exact=True)
    assert found.fit is Fit.OFFSET


def test_the_table_has_details_below_their_patch() -> None:
    table = fit_lines([PatchFit("a.patch", Fit.APPLIES), PatchFit("b", Fit.FUZZ, ("where",))])
    assert list(table) == ["a.patch  applies", "b        applies with fuzz", "           where"]


def test_the_first_conflict_is_the_error() -> None:
    found = [PatchFit("a", Fit.MERGED), PatchFit("b", Fit.CONFLICTS, ("first", "second"))]
    with pytest.raises(PatchError, match="b does not apply: first") as raised:
        refuse_conflicts(found)
    assert raised.value.evidence == "second"
    refuse_conflicts(found[:1])


INDENTED = OLD.replace("line ", "\tline ")
INDENTED_PATCH = diff(FILE, INDENTED, INDENTED.replace("\tline 20\n", "\tline twenty\n"))


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (INDENTED_PATCH.expandtabs(), "the mailer has turned tabs into blanks"),
        (INDENTED_PATCH.replace("\t", ""), "leading white space is lost"),
        (INDENTED_PATCH.replace("\t", "   "), "the mailer has turned tabs into blanks"),
        (INDENTED_PATCH.replace("\t", "\t\t"), "it differs in white space only"),
    ],
    ids=["tabs", "leading", "few-blanks", "other"],
)
def test_damage_by_a_mailer_is_named(tmp_path: Path, damaged: str, reason: str) -> None:
    found = fits(tmp_path, INDENTED, damaged)
    assert found[0].fit is Fit.CONFLICTS
    assert reason in found[0].details[0]
    assert "differs in white space only" in found[0].details[0]
    with pytest.raises(PatchError) as caught:
        refuse_conflicts(found)
    assert "mail archive" in caught.value.hint


def test_blanks_lost_at_the_end_of_lines_are_named(tmp_path: Path) -> None:
    text = OLD.replace("line 18\n", "line 18  \n").replace("line 19\n", "line 19\t\n")
    patch = (
        diff(FILE, text, text.replace("line 20\n", "")).replace("18  ", "18").replace("9\t", "9")
    )
    [found] = fits(tmp_path, text.replace("line 22", "line 0"), patch)
    assert found.fit is Fit.CONFLICTS
    [found] = fits(tmp_path, text, patch)
    assert "blanks at the end of lines are lost" in found.details[0]


def test_a_hunk_before_the_beginning_is_named(tmp_path: Path) -> None:
    patch = diff(FILE, OLD, CHANGED)
    [found] = fits(tmp_path, OLD.partition("line 20\n")[2], patch)
    assert "before the beginning of the file" in found.details[0]


def test_a_removal_is_not_merged_because_its_context_stands_elsewhere(tmp_path: Path) -> None:
    ends = "\tend();\n}\n\n/**\n * a\n */\n" * 2
    old = f"int one(void)\n{{\n\tkfree(x);\n}}\nEXPORT(one);\n\n/**\n{ends}"
    patch = diff(FILE, old.replace("EXPORT(", "EXPORT_GPL("), old.replace("EXPORT(one);\n", ""))
    [found] = fits(tmp_path, old, patch)
    assert found.fit is Fit.CONFLICTS


def test_two_diffs_of_one_file_are_explained_hunk_by_hunk(tmp_path: Path) -> None:
    twice = OLD.replace("line 5\n", "x\n").replace("line 30\n", "y\n")
    patch = diff(FILE, OLD, twice) + diff(FILE, twice, twice.replace("line 15\n", "z\n"))
    [found] = fits(tmp_path, OLD.replace("line 31\n", "else\n").replace("line 30\n", "e\n"), patch)
    assert found.fit is Fit.CONFLICTS
    assert "hunk 2 at line 27" in found.details[0]


LINK = f"diff --git a/{FILE} b/mm/x\ncopy from {FILE}\ncopy to mm/x\nnew mode 120000 \n"


def test_a_patch_that_makes_a_link_is_refused_before_git_reads_it(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="symbolic link"):
        fits(tmp_path, OLD, PATCHES["change"] + LINK)


@pytest.mark.parametrize("kind", ["link", "other", "fifo"])
def test_a_stage_with_more_than_plain_files_that_were_named_is_refused(
    tmp_path: Path, kind: str
) -> None:
    (tmp_path / "mm").mkdir()
    (tmp_path / FILE).write_text(OLD)
    patch = make_patch("1.patch", PATCHES["change"].encode(), origin="")
    check_stage(tmp_path, {FILE}, patch)
    if kind == "link":
        (tmp_path / FILE).unlink()
        (tmp_path / FILE).symlink_to("/etc/passwd")
    elif kind == "other":
        (tmp_path / "mm/other.c").touch()
    else:
        os.mkfifo(tmp_path / "mm/pipe")
    with pytest.raises(SetupError, match="the series is refused"):
        check_stage(tmp_path, {FILE}, patch)
