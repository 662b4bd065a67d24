# SPDX-License-Identifier: GPL-2.0
"""The queue of batches, in the main process of a session with workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from testbed.suite.collected import read_collected
from testbed.suite.recorder import Recorder


class BatchScheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Gives workers one batch after another. A test whose worker dies runs once more."""

    def __init__(self, config: pytest.Config, log: Producer, recorder: Recorder) -> None:
        super().__init__(config, log)
        self._recorder = recorder
        self._batches: Mapping[str, int] = {}
        self._died: Counter[str] = Counter()

    def schedule(self) -> None:
        if not self._batches:
            collected = read_collected(self._recorder.lab.run_dir)
            self._batches = collected.batch_of
            self._recorder.collected = collected
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return str(self._batches[nodeid])

    def remove_node(self, node: WorkerController) -> str | None:
        """Take back the tests of a worker that ended.

        Return the test in which it died, if another worker died in it before.
        """
        units = self.assigned_work.pop(node)
        left = (
            test for unit in units.values() for test, completed in unit.items() if not completed
        )
        crashed = next(left, None)
        if crashed is None:
            return None
        self._died[crashed] += 1
        again = self._died[crashed] == 1
        units[self._split_scope(crashed)][crashed] = not again
        self.workqueue.update(
            {scope: unit for scope, unit in units.items() if not all(unit.values())}
        )
        for other in self.nodes:
            self._reschedule(other)
        if again:
            self._recorder.note_death(crashed)
        return None if again else crashed
