# SPDX-License-Identifier: GPL-2.0
"""The lines of the probe's language for plans, paths and steps."""

from __future__ import annotations

import pytest

from testbed.mmap.path import STACKS, TOP, HookPath, hook_name
from testbed.mmap.plan import VM_DONTCOPY, Action, Plan, VmOps
from testbed.mmap.probe import path_script
from testbed.mmap.script import Script


def test_a_plan_has_words_only_for_what_it_sets() -> None:
    plan = Plan(set_flags=VM_DONTCOPY, vm_ops=VmOps.FULL, action=Action.REMAP, action_size="2p")
    words = ["set_flags=0x20000", "vm_ops=full", "action=remap", "action_size=2p"]
    assert list(plan.words()) == words
    assert str(Plan()) == "nothing"


def test_a_stack_is_opened_from_the_bottom_up() -> None:
    script = path_script(HookPath.THREE_LEVEL, Plan(pgoff=3), outer=Plan(private=7))
    assert script.text.splitlines() == [
        "clearlog",
        "open hook /dev/mmap_direct",
        "open level1 /dev/mmap_stack",
        "lower level1 hook",
        "open top /dev/mmap_stack",
        "lower top level1",
        "plan hook pgoff=0x3",
        "plan top private=0x7",
    ]


@pytest.mark.parametrize("name", [path for path in HookPath if path not in STACKS])
def test_the_top_file_has_the_hook_unless_the_path_is_a_stack(name: HookPath) -> None:
    assert hook_name(name) == TOP


def test_steps_are_numbered_from_one_like_their_facts() -> None:
    script = Script()
    assert script.open("f", "/dev/zero") == 1
    assert script.map("m", "f", pages=2, offset=1) == 2
    with script.fork() as forked:
        child = script.read("m", "0")
    assert (forked, child, len(script.lines)) == (3, 4, 5)
    assert script.lines[1] == "map m f len=2p off=1p prot=rw flags=shared"
