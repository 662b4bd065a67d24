# SPDX-License-Identifier: GPL-2.0
"""What several unit tests stand on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from bisect_parts import Tree, new_tree
from notes import Notes
from tree_parts import GIT_ALONE

from testbed.context import Context
from testbed.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Nothing goes into the user's own folders, and nothing comes from an archive."""
    return Settings(
        cache_dir=tmp_path / "cache",
        data_dir=tmp_path / "data",
        state_dir=tmp_path / "state",
        results_dir=tmp_path / "results",
        mirror="file:/nonexistent",
    )


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def ctx(settings: Settings, notes: Notes) -> Iterator[Context]:
    ctx = Context.of(settings, notes)
    with closing(ctx.cache):
        yield ctx


@pytest.fixture
def git_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """git does not see the user's configuration."""
    for name, value in GIT_ALONE.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A user's repository, empty."""
    return new_tree(tmp_path)
