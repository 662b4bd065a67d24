# SPDX-License-Identifier: GPL-2.0
"""The inventory of Debian's newest kernel, against a list that is made in another way."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hook_words import hooks_by_words

from testbed.context import Context
from testbed.inventory.hook import Shape
from testbed.inventory.inventory import Inventory, take_inventory
from testbed.inventory.treefiles import FolderFiles
from testbed.kernel.source import resolve, unpack
from testbed.progress import SilentProgress
from testbed.settings import load_settings

# The sample of hooks that are not mmap_prepare, and how many of it must be found.
_SAMPLE = 100
_FOUND = 98
_SEED = 73


@pytest.fixture(scope="module")
def tree() -> Path:
    ctx = Context.of(load_settings(), SilentProgress())
    return unpack(resolve("debian", ctx), ctx).path


@pytest.fixture(scope="module")
def inventory(tree: Path) -> Inventory:
    return take_inventory(FolderFiles(tree))


# Of a macro only file and line are compared: one list names it, the other what it hides.
Place = tuple[str, int, str, str]


def _taken(inventory: Inventory) -> Counter[Place]:
    return Counter(
        (hook.file, hook.line, *(("", "") if hook.macro else (hook.member, hook.function)))
        for hook in inventory.hooks
        if hook.shape is not Shape.RUST
    )


@pytest.fixture(scope="module")
def words(tree: Path) -> list[Place]:
    found = hooks_by_words(tree)
    return sorted((file, line, name if value else "", value) for file, line, name, value in found)


def test_every_converted_hook_is_found(inventory: Inventory, words: list[Place]) -> None:
    wanted = {place for place in words if place[2] == "mmap_prepare"}
    assert len(wanted) >= 60
    assert wanted - _taken(inventory).keys() == set()


def test_a_sample_of_all_other_hooks_is_found(inventory: Inventory, words: list[Place]) -> None:
    others = [place for place in words if place[2] != "mmap_prepare"]
    sample = random.Random(_SEED).sample(others, _SAMPLE)
    missed = Counter(sample) - _taken(inventory)
    assert missed.total() <= _SAMPLE - _FOUND, missed


def test_nothing_is_found_that_is_no_hook(inventory: Inventory, words: list[Place]) -> None:
    others = _taken(inventory) - Counter(words)
    assert others.total() <= len(words) // 50, others


def test_all_text_is_understood(inventory: Inventory) -> None:
    assert inventory.unread == ()
