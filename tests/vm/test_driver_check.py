# SPDX-License-Identifier: GPL-2.0
"""`testbed check` on the right and the wrong examples of modules/examples."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from driver_corpus import SAMPLES, built_both_ways

from testbed.kernel.driver import find_driver
from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.process import run
from testbed.settings import CHECKOUT

Command = Callable[..., list[str]]

EXAMPLES = CHECKOUT / "modules/examples"
KINDS = ("remap", "pages", "fault", "counted")


@dataclass(frozen=True)
class Ended:
    """The result of a check."""

    status: int
    output: str
    content: Mapping[str, Any]  # its JSON for the one architecture

    def failed(self) -> dict[tuple[str, str], list[str]]:
        """The complaints of each trial that failed, by trial and path."""
        return {
            (each["trial"], each["path"]): each["complaints"]
            for each in self.content["outcomes"]
            if each["verdict"] == "fails"
        }

    def held(self) -> set[tuple[str, str]]:
        outcomes = self.content["outcomes"]
        return {(each["trial"], each["path"]) for each in outcomes if each["verdict"] == "holds"}


@pytest.fixture
def check(command: Command, tmp_path: Path) -> Callable[..., Ended]:
    """Return a function that checks the node of an example with a plan."""

    def check(kind: str, plan: str, *words: str | Path) -> Ended:
        file = tmp_path / "plan.toml"
        file.write_text(plan)
        node = ("--node", f"/dev/example_{kind}")
        done = run(
            command("check", "--isolation", "shared", *node, "--plan", str(file), *map(str, words)),
            ok=range(256),
        )
        result = tmp_path / "results/latest/check.json"
        content = json.loads(result.read_text())[0] if result.exists() else {}
        return Ended(done.status, done.stdout + done.stderr, content)

    return check


Check = Callable[..., Ended]


def only(letters: str, paths: str) -> str:
    """A plan with only the trials whose names begin with one of the letters."""
    return f'skip = ["[!{letters}]*"]\npaths = {json.dumps(paths.split())}\n'


# A hook that uses the VMA's file, which is not always the hook's own.
OUTER_FILE = """if (desc->vm_file != desc->file)
		return -ENODEV;
	desc->private_data = memory"""


def planted(kind: str, old: str, new: str, node: Path) -> Path:
    """Copy a right example to `node` and plant a defect in it."""
    shutil.copytree(EXAMPLES / kind / "mmap_prepare", node)
    source = node / f"example_{kind}.c"
    text = source.read_text()
    assert old in text
    source.write_text(text.replace(old, new))
    return node


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_conversion_makes_no_difference(check: Check, kind: str) -> None:
    versions = ("--before", EXAMPLES / kind / "mmap", "--after", EXAMPLES / kind / "mmap_prepare")
    ended = check(kind, 'paths = ["direct", "stack-first"]\n', *versions)
    assert ended.status == 0, ended.output
    assert "none on" in ended.output
    for side in ("before", "after"):
        verdicts = [each["verdict"] for each in ended.content[side]["outcomes"]]
        assert verdicts.count("holds") > 80
        assert len(ended.content[side]["base_mappings"]) == 2
        assert ended.content[side]["notes"] == []  # the module built without a warning


def test_a_right_driver_holds_on_all_paths_with_a_clone_for_each_trial(check: Check) -> None:
    words = ("--module", EXAMPLES / "counted/mmap_prepare", "--isolation", "clone")
    ended = check("counted", 'skip = ["[!afu]*"]\nsharing = ["shared"]\n', *words)
    assert ended.status == 0, ended.output
    paths = ("direct", "stack", "stack-first", "stack-after", "three-level")
    assert {("adjacent-shared", path) for path in paths} <= ended.held()
    assert {("unload-shared", path) for path in paths} <= ended.held()


def test_a_wrong_conversion_makes_a_difference(check: Check) -> None:
    versions = ("--before", EXAMPLES / "counted/mmap", "--after", EXAMPLES / "counted/wrong")
    ended = check("counted", only("a", "direct stack"), *versions)
    assert ended.status == 1
    differences = {(each["trial"], each["path"]) for each in ended.content["differences"]}
    assert differences == {("adjacent-shared", "direct"), ("adjacent-private", "direct")}
    assert "example_counted.ko cannot be unloaded: 1 reference stays behind" in ended.output


def test_failing_allocations_find_a_wrong_conversion(
    check: Check, prepared: PreparedKernel
) -> None:
    if prepared.kernel.symbol("FAILSLAB") != "y":
        pytest.skip("the kernel is built without FAILSLAB")
    plan = 'skip = ["[!f]*", "fork*"]\npaths = ["direct"]\nsharing = ["shared"]\n'
    wrong = check("counted", plan, "--module", EXAMPLES / "counted/wrong")
    assert ("fail-map-shared", "direct") in wrong.failed(), wrong.output
    right = check("counted", plan, "--module", EXAMPLES / "counted/mmap_prepare")
    assert right.status == 0, right.output
    assert ("fail-map-shared", "direct") in right.held()


@pytest.mark.parametrize(
    ("kind", "old", "new", "trial", "path"),
    [
        ("fault", "desc->private_data = memory", OUTER_FILE, "exit-shared", "stack"),
        (
            "counted",
            "\tkref_put(&buffer->users",
            "\t(void)(&buffer->users",
            "exit-shared",
            "direct",
        ),
        (
            "remap",
            "remap_full(desc, page",
            "remap_full(desc, 1 + page",
            "adjacent-shared",
            "direct",
        ),
    ],
    ids=["outer-file", "no-put", "shifted"],
)
def test_a_planted_defect_is_found(
    check: Check, tmp_path: Path, kind: str, old: str, new: str, trial: str, path: str
) -> None:
    folder = planted(kind, old, new, tmp_path / kind)
    plan = only(trial[0], "direct stack") + 'sharing = ["shared"]\n'
    versions = ("--before", EXAMPLES / kind / "mmap", "--after", folder)
    ended = check(kind, plan, *versions)
    assert ended.status == 1, ended.output
    different = {(each["trial"], each["path"]) for each in ended.content["differences"]}
    assert (trial, path) in different, ended.output


def test_missing_flags_are_shown(check: Check, tmp_path: Path) -> None:
    folder = planted("fault", "VMA_DONTEXPAND_BIT, ", "", tmp_path / "fault")
    versions = ("--before", EXAMPLES / "fault/mmap", "--after", folder)
    ended = check("fault", only("g", "direct"), *versions)
    assert ended.status == 1
    assert {each["trial"] for each in ended.content["differences"]} == {
        "grow-shared",
        "grow-private",
    }
    assert "before: dd de me" in ended.output
    assert "after:  dd me" in ended.output


def test_a_module_file_can_be_checked_only_below_stacks(
    check: Check, lab: Lab, prepared: PreparedKernel, tmp_path: Path
) -> None:
    folder = EXAMPLES / "pages/mmap_prepare"
    driver = find_driver(folder, prepared.kernel, prepared.request, lab.ctx)
    words = ("--module", driver.modules[0].path, "--lower")
    ended = check("pages", only("e", "direct stack-after"), *words)
    assert ended.status == 0, ended.output
    assert {path for _, path in ended.held()} == {"stack-after"}


def test_a_missing_node_fails_the_load(check: Check) -> None:
    ended = check("nothing", "", "--module", EXAMPLES / "pages/mmap_prepare")
    assert ended.status == 1
    [complaint] = ended.failed()["load", "direct"]
    assert complaint == "/dev/example_nothing does not appear within 5 s"


def test_a_driver_is_built_as_make_builds_it(
    lab: Lab, prepared: PreparedKernel, tmp_path: Path
) -> None:
    # tests/long/test_driver_builds.py has one test for each shape of a driver.
    [sample] = (each for each in SAMPLES if each.name == "all")
    ours, theirs = built_both_ways(sample, tmp_path, prepared.kernel, prepared.request, lab.ctx)
    assert sorted(ours) == list(sample.modules)
    assert ours == theirs


def test_a_compile_error_is_shown(check: Check, tmp_path: Path) -> None:
    folder = planted("pages", "struct vm_area_desc", "struct vm_area_desk", tmp_path / "pages")
    ended = check("pages", "", "--module", folder)
    assert ended.status == 1
    assert "example_pages.c:" in ended.output
    assert "vm_area_desk" in ended.output
