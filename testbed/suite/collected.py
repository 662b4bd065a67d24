# SPDX-License-Identifier: GPL-2.0
"""The tests that a session collected, and their batches, in a file of the run's folder.

Each worker process collects the same tests. It writes this file before it reports the names of
the tests, which is all that pytest-xdist sends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from testbed.files import write_whole
from testbed.results.store import COLLECTED_FILE


@dataclass(frozen=True)
class Collected:
    """Node ids of tests: as they were collected, and as they run."""

    tests: Sequence[str] = ()
    batches: Sequence[Sequence[str]] = ()
    left_out: str = ""  # what a selection of the tests does not touch, one line

    @property
    def batch_of(self) -> Mapping[str, int]:
        """The number of the batch of each test that runs."""
        return {test: number for number, batch in enumerate(self.batches) for test in batch}


def write_collected(folder: Path, collected: Collected) -> None:
    """Write the file into the folder of a run."""
    write_whole(folder / COLLECTED_FILE, json.dumps(asdict(collected)))


def read_collected(folder: Path) -> Collected:
    """Return the content of the file in the folder of a run."""
    return Collected(**json.loads((folder / COLLECTED_FILE).read_text()))


# The key of what a session collected.
COLLECTED = pytest.StashKey[Collected]()
