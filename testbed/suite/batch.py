# SPDX-License-Identifier: GPL-2.0
"""Batches: which tests share a guest, and which tests one worker runs in a row.

Tests of one kind may share a guest. All tests that use only mmap_stack.ko are of one kind; any
other file may load modules, mount and start servers, so its tests are a kind of their own.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TypeVar

import pytest

from testbed.lab.guests import SIZE
from testbed.settings import Isolation
from testbed.suite.item import arch_of, parameters

T = TypeVar("T")

# The number of a test's batch.
BATCH = pytest.StashKey[int]()

# Tests that use only mmap_stack.ko.
_STACK = "stack"


@dataclass(frozen=True)
class Wish:
    """The guest that a test needs."""

    arch: str
    isolation: Isolation
    disks: bool


@dataclass(frozen=True)
class Kind:
    """Tests of one kind may be in one batch."""

    wish: Wish
    state: str  # what the tests leave in a guest: `stack`, or the file of the tests


def split(tests: Sequence[tuple[T, Hashable]], size: int = SIZE) -> list[list[T]]:
    """Split tests, each with its kind, into batches: of one kind, and of at most `size` tests.

    A batch stands where its first test stood. Its tests keep their order.
    """
    batches: list[list[T]] = []
    growing: dict[Hashable, list[T]] = {}
    for test, kind in tests:
        batch = growing.get(kind)
        if batch is None or len(batch) == size:
            batch = growing[kind] = []
            batches.append(batch)
        batch.append(test)
    return batches


def uses_guest(item: pytest.Item) -> bool:
    """Whether a test gets a guest by the fixture of plugin.py, which depends on `arch`."""
    return {"arch", "guest"} <= set(getattr(item, "fixturenames", ()))


def wish_of(item: pytest.Item, isolation: Isolation) -> Wish:
    """Return the guest that a test needs, with at least the requested isolation."""
    disks = any(getattr(value, "disks", False) for value in parameters(item).values())
    return Wish(arch_of(item), _isolation(item, isolation), disks)


def _isolation(item: pytest.Item, requested: Isolation) -> Isolation:
    """Return the stricter isolation of those that the user and the test request."""
    marker = item.get_closest_marker("isolation")
    wanted = requested if marker is None else Isolation(marker.args[0])
    order = (Isolation.SHARED, Isolation.BATCH, Isolation.CLONE, Isolation.BOOT)
    return max(requested, wanted, key=order.index)


def kind_of(item: pytest.Item, isolation: Isolation) -> Kind:
    """Return the kind of a test: those of one kind may be in one batch."""
    return Kind(wish_of(item, isolation), state_of(item))


def state_of(item: pytest.Item) -> str:
    """Return what a test may leave in a guest, as in `Kind`."""
    module = getattr(item, "module", None)
    if isinstance(module, ModuleType) and _only_uses_the_stack(module):
        return _STACK
    return item.nodeid.partition("::")[0]


@cache  # many items are of one module
def _only_uses_the_stack(module: ModuleType) -> bool:
    functions = inspect.getmembers(module, inspect.isfunction)
    tests = [function for name, function in functions if name.startswith("test_")]
    return all(_STACK in inspect.signature(test).parameters for test in tests)
