# SPDX-License-Identifier: GPL-2.0
"""Which hooks recipes can reach, and which ones a check has reached."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.check.reached import reached_hooks, reached_recipes
from testbed.errors import SetupError
from testbed.intree.reachable import reachable, reachable_lines
from testbed.intree.recipe import load_recipes
from testbed.intree.unreached import unreached
from testbed.inventory.hook import Hook, Shape

KNOWN = load_recipes()


def hook(tree_name: str, function: str, *, converted: bool = True) -> Hook:
    file, name = tree_name.split(":")
    return Hook(
        struct="file_operations",
        member="mmap_prepare" if converted else "mmap",
        name=name,
        function=function,
        file=file,
        line=1,
        shape=Shape.INITIALISER,
        converted=converted,
    )


FAT = hook("fs/fat/file.c:fat_file_operations", "generic_file_mmap_prepare")
HPFS = hook("fs/hpfs/file.c:hpfs_file_ops", "generic_file_mmap_prepare")
COMEDI = hook("drivers/comedi/comedi_fops.c:comedi_fops", "comedi_mmap", converted=False)
GEMS = [hook(f"drivers/gpu/{n}.c:fops", "drm_gem_mmap", converted=False) for n in "ab"]
NOBODY = hook("drivers/foo.c:foo_fops", "foo_mmap", converted=False)
HOOKS = (FAT, HPFS, COMEDI, *GEMS, NOBODY)
RECIPES = [KNOWN[name] for name in ("fat", "comedi", "vgem")]


def test_a_hook_is_reached_by_its_recipe_or_its_function_or_has_a_reason() -> None:
    found = reachable(HOOKS, RECIPES, {HPFS.tree_name: "no mkfs"})
    assert [each.words for each in found] == [
        "recipe fat",
        "not by a recipe: no mkfs",
        "recipe comedi",
        "its function by recipe vgem",
        "its function by recipe vgem",
        "",
    ]
    assert list(reachable_lines(found)) == [
        "converted hooks of files: 1 of 2 can be reached by a recipe, and the function of 0 more",
        "other hooks: 1 of 4 can be reached by a recipe, and the function of 2 more",
    ]


def test_a_recipe_that_names_a_hook_reaches_no_other_with_its_function() -> None:
    other = replace(KNOWN["fat"], hook=FAT.tree_name)
    assert [each.words for each in reachable([HPFS], [other], {})] == [""]


@pytest.mark.parametrize("name", [name for name, recipe in KNOWN.items() if recipe.hook])
def test_no_hook_of_a_recipe_is_said_to_be_out_of_reach(name: str) -> None:
    assert KNOWN[name].hook not in unreached()


def outcome(trial: str, path: str, verdict: str) -> dict[str, str]:
    return {"trial": trial, "path": path, "verdict": verdict}


def side(driver: str, arch: str, *outcomes: dict[str, str]) -> dict[str, object]:
    return {"driver": driver, "arch": arch, "outcomes": outcomes}


CHAIN = outcome("chain", "direct", "holds")
BELOW = outcome("exit-shared", "stack-first", "holds")


def test_a_check_reaches_a_driver_if_its_chain_ran(tmp_path: Path) -> None:
    file = tmp_path / "check.json"
    content = [
        side("fat", "x86_64", CHAIN, BELOW),
        side("fat", "arm64", CHAIN, outcome("exit-shared", "stack-first", "fails")),
        side("comedi", "arm64", outcome("chain", "direct", "fails"), BELOW),
        {"before": side("vgem of 7.2", "arm64"), "after": side("vgem of 7.3", "arm64", CHAIN)},
    ]
    file.write_text(json.dumps(content))
    assert reached_recipes(file) == {
        "fat": {"direct": ("arm64", "x86_64"), "stack-first": ("x86_64",)},
        "vgem": {"direct": ("arm64",)},
    }


@pytest.mark.parametrize("text", ["", "3", '[{"arch": "arm64"}]'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "check.json"
    file.write_text(text)
    with pytest.raises(SetupError, match="is not the result of a check"):
        reached_recipes(file)


def test_a_hook_is_reached_by_the_recipes_that_open_its_file() -> None:
    ways: dict[str, dict[str, tuple[str, ...]]] = {
        "fat": {"direct": ("arm64",)},
        "vgem": {"direct": ("arm64", "x86_64")},
    }
    found = reached_hooks(reachable(HOOKS, RECIPES, {}), ways)
    assert found == {FAT.tree_name: ("direct by recipe fat (arm64)",)}
