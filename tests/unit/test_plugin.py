# SPDX-License-Identifier: GPL-2.0
"""The plugin before any test runs: order and skips."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from testbed.kernel.modules import GuestSide
from testbed.mmap.path import HookPath
from testbed.suite.plugin import skip_unless_built
from testbed.suite.selection import ends_last


@dataclass(eq=False)
class FakeItem:
    """The attributes of a pytest item that the plugin uses."""

    name: str
    arch: str = ""
    marks: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    path: HookPath | None = None
    callspec: SimpleNamespace = field(init=False)

    def __post_init__(self) -> None:
        params = {"arch": self.arch, "path": self.path}
        self.callspec = SimpleNamespace(params={key: it for key, it in params.items() if it})

    def get_closest_marker(self, name: str) -> bool:
        return name in self.marks

    def iter_markers(self, name: str) -> list[pytest.Mark]:
        return [pytest.Mark(name, self.modules, {}, _ispytest=True)] if self.modules else []


def test_a_test_marked_last_runs_after_the_others_of_its_architecture() -> None:
    items = [
        FakeItem("unit"),
        FakeItem("leaks", "x86_64", ("last",)),
        FakeItem("maps", "x86_64"),
        FakeItem("leaks", "arm64", ("last",)),
        FakeItem("maps", "arm64"),
        FakeItem("another unit"),
    ]
    found = ends_last(cast(list[pytest.Item], items))
    order = [f"{item.name} {item.arch}".strip() for item in cast(list[FakeItem], found)]
    assert order == [
        "unit", "maps x86_64", "leaks x86_64", "maps arm64", "leaks arm64", "another unit"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("item", "skipped"),
    [
        (FakeItem("a", modules=("mmap_uio",)), True),
        (FakeItem("a", path=HookPath.CUSTOM), True),
        (FakeItem("a", path=HookPath.STACK), False),
        (FakeItem("a", modules=("mmap_relay",)), False),
        (FakeItem("a"), False),
    ],
    ids=["module", "path", "another-path", "another-module", "none"],
)
def test_a_test_is_skipped_if_the_kernel_cannot_have_its_module(
    tmp_path: Path, item: FakeItem, skipped: bool
) -> None:
    reason = "the kernel lacks"
    with pytest.raises(pytest.skip.Exception, match=reason) if skipped else nullcontext():
        skip_unless_built(cast(pytest.Item, item), GuestSide(tmp_path, tmp_path))
