# SPDX-License-Identifier: GPL-2.0
"""Runs the tests that share guests in batches, in place of pytest's own protocol."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from testbed.lab.lab import Lab
from testbed.settings import Isolation
from testbed.suite.batch import BATCH, Wish, uses_guest, wish_of
from testbed.suite.confirm import Confirmer
from testbed.suite.selection import Selection


@dataclass(eq=False)  # pytest puts its plugins into sets
class BatchRunner:
    """The plugin that runs tests in batches. It ends the guest of a batch behind its last test."""

    lab: Lab
    selection: Selection
    _items: dict[str, pytest.Item] = field(default_factory=dict)  # of the session, by node id
    _confirmer: Confirmer = field(init=False)

    def __post_init__(self) -> None:
        self._confirmer = Confirmer(self.lab.end_batches, self.selection.samples)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._items = {item.nodeid: item for item in session.items}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> bool | None:
        wish = wish_of(item, self.lab.ctx.settings.isolation)
        batched = uses_guest(item) and wish.isolation is Isolation.BATCH
        if not batched or item.config.option.keep:
            return None  # pytest runs it
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = self._confirmer.run(item, self._tests_before(wish), nextitem)
        if nextitem is None or nextitem.stash[BATCH] != item.stash[BATCH]:
            self.lab.end_batches()
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _tests_before(self, wish: Wish) -> list[pytest.Item]:
        """Return the tests that have used the guest that the next test gets.

        One that other work has used, such as trials that a test makes, is ended first.
        """
        users = self.lab.users(wish.arch, disks=wish.disks)
        if not self._items.keys() >= set(users):
            self.lab.end_batches(wish.arch)
            return []
        return [self._items[user] for user in users]
