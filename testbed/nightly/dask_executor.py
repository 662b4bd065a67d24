# SPDX-License-Identifier: GPL-2.0
"""Cells on several hosts: dask.distributed as the engine. The only module that uses it.

A worker runs a cell in a child process, in a folder of its own host, and returns that folder. The
folder stays for some days: if the answer was lost with a scheduler or a coordinator, the cell comes
back to the same host, which finds the result.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed import CancelledError, Client, Future, Security, get_worker
from distributed.scheduler import KilledWorker, NoValidWorkerError

from testbed.artifacts.archive import pack, unpack
from testbed.deadline import Deadline
from testbed.errors import InfraError
from testbed.files import make_folder
from testbed.nightly.cell import cell_text, has_result, parse_cell
from testbed.nightly.certs import require_certificates
from testbed.nightly.child import cell_process, end_of
from testbed.nightly.executor import QEMU, End, Ended, Host, Job, needs
from testbed.settings import load_settings

# Seconds to wait for a scheduler that does not answer.
_CONNECT = 10.0

# Seconds between two looks of a worker at its cell.
_POLL = 0.2

# What the client raises if there is no scheduler: CommClosedError and its kin are OSErrors. A
# RuntimeError says that encryption is required.
_NO_ANSWER = (OSError, TimeoutError, RuntimeError)

# Seconds between two looks at the hosts, and at the attempts that do not say that they are done.
_LOOK = 1.0

# Days for which a worker keeps the folders of cells.
_KEPT_DAYS = 7

# States of a task in a worker's own table in which nobody waits for its result any more.
_UNWANTED = frozenset({"cancelled", "resumed", "released", "forgotten"})

# The archive of a cell's folder that travels.
_ARCHIVE = "cell.tar.zst"

# What a worker returns: how the cell ended, the reason, and the archive of its folder.
Answer = tuple[str, str, bytes]


def security(tls: Path) -> Security:
    """Return the certificates of a folder, with which both sides prove who they are.

    Raises:
        SetupError: they are missing.
    """
    ca, certificate, key = map(str, require_certificates(tls))
    return Security(
        tls_ca_file=ca, tls_client_cert=certificate, tls_client_key=key, require_encryption=True
    )


def run_job(text: str) -> Answer:
    """Run a cell on the worker that calls this. Its child ends as soon as nobody wants it."""
    worker = get_worker()
    key = worker.get_current_task()
    cell = parse_cell(text, "the coordinator")
    root = make_folder(load_settings().state_dir / "cells", "state_dir")
    _forget_old(root)
    folder = root / cell.id
    if not has_result(folder):
        with cell_process(cell, folder) as process:
            while process.wait(Deadline.after(_POLL)) is None:
                task = worker.state.tasks.get(key)
                if task is None or task.state in _UNWANTED:
                    return End.FAILED, "nobody waits for it", b""
        end, reason = end_of(process, folder)
        if end is not End.RESULT:
            return end, reason, b""
    return End.RESULT, "", _packed(folder)


def _packed(folder: Path) -> bytes:
    archive = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.{_ARCHIVE}")
    try:
        pack(folder, archive)
        return archive.read_bytes()
    finally:
        archive.unlink(missing_ok=True)


def _forget_old(root: Path) -> None:
    for folder in root.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _KEPT_DAYS * 86400:
                shutil.rmtree(folder)


@dataclass
class DaskExecutor:
    """Runs cells on the workers of a scheduler. If that goes away, it waits for another one."""

    address: str
    security: Security | None = None
    work: Callable[[str], Answer] = run_job  # importable on the workers
    patience: float = 300.0
    _client: Client | None = None
    _places: dict[str, str] = field(default_factory=dict)  # the address of each host
    _running: dict[str, tuple[Job, Future | None]] = field(default_factory=dict)
    _done: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    _looked: Deadline = field(default_factory=lambda: Deadline.after(0))
    _hosts: Sequence[Host] = ()
    _hosts_known: Deadline = field(default_factory=lambda: Deadline.after(0))
    # A scheduler may still know tasks of an earlier coordinator.
    _nonce: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def connect(self) -> None:
        """Connect to the scheduler for the first time.

        Raises:
            InfraError: it does not answer, or refuses the certificates.
        """
        try:
            self._client = Client(self.address, security=self.security, timeout=_CONNECT)
        except _NO_ANSWER as error:
            message = f"cannot connect to the scheduler at {self.address}: {error}"
            hint = "check the address, the certificates, and that `testbed cluster scheduler` runs"
            raise InfraError(message, hint=hint) from error

    def hosts(self) -> Sequence[Host]:
        if self._hosts_known.expired:
            workers = self._workers()
            self._places = {str(each["name"]): address for address, each in workers.items()}
            found = [Host(str(each["name"]), each["resources"]) for each in workers.values()]
            self._hosts = [host for host in found if host.capacity.get(QEMU)]
            self._hosts_known = Deadline.after(_LOOK)
        return self._hosts

    def start(self, job: Job, host: str) -> None:
        future = None  # `wait` says that the host is lost
        if self._client is not None and host in self._places:
            future = self._client.submit(
                self.work,
                cell_text(job.cell),
                key=f"{job.key}.{self._nonce}",
                resources=needs(job.cell, builds=False),
                workers=[self._places[host]],
                allow_other_workers=False,
                retries=0,
                pure=False,
            )
        self._running[job.key] = job, future
        if future is None:
            self._done.put(job.key)
        else:
            future.add_done_callback(lambda _: self._done.put(job.key))

    def wait(self, seconds: float) -> Sequence[Ended]:
        ended = []
        for key in self._worth_a_look(seconds):
            if (found := self._look(*self._running[key])) is not None:
                del self._running[key]
                ended.append(found)
        if any(each.end in (End.LOST, End.CUT) for each in ended):
            self._hosts_known = Deadline.after(0)
        return ended

    def _worth_a_look(self, seconds: float) -> list[str]:
        """Wait, and return the attempts that say that they are done; now and then all of them.

        One whose result was lost with its worker says nothing. To wait for hundreds of futures
        would take milliseconds each time.
        """
        done = set()
        with contextlib.suppress(queue.Empty):
            done.add(self._done.get(timeout=seconds))
            while True:
                done.add(self._done.get_nowait())
        if not done or self._looked.expired:
            self._looked = Deadline.after(_LOOK)
            return list(self._running)
        return [key for key in done if key in self._running]

    def cancel(self, job: Job) -> None:
        _, future = self._running.pop(job.key)
        if future is not None:
            future.cancel()

    def close(self) -> None:
        for job, _ in list(self._running.values()):
            self.cancel(job)
        self._disconnect()

    @property
    def _connected(self) -> bool:
        return self._client is not None and self._client.status == "running"

    def _workers(self) -> dict[str, Any]:
        """Return the workers that the scheduler knows, by address; none without a scheduler."""
        try:
            if not self._connected:
                self._disconnect()
                self.connect()
            assert self._client is not None
            workers: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
            return workers
        except (*_NO_ANSWER, InfraError):
            self._disconnect()
            return {}

    def _disconnect(self) -> None:
        if self._client is not None:
            with contextlib.suppress(*_NO_ANSWER):
                self._client.close(timeout=_CONNECT)
        self._client = None

    def _look(self, job: Job, future: Future | None) -> Ended | None:
        """Return how an attempt ended, or None if it goes on."""
        if future is None:
            return Ended(job, End.CUT, "its host went away before it began")
        if not self._connected:
            return Ended(job, End.CUT, "the scheduler went away")
        if future.status == "pending":
            return None
        if future.status in ("cancelled", "lost"):  # with the scheduler, or after its end
            return Ended(job, End.CUT, f"its task was {future.status}")
        try:
            return self._take(job, future.result(timeout=_CONNECT))
        except (KilledWorker, NoValidWorkerError, CancelledError, TimeoutError, OSError) as error:
            return Ended(job, End.LOST, f"{type(error).__name__}: {error}".partition("\n")[0])
        except Exception as error:  # what the function raised on the worker
            return Ended(job, End.FAILED, f"{type(error).__name__}: {error}".partition("\n")[0])

    def _take(self, job: Job, answer: Answer) -> Ended:
        """Put the folder of a cell into its place: the result last, as it was written."""
        end, reason, packed = answer
        if end == End.RESULT:
            scratch = job.folder.with_name(f"{job.folder.name}.new")
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            archive = scratch.with_suffix(f".{_ARCHIVE}")
            archive.write_bytes(packed)
            unpack(archive, scratch)
            archive.unlink()
            shutil.rmtree(job.folder, ignore_errors=True)
            scratch.rename(job.folder)
        return Ended(job, End(end), reason)
