# SPDX-License-Identifier: GPL-2.0
"""A nightly on a cluster: each process is real, each host is a network namespace, all over TLS.

Whatever is killed, each cell has one result in the end, none that had a result runs again, and no
process that stands for a VM is left.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from bisect_parts import new_tree
from network_parts import address, hosts, inside, why_no_namespaces
from nightly_parts import MAKEFILE, Nights
from sham_cells import SHAM_ENV, alive
from tree_parts import GIT_ALONE
from waiting import wait_until

from testbed.deadline import Deadline
from testbed.errors import InfraError
from testbed.nightly.certs import write_certificates
from testbed.process import Process, spawn

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

SCHEDULER, ONE, TWO = 2, 3, 4

PORT = 8786

# Seconds. The host may be busy.
LONG = 1000.0

HEAD = 'name = "cluster"\nhours = 10\n[streams.main]\nkernel = "tree:linux@main"\n'


@dataclass
class Cluster:
    """A scheduler and workers, each on a host of its own, and a nightly here."""

    nights: Nights
    stack: ExitStack
    processes: dict[int, Process] = field(default_factory=dict)
    blocks: dict[int, ExitStack] = field(default_factory=dict)

    @property
    def tls(self) -> Path:
        return self.nights.top / "tls"

    def start(self, number: int, *words: str) -> None:
        """Run a command of `testbed cluster` on a host."""
        top = self.nights.top / f"host-{number}"
        top.mkdir(exist_ok=True)
        env = {
            **SHAM_ENV,
            "XDG_STATE_HOME": str(top / "state"),
            "TMPDIR": str(top),
            "DASK_DISTRIBUTED__WORKER__PRELOAD": "sham_preload",
            "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "15s",
        }
        argv = [sys.executable, "-P", "-m", "testbed.cli", "cluster", *words]
        argv += ["--host", address(number), "--tls", str(self.tls)]
        block = self.blocks[number] = self.stack.enter_context(ExitStack())
        log = self.nights.top / f"log-{number}"
        self.processes[number] = block.enter_context(spawn(inside(number, argv), log=log, env=env))

    def start_scheduler(self) -> None:
        self.start(SCHEDULER, "scheduler")
        log = self.nights.top / f"log-{SCHEDULER}"
        wait_until(lambda: _answers(address(SCHEDULER)), "the scheduler", log.read_text)

    def start_worker(self, number: int, slots: int = 2) -> None:
        words = (f"tls://{address(SCHEDULER)}:{PORT}", "--name", f"host-{number}")
        self.start(number, "worker", *words, "--slots", str(slots))

    def kill(self, number: int) -> None:
        """Kill all processes on a host, as if its power went."""
        self.processes[number].kill()
        self.blocks[number].close()

    def matrix(self, *cells: str) -> None:
        diary = f"diary = '{self.nights.top / 'diary'}'\n"
        head = "[[cells]]\nkind = 'sham'\narch = 'x86_64'\nworkers = 1\n"
        text = "".join(f"{head}{diary}number = {n}\n{each}" for n, each in enumerate(cells))
        (self.nights.top / "nightly.toml").write_text(HEAD + text)

    def nightly(self) -> Process:
        scheduler = f"tls://{address(SCHEDULER)}:{PORT}"
        words = ("--executor", "dask", "--scheduler", scheduler, "--tls", str(self.tls))
        log = self.nights.top / "log"
        return self.stack.enter_context(spawn(self.nights.argv(*words), log=log, env=SHAM_ENV))

    def diary(self) -> list[list[str]]:
        file = self.nights.top / "diary"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, what, (self.nights.top / "log").read_text)

    def wait_for_starts(self, count: int) -> None:
        self.wait_for(
            lambda: sum(words[0] == "start" for words in self.diary()) >= count, f"{count} starts"
        )

    def require_end(self, nightly: Process, cells: int, status: int = 0) -> None:
        """Wait for the end of a nightly: all cells have a result, and nothing ran in vain."""
        found = nightly.wait(Deadline.after(LONG))
        assert found == status, (self.nights.top / "log").read_text()
        assert [each["state"] for each in self.nights.outcome["cells"]].count("done") == cells
        finished: set[str] = set()
        for what, cell, *_ in self.diary():
            assert not (what == "start" and cell in finished), f"{cell} ran again"
            finished |= {cell} if what == "end" else set()
        assert len(finished) == cells
        self.wait_for(lambda: not any(map(alive, self.children())), "the end of all cells")

    def children(self) -> list[int]:
        """The processes that stand for VMs."""
        return [int(words[3]) for words in self.diary() if words[0] == "start"]


def _answers(host: str) -> bool:
    try:
        socket.create_connection((host, PORT), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A scheduler without workers."""
    if reason := why_no_namespaces():
        pytest.skip(reason)
    for name, value in GIT_ALONE.items():
        monkeypatch.setenv(name, value)
    tree = new_tree(tmp_path)
    (tree.path / "Makefile").write_text(MAKEFILE)
    tree.commit("fine\n")
    write_certificates(tmp_path / "tls", 1)
    with hosts(3), ExitStack() as stack:
        made = Cluster(Nights(tmp_path, tree), stack)
        made.start_scheduler()
        yield made


def test_a_worker_is_killed_in_mid_cell(cluster: Cluster) -> None:
    cluster.matrix(*["ms = 1500\n"] * 8)
    cluster.start_worker(ONE)
    cluster.start_worker(TWO)
    nightly = cluster.nightly()
    cluster.wait_for_starts(3)
    cluster.kill(ONE)
    cluster.require_end(nightly, 8)


def test_the_scheduler_is_killed(cluster: Cluster) -> None:
    cluster.matrix(*["ms = 1500\n"] * 8)
    cluster.start_worker(ONE)
    nightly = cluster.nightly()
    cluster.wait_for_starts(3)
    cluster.kill(SCHEDULER)
    # As a unit with Restart=always does.
    cluster.start_scheduler()
    cluster.wait_for(
        lambda: cluster.processes[ONE].returncode is not None or _more(cluster, 3),
        "the end of a worker, or more cells",
    )
    if cluster.processes[ONE].returncode is not None:
        cluster.blocks[ONE].close()
        cluster.start_worker(ONE)
    cluster.require_end(nightly, 8)


def _more(cluster: Cluster, starts: int) -> bool:
    """Whether cells run again under the new scheduler, without a new worker."""
    return sum(words[0] == "start" for words in cluster.diary()) > starts + 1


def test_the_coordinator_is_killed_and_started_again(cluster: Cluster) -> None:
    cluster.matrix(*["ms = 1500\n"] * 8)
    cluster.start_worker(ONE)
    cluster.start_worker(TWO)
    first = cluster.nightly()
    cluster.wait_for_starts(3)
    os.kill(first.pid, signal.SIGKILL)
    children = cluster.children()
    second = cluster.nightly()
    cluster.require_end(second, 8)
    assert not any(map(alive, children))


def test_a_worker_that_joins_late_gets_cells(cluster: Cluster) -> None:
    cluster.matrix(*["ms = 3000\n"] * 10)
    cluster.start_worker(ONE, slots=1)
    nightly = cluster.nightly()
    cluster.wait_for_starts(1)
    cluster.start_worker(TWO, slots=2)
    cluster.require_end(nightly, 10)
    placed = Counter(_hosts_of(cluster))
    assert set(placed) == {f"host-{ONE}", f"host-{TWO}"}


def _hosts_of(cluster: Cluster) -> list[str]:
    found = []
    for number in (ONE, TWO):
        folder = cluster.nights.top / f"host-{number}" / "state/mmap-testbed/cells"
        cells = folder.iterdir() if folder.exists() else []
        found += [f"host-{number}" for cell in cells if (cell / "cell-result.json").exists()]
    return found


def test_a_host_that_hangs_loses_its_cells(cluster: Cluster) -> None:
    cluster.matrix(*["ms = 1500\n"] * 6)
    cluster.start_worker(ONE)
    cluster.start_worker(TWO)
    nightly = cluster.nightly()
    cluster.wait_for_starts(3)
    stopped = _all_below(cluster.processes[ONE].pid)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    cluster.wait_for(lambda: nightly.returncode is not None, "the end of the nightly")
    for pid in stopped:
        os.kill(pid, signal.SIGKILL)
    cluster.require_end(nightly, 6)


def test_a_cell_that_kills_each_worker_is_found_and_no_other_is_blamed(cluster: Cluster) -> None:
    cluster.matrix("die = 'parent'\nms = 200\n", *["ms = 1000\n"] * 5)
    cluster.start_worker(ONE, slots=3)
    nightly = cluster.nightly()
    cluster.require_end(nightly, 5, status=3)
    [blamed] = [each for each in cluster.nights.outcome["cells"] if each["state"] == "failed"]
    assert "hosts went away while it ran" in blamed["reason"]


@pytest.mark.parametrize("what", ["plain", "other CA"])
def test_a_stranger_is_refused(cluster: Cluster, what: str) -> None:
    if what == "other CA":
        cluster.tls.rename(cluster.nights.top / "true")
        write_certificates(cluster.tls, 1)
        scheduler = f"tls://{address(SCHEDULER)}:{PORT}"
    else:
        scheduler = f"tcp://{address(SCHEDULER)}:{PORT}"
    from testbed.nightly.dask_executor import DaskExecutor, security

    with pytest.raises(InfraError, match="cannot connect to the scheduler"):
        DaskExecutor(scheduler, security(cluster.tls)).connect()


def _all_below(pid: int) -> list[int]:
    """Return a process and all that it has started."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").iterdir():
            found += [int(word) for word in (task / "children").read_text().split()]
    return found
