# SPDX-License-Identifier: GPL-2.0
"""scripts/bench: the made-up history, and what is measured on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import postgresql_parts
import pytest
from benchmark.figures import Samples
from benchmark.history import measure_history
from benchmark.nights import FLAKY, KNOWN, STILL, Scale
from sqlalchemy import URL

from testbed.errors import SetupError
from testbed.history.database import history_url
from testbed.history.records import Class
from testbed.pages.site import INDEX
from testbed.settings import Settings

SMALL = Scale(lanes=2, nights=31, tests=KNOWN + FLAKY + STILL + 40)


@contextmanager
def empty(database: str, folder: Path) -> Iterator[URL]:
    if database == "sqlite":
        yield history_url(Settings(data_dir=folder))
        return
    if reason := postgresql_parts.why_not():
        pytest.skip(reason)
    with postgresql_parts.server(folder / "log") as url:
        yield url


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_made_up_history_is_measured_and_shown(tmp_path: Path, database: str) -> None:
    samples = Samples()
    with empty(database, tmp_path) as url:
        found = measure_history(url, tmp_path / "pages", SMALL, samples)
        with pytest.raises(SetupError, match="has runs"):
            measure_history(url, tmp_path / "pages", SMALL, samples)
    kinds = Counter(each.kind for each in found)
    assert kinds[Class.NEW] == SMALL.lanes
    assert kinds[Class.OTHERWISE] + kinds[Class.STILL] >= SMALL.lanes * STILL
    figures = {figure.quantity.what: figure for figure in samples.figures()}
    assert len(figures["add a cell of 4,000 tests"].samples) == SMALL.lanes
    assert len(figures) == 8
    assert {figure.arch for figure in figures.values()} == {database}
    page = (tmp_path / "pages" / INDEX).read_text()
    assert page.count('<tr data-kind="new"') == SMALL.lanes
