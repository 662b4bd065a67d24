# SPDX-License-Identifier: GPL-2.0
"""Teams of labs, which share the checks of many drivers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing
from typing import TypeVar

from testbed.lab.lab import Lab
from testbed.settings import available_mib

Job = TypeVar("Job")

# One lab for each kernel. A team does one job at a time.
Team = Sequence[Lab]


def open_teams(first: Team, jobs: int, stack: ExitStack) -> list[Team]:
    """Return as many teams as the host has workers for, with the first one; at most one a job.

    The kernels must be prepared. The stack ends the VMs of the others.
    """
    count = min(jobs, first[-1].ctx.settings.worker_count(available_mib()))
    for lab in first:
        lab.make_templates()
    return [
        first,
        *([stack.enter_context(closing(lab.sibling())) for lab in first] for _ in range(1, count)),
    ]


def share_out(
    jobs: Iterable[Job], teams: Sequence[Team], work: Callable[[Team, Job], None]
) -> None:
    """Do each job with one of the teams.

    Every other team begins at the last job. If the jobs are sorted by architecture, few teams need
    guests of more than one. The first error, or an interrupt, ends every VM.
    """
    waiting = deque(jobs)

    def run(number: int, team: Team) -> None:
        take = waiting.pop if number % 2 else waiting.popleft
        while waiting:
            try:
                job = take()
            except IndexError:  # another team was faster
                return
            work(team, job)

    pool = ThreadPoolExecutor(len(teams), thread_name_prefix="team")
    try:
        for done in as_completed([pool.submit(run, *each) for each in enumerate(teams)]):
            done.result()
    except BaseException:
        waiting.clear()
        for lab in (lab for team in teams for lab in team):
            lab.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
