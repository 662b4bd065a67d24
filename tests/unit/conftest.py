# SPDX-License-Identifier: GPL-2.0
"""Fixtures of several unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import postgresql_parts
import pytest
from bisect_parts import Tree, new_tree
from notes import Notes
from sqlalchemy import URL
from tree_parts import GIT_ALONE

from testbed.context import Context
from testbed.history.database import History, opened_history
from testbed.history.database import history_url as default_url
from testbed.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings that use no folder of the user and no archive."""
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
    """Hide the user's configuration from git."""
    for name, value in GIT_ALONE.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """An empty repository of a user."""
    return new_tree(tmp_path)


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    """The URL of a database on a PostgreSQL server of this session."""
    if reason := postgresql_parts.why_not():
        pytest.skip(reason)
    with postgresql_parts.server(tmp_path_factory.mktemp("postgresql") / "log") as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def history_url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """The URL of a history, on each kind of database. It is empty or absent."""
    if request.param == "sqlite":
        return default_url(Settings(data_dir=tmp_path))
    url: URL = request.getfixturevalue("postgresql")
    postgresql_parts.empty(url)
    return url


@pytest.fixture
def history(history_url: URL) -> Iterator[History]:
    """An empty history that this process holds."""
    with opened_history(history_url, write=True) as history:
        yield history
