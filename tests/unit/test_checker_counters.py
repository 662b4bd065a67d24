# SPDX-License-Identifier: GPL-2.0
"""Counters of a plan that go away with the driver, as the parameters of a module do."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_checker import FakeLab, check, only

from testbed.errors import GuestFileError
from testbed.mmap.observation import Observation
from testbed.mmap.script import Script


@dataclass
class GoneLab(FakeLab):
    """In one trial the counter goes away. `number` is the error of the attempt to read it."""

    trial: str = ""
    number: int = errno.ENOENT
    gone: bool = False

    def run(self, test: str, script: Script) -> Observation:
        awaits = script.lines[0].startswith("await")  # while the driver is loaded
        self.gone = test.startswith(self.trial) and not awaits
        return super().run(test, script)

    def finish(self, test: str) -> None:
        self.gone = False

    def get(self, path: str) -> bytes:
        if path != "/sys/users":
            return super().get(path)
        if self.gone:
            raise GuestFileError("it cannot be read", errno=self.number)
        return b"1\n"


@pytest.mark.parametrize(
    ("trial", "number", "complains"),
    [
        ("unload-shared", errno.ENOENT, False),  # the trial may have unloaded the driver
        ("unload-shared", errno.EIO, True),
        ("exit-shared", errno.ENOENT, True),
    ],
)
def test_a_counter_may_go_away_with_the_driver_only(
    tmp_path: Path, trial: str, number: int, complains: bool
) -> None:
    lab = GoneLab(trial=trial, number=number)
    found = check(lab, tmp_path, skip=("[!eu]*",), counters=("/sys/users",))
    assert ("it cannot be read" in only(found, trial, "direct").complaints) is complains
