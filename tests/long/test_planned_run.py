# SPDX-License-Identifier: GPL-2.0
"""The coordinator keeps up: 10,000 cells of some milliseconds on 200 slots of dask."""

from __future__ import annotations

import resource
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from sham_cells import register, sham

from testbed.artifacts.archive import pack
from testbed.nightly.cell import CELL_RESULT_FILE, parse_cell
from testbed.nightly.coordinator import Coordinator
from testbed.nightly.executor import QEMU, RAM, End
from testbed.nightly.table import Table
from testbed.progress import SilentProgress

distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

CELLS, SLOTS = 10_000, 200

# Seconds of the coordinator's own thread for each cell. One is over in minutes.
MOST = 0.05

ARCHIVE: list[bytes] = []


def simulate(text: str) -> tuple[str, str, bytes]:
    """What a worker does for a cell, without a child process."""
    time.sleep(int(parse_cell(text, "here").params["ms"]) / 1000)
    return End.RESULT, "", ARCHIVE[0]


def archive(folder: Path) -> bytes:
    (folder / "cell").mkdir()
    (folder / "cell" / CELL_RESULT_FILE).touch()
    pack(folder / "cell", folder / "archive")
    return (folder / "archive").read_bytes()


def test_ten_thousand_cells_on_two_hundred_slots(tmp_path: Path) -> None:
    from testbed.nightly.dask_executor import DaskExecutor

    register()
    ARCHIVE[:] = [archive(tmp_path)]
    table = Table(tmp_path)
    table.add(sham(number, ms=str(5 + number % 20)) for number in range(CELLS))
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=SLOTS,
            processes=False,
            resources={QEMU: SLOTS, RAM: 1e15, "BUILD": SLOTS},
            dashboard_address=None,
        ) as cluster,
        closing(DaskExecutor(cluster.scheduler_address, work=simulate)) as executor,
        SilentProgress().step("cells") as step,
    ):
        executor.connect()
        coordinator = Coordinator(table, executor, lambda _: 1.0, 1e9, lambda _: None, step)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began, own = time.monotonic(), time.thread_time()
        coordinator.run(list)
        seconds, own = time.monotonic() - began, time.thread_time() - own
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{CELLS} cells in {seconds:.0f} s; the coordinator took {own / CELLS * 1000:.2f} ms for "
        f"each; the process grew by {grown:.0f} MiB"
    )
    assert Counter(entry.state.value for entry in table.entries.values()) == {"done": CELLS}
    assert all(entry.attempts == 1 for entry in table.entries.values())
    assert own / CELLS < MOST
