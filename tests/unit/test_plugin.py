"""What the plugin does before any test runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

from testbed.plugin import pytest_collection_modifyitems


@dataclass(eq=False)
class FakeItem:
    """As much of a pytest item as the order asks for."""

    name: str
    arch: str = ""
    marks: tuple[str, ...] = ()
    callspec: SimpleNamespace = field(init=False)

    def __post_init__(self) -> None:
        self.callspec = SimpleNamespace(params={"arch": self.arch} if self.arch else {})

    def get_closest_marker(self, name: str) -> bool:
        return name in self.marks


def test_what_is_marked_last_comes_behind_the_others_of_its_architecture() -> None:
    items = [
        FakeItem("unit"),
        FakeItem("leaks", "x86_64", ("last",)),
        FakeItem("maps", "x86_64"),
        FakeItem("leaks", "arm64", ("last",)),
        FakeItem("maps", "arm64"),
        FakeItem("another unit"),
    ]
    pytest_collection_modifyitems(cast(list[pytest.Item], items))
    order = [f"{item.name} {item.arch}".strip() for item in items]
    assert order == [
        "unit", "maps x86_64", "leaks x86_64", "maps arm64", "leaks arm64", "another unit"
    ]  # fmt: skip
