# SPDX-License-Identifier: GPL-2.0
"""Teams of labs share jobs. The labs have no VMs here."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import cast

import pytest

from testbed.check.teams import Team, share_out
from testbed.lab.lab import Lab

PATIENCE = 60  # s


class FakeLab:
    """A lab that is open until it is closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


def teams(count: int) -> tuple[list[Team], list[FakeLab]]:
    labs = [FakeLab() for _ in range(count)]
    return [[cast(Lab, lab)] for lab in labs], labs


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_job_is_done_once(count: int) -> None:
    done: list[int] = []
    share_out(range(20), teams(count)[0], lambda _, job: done.append(job))
    assert sorted(done) == [*range(20)]


def test_two_teams_begin_at_both_ends() -> None:
    both = threading.Barrier(2)
    first: dict[int, str] = {}

    def work(team: Team, job: str) -> None:
        if id(team) not in first:
            first[id(team)] = job
            both.wait(PATIENCE)

    made, _ = teams(2)
    share_out(["x86_64", "x86_64 too", "arm64 too", "arm64"], made, work)
    assert [first[id(team)] for team in made] == ["x86_64", "arm64"]


def test_an_error_ends_the_guests_of_every_team_and_no_job_begins_after_it() -> None:
    made, labs = teams(2)
    begun: list[str] = []

    def work(team: Team, job: str) -> None:
        begun.append(job)
        if job == "bad":
            raise ValueError("bad")
        # Its guests end with the labs, and then it goes on to the next job, if there is one.
        assert _of(labs, team).closed.wait(PATIENCE)

    with pytest.raises(ValueError, match="bad"):
        share_out(["long", "never", "bad"], made, work)
    assert sorted(begun) == ["bad", "long"]
    assert all(lab.closed.is_set() for lab in labs)


def _of(labs: Sequence[FakeLab], team: Team) -> FakeLab:
    return next(lab for lab in labs if lab is cast(object, team[0]))
