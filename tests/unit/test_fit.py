# SPDX-License-Identifier: GPL-2.0
"""How patches fit a text: as they are, shifted, with fuzz, merged already, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from diffs import diff

from testbed.errors import PatchError
from testbed.kernel.fit import Fit, PatchFit, examine, fit_lines, refuse_conflicts
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
    """How the patches fit a tree whose only file has this text."""
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
def test_it_applies_as_it_is(tmp_path: Path, kind: str) -> None:
    assert fits(tmp_path, OLD, PATCHES[kind]) == [PatchFit("1.patch", Fit.APPLIES)]


@pytest.mark.parametrize("kind", PATCHES)
def test_an_offset_is_told(tmp_path: Path, kind: str) -> None:
    [found] = fits(tmp_path, f"more\nand more\n{OLD}", PATCHES[kind])
    assert found == PatchFit("1.patch", Fit.OFFSET, (f"{FILE}, hunk 1: offset of +2 lines",))


@pytest.mark.parametrize("kind", PATCHES)
@pytest.mark.parametrize(("away", "fuzz"), [(3, 1), (2, 2)])
def test_context_that_changed_is_fuzz(tmp_path: Path, kind: str, away: int, fuzz: int) -> None:
    [found] = fits(tmp_path, OLD.replace(f"line {20 - away}\n", "else\n"), PATCHES[kind])
    assert found.fit is Fit.FUZZ
    assert f"fuzz of {fuzz} lines" in found.details[0]


@pytest.mark.parametrize("kind", PATCHES)
def test_what_is_in_the_text_is_merged(tmp_path: Path, kind: str) -> None:
    assert fits(tmp_path, RESULTS[kind], PATCHES[kind]) == [PatchFit("1.patch", Fit.MERGED)]


@pytest.mark.parametrize("kind", PATCHES)
def test_what_is_merged_is_found_where_it_has_moved(tmp_path: Path, kind: str) -> None:
    [found] = fits(tmp_path, f"more\nand more\n{RESULTS[kind]}", PATCHES[kind])
    assert found.fit is Fit.MERGED
    assert "offset of" in found.details[0]


@pytest.mark.parametrize("kind", PATCHES)
def test_what_is_merged_is_found_where_its_context_has_changed(tmp_path: Path, kind: str) -> None:
    [found] = fits(tmp_path, RESULTS[kind].replace("line 18\n", "else\n"), PATCHES[kind])
    assert found.fit is Fit.MERGED
    assert "fuzz of 2 lines" in found.details[0]


def test_what_is_merged_does_not_go_in_a_second_time_at_another_place(tmp_path: Path) -> None:
    # The lines around it stand at two places, as those of an error path do.
    body = "{\n\tif (err)\n\t\treturn err;\n}\n\n"
    old = f"int one(void)\n{body}int two(void)\n{body}"
    new = old.replace("\t\treturn err;\n", "\t\treturn err;\n\tdone();\n", 1)
    [found] = fits(tmp_path, f"/* more */\n{new}", diff(FILE, old, new, context=2))
    assert found.fit is Fit.MERGED


def test_what_stands_elsewhere_already_goes_in_at_its_own_place(tmp_path: Path) -> None:
    body = "{\n\tif (err)\n\t\treturn err;\n}\n\n"
    done = body.replace("\t\treturn err;\n", "\t\treturn err;\n\tdone();\n")
    rest = "".join(f"int number_{number};\n" for number in range(40))
    old = f"int one(void)\n{done}{rest}int two(void)\n{body}"
    new = f"int one(void)\n{done}{rest}int two(void)\n{done}"
    [found] = fits(tmp_path, f"/* more */\n{old}", diff(FILE, old, new, context=2))
    assert found.fit is Fit.OFFSET


def test_lines_that_never_had_what_is_taken_away_are_not_it_merged(tmp_path: Path) -> None:
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
    assert detail == (
        f"{FILE}, hunk 1 at line 17: line 20 is `line XX`, where `line 20` is expected"
    )


def test_a_patch_of_which_a_part_is_merged_conflicts_and_says_so(tmp_path: Path) -> None:
    both = diff(FILE, OLD, CHANGED.replace("line 38\n", "line thirty-eight\n"))
    [found] = fits(tmp_path, CHANGED, both)
    assert found.fit is Fit.CONFLICTS
    assert found.details == (f"{FILE}, hunk 1 at line 17: it is in the tree already",)


def test_files_that_are_missing_or_there_already_are_conflicts(tmp_path: Path) -> None:
    missing = diff("mm/none.c", "a\n", "b\n")
    create = f"diff --git a/{FILE} b/{FILE}\nnew file mode 100644\n--- /dev/null\n+++ b/{FILE}\n"
    found = fits(tmp_path, OLD, missing, f"{create}@@ -0,0 +1 @@\n+x\n")
    assert [fit.fit for fit in found] == [Fit.CONFLICTS, Fit.CONFLICTS]
    assert found[0].details == ("mm/none.c: No such file or directory",)
    assert found[1].details == (f"{FILE}: already exists in working directory",)


def test_what_has_nothing_of_it_is_said_to_have_nothing(tmp_path: Path) -> None:
    [found] = fits(tmp_path, "all\nelse\n", PATCHES["change"])
    assert found.details[0].endswith("nothing of what it changes is in the file")


def test_patches_build_upon_each_other_also_when_one_is_merged(tmp_path: Path) -> None:
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
