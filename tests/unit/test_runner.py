# SPDX-License-Identifier: GPL-2.0
"""The order in which a campaign runs the tests."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

import pytest

from testbed.suite.runner import quickest_first


@dataclass(eq=False)
class FakeItem:
    nodeid: str
    callspec: SimpleNamespace | None = None


def order(nodeids: list[str], first: list[str]) -> list[str]:
    items = [cast(pytest.Item, FakeItem(nodeid)) for nodeid in nodeids]
    return [item.nodeid for item in quickest_first(items, first)]


def test_named_tests_come_first_in_their_order() -> None:
    assert order(["a", "b", "c[1]", "c[2]"], ["c[2]", "b"])[:2] == ["c[2]", "b"]


def test_one_case_of_each_test_comes_before_a_second_of_any() -> None:
    cases = [f"{name}[{number}]" for name in "abc" for number in range(5)]
    found = order([*cases, "d"], [])
    assert sorted(nodeid[0] for nodeid in found[:4]) == ["a", "b", "c", "d"]
    assert sorted(nodeid[0] for nodeid in found[4:7]) == ["a", "b", "c"]


def test_the_order_keeps_every_test_and_is_deterministic() -> None:
    cases = [f"{name}[{number}]" for name in "abc" for number in range(5)]
    found = order(cases, ["b[3]", "gone"])
    assert sorted(found) == sorted(cases)
    assert order(cases[::-1], ["b[3]", "gone"]) == found


def test_each_kind_of_scenario_counts_as_a_test() -> None:
    names = [f"{kind}-{number}" for kind in ("remap", "hook") for number in range(4)]
    items = [
        FakeItem(f"test_scenario[{name}]", SimpleNamespace(params={"scenario": name}))
        for name in names
    ]
    found = quickest_first(cast(list[pytest.Item], items), [])
    kinds = [item.nodeid.partition("[")[2].partition("-")[0] for item in found[:2]]
    assert sorted(kinds) == ["hook", "remap"]
