# SPDX-License-Identifier: GPL-2.0
"""`testbed check --series`: the hooks that a series touches, who reaches them, and the verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from diffs import diff
from inventory_parts import tree
from test_check import checked, outcome
from test_cli import Testbed, testbed

from testbed.check.result import Checked, Conversion, TrialResult
from testbed.check.serieschange import SeriesChange, Verdict, new_findings
from testbed.check.seriesreport import change_content, change_lines
from testbed.check.subjects import Subject, Subjects, find_subjects
from testbed.intree.recipe import Recipe, load_recipe
from testbed.inventory.definitions import changed_definitions, definitions
from testbed.inventory.touched import Touch, touched_hooks
from testbed.inventory.treefiles import FolderFiles

__all__ = ["testbed"]

BODY = """
static int a_mmap(struct file *file, struct vm_area_struct *vma)
{
	return a_help(vma);
}
static int a_help(struct vm_area_struct *vma)
{
	return remap_pfn_range(vma, vma->vm_start, 0, 4096, vma->vm_page_prot);
}
"""
OLD = BODY + "static struct file_operations a_fops = {\n\t.mmap = a_mmap,\n};\n"
NEW = (
    BODY.replace("a_mmap(struct file *file, struct vm_area_struct", "a_prep(struct vm_area_desc")
    + "static struct file_operations a_fops = {\n\t.mmap_prepare = a_prep,\n};\n"
)
BOTH = OLD.replace("\t.mmap =", "\t.mmap_prepare = a_prep,\n\t.mmap =")
OTHER = "\nint x_mmap(struct file *f, struct vm_area_struct *vma)\n{\n\treturn -EIO;\n}\n"


def recipe(name: str, *chain: str) -> Recipe:
    return Recipe(file=Path(f"{name}.toml"), what=name, chain=chain, node=f"/dev/{name}")


def subjects(
    path: Path, old: Mapping[str, str], new: Mapping[str, str], *recipes: Recipe
) -> Subjects:
    """Return what differs between two trees with these files."""
    sides = [tree(path / name, files) for name, files in (("old", old), ("new", new))]
    before, after = (FolderFiles(side.path) for side in sides)
    changed = changed_definitions(before, after, sorted({*old, *new}))
    return find_subjects(sides[0].inventory(), sides[1].inventory(), changed, recipes)


def only(found: Subjects) -> Subject:
    (subject,) = found.found
    return subject


def touch(path: Path, old: str, new: str) -> list[Touch]:
    sides = [tree(path / name, {"drivers/a.c": text}) for name, text in (("o", old), ("n", new))]
    before, after = (FolderFiles(side.path) for side in sides)
    changed = changed_definitions(before, after, ["drivers/a.c"])
    found = touched_hooks(sides[0].inventory(), sides[1].inventory(), changed)
    return [each.touch for each in found]


def test_definitions_have_their_names() -> None:
    text = "#define A(x) (x)\nint f(void)\n{\n\treturn 1;\n}\nstruct s o = {\n\t.a = 1,\n};\n"
    assert set(definitions("a.c", text.encode())) == {"A", "f", "o"}


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (OLD, OLD, []),
        (OLD, OLD.replace("return a_help", "/* why */\n\treturn  a_help"), []),
        (OLD, NEW, [Touch.CONVERTED]),
        (NEW, OLD, [Touch.UNCONVERTED]),
        (OLD, OLD.replace(".mmap = a_mmap", ".mmap = b_mmap"), [Touch.REPLACED]),
        (OLD, OLD.replace("a_help(vma);", "a_help(vma) ?: 1;"), [Touch.FUNCTION]),
        (OLD, OLD.replace("0, 4096", "1, 4096"), []),
        (OLD, BODY, [Touch.GONE]),
        (BODY, NEW, [Touch.NEW]),
        (OLD, BOTH, [Touch.CONVERTED]),
    ],
    ids=["same", "a comment", "conv", "back", "other", "text", "a helper", "gone", "new", "both"],
)
def test_what_a_change_does_to_a_hook(
    tmp_path: Path, old: str, new: str, found: list[Touch]
) -> None:
    assert touch(tmp_path, old, new) == found


def test_a_function_of_another_file_is_meant_unless_it_is_static(tmp_path: Path) -> None:
    hook = "struct file_operations f = {\n\t.mmap = x_mmap,\n};\n"
    changed = OTHER.replace("-EIO", "-EBADF")
    for static, found in (("", 1), ("static ", 0)):
        old, new = (
            {"drivers/a.c": hook, "drivers/b.c": text.replace("int x", f"{static}int x")}
            for text in (OTHER, changed)
        )
        assert len(subjects(tmp_path / (static or "extern"), old, new).found) == found


def test_a_recipe_reaches_the_hook_whose_function_it_names(tmp_path: Path) -> None:
    known = (recipe("a", "outer", "a_mmap"), recipe("b", "b_mmap"))
    found = subjects(tmp_path, {"drivers/a.c": OLD}, {"drivers/a.c": NEW}, *known)
    assert [each.name for each in only(found).recipes] == ["a"]
    assert only(found).name == "file_operations a_fops: a_mmap -> a_prep"
    assert found.converted == {"a"}
    assert found.renamed == {"a": ({"a_prep": "a_mmap"}, {"a_mmap": "a_prep"})}


def test_a_recipe_reaches_the_hook_that_it_names_whatever_its_function_is(tmp_path: Path) -> None:
    known = [replace(recipe(f"{f}_fops", "macro"), hook=f"drivers/a.c:{f}_fops") for f in "ab"]
    found = subjects(tmp_path, {"drivers/a.c": OLD}, {"drivers/a.c": NEW}, *known)
    assert [each.name for each in only(found).recipes] == ["a_fops"]


def test_a_recipe_may_name_the_function_of_the_newer_kernel(tmp_path: Path) -> None:
    known = recipe("a", "a_prep")
    found = subjects(tmp_path, {"drivers/a.c": OLD}, {"drivers/a.c": NEW}, known)
    assert found.recipes == (known,)
    assert [found.renamed["a"][0].get(name, name) for name in known.chain] == ["a_mmap"]


def test_a_shared_function_that_no_hook_has_any_more_has_its_new_name_in_a_chain(
    tmp_path: Path,
) -> None:
    shared = "struct file_operations f = {\n\t.mmap = x_mmap,\n};\n"
    old = {"drivers/a.c": OLD, "net/b.c": shared, "net/c.c": shared}
    known = replace(recipe("a", "a_mmap", "x_mmap"), hook="drivers/a.c:a_fops")
    for ops, now in (("net/b.c", "x_mmap"), ("net/b.c net/c.c", "x_prep")):
        changed = {
            file: shared.replace("mmap = x_mmap", "mmap_prepare = x_prep") for file in ops.split()
        }
        found = subjects(tmp_path / now, old, {**old, "drivers/a.c": NEW, **changed}, known)
        newer = found.renamed["a"][1]
        assert [newer.get(name, name) for name in known.chain] == ["a_prep", now]


def test_of_a_shared_function_a_recipe_reaches_the_hook_of_its_symbol(tmp_path: Path) -> None:
    shared = "struct file_operations f = {\n\t.mmap = x_mmap,\n};\n"
    old = {"lib/x.c": OTHER, "drivers/a.c": shared, "drivers/b.c": shared}
    new = {**old, "drivers/a.c": shared.replace("x_mmap", "y_mmap")}
    for symbol, nearest in (("A", ""), ("B", "foo runs x_mmap")):
        file = tmp_path / "foo.toml"
        kconfig = f'kconfig = """\nCONFIG_{symbol}=y\n"""\n'
        file.write_text(f'what = "foo"\nchain = ["x_mmap"]\nnode = "/dev/foo"\n{kconfig}')
        found = subjects(tmp_path / symbol, old, new, load_recipe(file))
        assert bool(only(found).recipes) is not bool(nearest)
        assert only(found).nearest == nearest


def test_a_recipe_may_name_its_hook(tmp_path: Path) -> None:
    shared = "struct file_operations f = {\n\t.mmap = x_mmap,\n};\n"
    old = {"lib/x.c": OTHER, "drivers/a.c": shared, "drivers/b.c": shared}
    new = {**old, "drivers/a.c": shared.replace("x_mmap", "y_mmap")}
    for file, reached in (("a", True), ("b", False)):
        known = replace(recipe("r", "x_mmap"), hook=f"drivers/{file}.c:f")
        assert bool(only(subjects(tmp_path / file, old, new, known)).recipes) is reached


def test_a_helper_in_a_chain_is_touched_too(tmp_path: Path) -> None:
    changed = OLD.replace("0, 4096", "1, 4096")
    known = recipe("a", "a_mmap", "a_help")
    found = subjects(tmp_path, {"drivers/a.c": OLD}, {"drivers/a.c": changed}, known)
    assert (only(found).name, only(found).touch) == ("a_help()", "in a chain")
    assert found.recipes == (known,)
    assert not found.converted


def test_the_nearest_chain_does_the_same(tmp_path: Path) -> None:
    near = OLD.replace(" a_", " b_")
    old, new = {"drivers/a.c": OLD, "drivers/b.c": near}, {"drivers/a.c": NEW, "drivers/b.c": near}
    found = subjects(tmp_path, old, new, recipe("b", "b_mmap"))
    assert only(found).recipes == ()
    assert "no recipe reaches it" in only(found).why_not
    assert only(found).nearest == "b maps in the same way (remap)"


def change(before: Checked, after: Checked) -> SeriesChange:
    """Return a change of the hook of recipe `a`, with these results."""
    subject = Subject(name="f", place="a.c:1", touch="converted", recipes=(recipe("a", "a_mmap"),))
    both = {("a", "x86_64"): Conversion(before, after, changes_kind=True)}
    return SeriesChange(title="t", arches=("x86_64",), subjects=(subject,), conversions=both)


def verdict(before: Checked, after: Checked) -> tuple[Verdict, int]:
    found = change(before, after)
    (result,) = found.results
    return result.verdict, found.exit_status


def chain(*complaints: str) -> TrialResult:
    return outcome("chain", *complaints)


MAPS = {"1 map m:.errno": "0"}
FAILS = {"1 map m:.errno": "22"}


@pytest.mark.parametrize(
    ("before", "after", "expected", "status"),
    [
        ([chain(), outcome("fork", facts=MAPS)],) * 2 + (Verdict.SAME, 0),
        (
            [chain(), outcome("fork", facts=MAPS)],
            [chain(), outcome("fork", facts=FAILS)],
            Verdict.DIFFERENT,
            1,
        ),
        ([chain("it ran none")], [chain()], Verdict.UNREACHED, 3),
        ([chain()], [chain("it ran none")], Verdict.UNREACHED, 3),
        # A hook that fails is not reached because of that: what userspace sees counts.
        (
            [chain(), outcome("fork", facts=MAPS)],
            [chain("it ran none"), outcome("fork", facts=FAILS)],
            Verdict.DIFFERENT,
            1,
        ),
        (
            [chain("it ran none"), outcome("fork", facts=MAPS)],
            [chain("it ran none"), outcome("fork", facts=FAILS)],
            Verdict.DIFFERENT,
            1,
        ),
        # What fails on both sides alike is no difference.
        ([chain(), outcome("fork", "leaks")],) * 2 + (Verdict.SAME, 0),
    ],
    ids=[
        "same",
        "different",
        "never reached",
        "no more reached",
        "refused",
        "unwatched",
        "as bad as before",
    ],
)
def test_the_verdict_on_a_hook(
    before: list[TrialResult], after: list[TrialResult], expected: Verdict, status: int
) -> None:
    assert verdict(checked(*before), checked(*after)) == (expected, status)


def test_a_driver_that_maps_nothing_on_both_sides_shows_nothing() -> None:
    nothing = replace(checked(outcome("load", "no such node")), base_mappings=())
    found = change(nothing, nothing)
    (result,) = found.results
    assert result.verdict is Verdict.UNREACHED
    assert "no such node" in result.why
    assert found.exit_status == 3


def test_a_merge_is_no_difference_of_a_conversion() -> None:
    where = "7 map n FILE len=2p:.error"
    sides = [checked(outcome("adjacent-shared", facts={where: error})) for error in ("0", "EINVAL")]
    assert verdict(sides[0], sides[1]) == (Verdict.SAME, 0)
    (allowed,) = change(sides[0], sides[1]).conversions["a", "x86_64"].allowed
    assert allowed.change.where == where
    assert "# allowed" in list(change_lines(change(sides[0], sides[1])))
    plain = Conversion(sides[0], sides[1])
    assert plain.differences
    assert not plain.allowed


@pytest.mark.parametrize(
    ("trial", "path", "old", "new", "where"),
    [
        ("adjacent-shared", "direct", "0", "EINVAL", "6 map m FILE len=2p:.error"),
        ("fork-shared", "direct", "0", "EINVAL", "7 map n FILE len=2p:.error"),
        ("fork-shared", "direct", "EAGAIN", "EINVAL", "6 map m FILE len=2p:.error"),
        ("fork-shared", "stack", "0", "EINVAL", "6 map m FILE len=2p:.error"),
        ("fork-shared", "stack", "EAGAIN", "EINVAL", "6 mremap m len=2p:.error"),
        ("adjacent-shared", "direct", "pool:1", "pool:2", "9 read m:.pages[0].content"),
    ],
)
def test_other_changes_are_differences(
    trial: str, path: str, old: str, new: str, where: str
) -> None:
    sides = [checked(outcome(trial, path=path, facts={where: value})) for value in (old, new)]
    assert verdict(sides[0], sides[1]) == (Verdict.DIFFERENT, 1)


def test_an_override_is_missing_below_a_stack() -> None:
    where = "6 map m FILE len=2p:.error"
    sides = [
        checked(outcome("sizes-shared", path="stack", facts={where: value}))
        for value in ("EAGAIN", "EINVAL")
    ]
    assert verdict(sides[0], sides[1]) == (Verdict.SAME, 0)


def test_a_report_shows_each_hook_and_both_observations() -> None:
    found = change(
        checked(chain(), outcome("fork", facts=MAPS)),
        checked(chain(), outcome("fork", facts=FAILS)),
    )
    lines = list(change_lines(found))
    assert "| f (a.c:1) | converted | different: 2 trials |" in lines
    assert lines[lines.index("- 1 map m:.errno") + 1 :][:2] == [
        "    before: 0",
        "    after:  22",
    ]
    content = json.loads(json.dumps(change_content(found)))
    assert (content["hooks"][0]["verdict"], content["hooks"][0]["trials"]) == ("different", 2)
    assert content["conversions"]["a on x86_64"]["differences"]


def test_errors_are_shown_before_what_follows_from_them() -> None:
    steps = {"1 map m:.addr": ("m", "-"), "1 map m:.error": ("-", "EINVAL")}
    sides = [
        checked(outcome("fork", facts={where: each[side] for where, each in steps.items()}))
        for side in (0, 1)
    ]
    lines = list(change_lines(change(sides[0], sides[1])))
    assert lines.index("- 1 map m:.error") < lines.index("- 1 map m:.addr")


def test_a_trial_that_was_not_run_leaves_the_reason(tmp_path: Path) -> None:
    subject = Subject(
        name="f", place="a.c:1", touch="new", recipes=(recipe("a", "f"),), nearest="b runs g"
    )
    found = SeriesChange(
        title="t",
        arches=("x86_64", "arm64"),
        subjects=(subject,),
        left_out={"a on x86_64": "no device", "a on arm64": "no symbol"},
    )
    assert [each.why for each in found.results] == ["no device", "no symbol"]
    assert "  nearest: b runs g" in list(change_lines(found))
    assert found.exit_status == 3


def test_only_new_findings_count(tmp_path: Path) -> None:
    old, new = (
        tree(tmp_path / name, {"drivers/a.c": text}).inventory()
        for name, text in (("old", OLD), ("new", BOTH))
    )
    assert [each.rule for each in new_findings(old, new)] == ["both-members"]
    assert new_findings(new, new) == ()


def series(path: Path, old: str, new: str, name: str = "drivers/a.c") -> tuple[str, ...]:
    linux = tree(path / "linux", {name: old}).path
    patch = path / "a.patch"
    patch.write_text(diff(name, old, new))
    return ("check", "--kernel", f"tree:{linux}", "--series", str(patch), "--arch", "x86_64")


def test_a_hook_without_a_recipe_is_not_reached(testbed: Testbed, tmp_path: Path) -> None:
    done = testbed(*series(tmp_path, OLD, NEW))
    assert done.status == 3, done.stderr
    assert "| file_operations a_fops: a_mmap -> a_prep (drivers/a.c:" in done.stdout
    assert "no recipe reaches it" in done.stdout
    (file,) = (tmp_path / "results").glob("2*/check.md")
    assert "# not reached" in file.read_text()


def test_a_finding_is_shown_and_fails(testbed: Testbed, tmp_path: Path) -> None:
    done = testbed(*series(tmp_path, OLD, BOTH))
    assert done.status == 1, done.stderr
    assert "a_fops has both mmap and mmap_prepare" in done.stdout


def test_a_series_that_touches_no_hook_is_not_for_this_command(
    testbed: Testbed, tmp_path: Path
) -> None:
    done = testbed(*series(tmp_path, OLD, OLD.replace("0, 4096", "1, 4096")))
    assert done.status == 2
    assert "no mmap hook is touched" in done.stderr


def test_two_kernels_are_compared_without_a_series(testbed: Testbed, tmp_path: Path) -> None:
    old, new = (
        tree(tmp_path / name, {"drivers/a.c": text}).path
        for name, text in (("old", OLD), ("new", NEW))
    )
    done = testbed("check", "--before", f"tree:{old}", "--after", f"tree:{new}", "--json")
    assert done.status == 3, done.stderr
    assert {each["arch"] for each in json.loads(done.stdout)["hooks"]} == {"x86_64", "arm64"}


@pytest.mark.parametrize("option", ["--before", "--after"])
def test_a_kernel_is_not_empty(testbed: Testbed, option: str) -> None:
    kernels = {"--before": "debian", "--after": "debian", option: ""}
    words = [word for pair in kernels.items() for word in pair]
    for more in ([], ["--driver", "vfb"]):
        done = testbed("check", *words, *more)
        assert done.status == 2, done.stderr
        assert f"{option} is empty" in done.stderr
