# SPDX-License-Identifier: GPL-2.0
"""Jobs in processes side by side: `python -P -m testbed.mutants.crew FOLDER` runs one.

A job runs in a process of its own, because pytest and its capturing of output are for one session
at a time. It is handed over as a pickle in a folder, and so is what it returns.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from testbed.errors import SetupError
from testbed.process import Process, spawn, wait_any

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")

# A job whose process dies is run again, in case the host was short of memory.
_TRIES = 2

_LOG_LINES = 100


class Job(Protocol[R_co]):
    """Work for a process. It must be picklable, as must be what it returns."""

    def run(self) -> R_co: ...


@dataclass(frozen=True)
class Died:
    """What a job has returned whose process died, each time that it was run."""

    reason: str
    log: str


@dataclass
class _Member:
    """A job, and its process."""

    job: Job[Any]
    folder: Path
    tries: int = 0
    process: Process | None = None
    stack: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        self.tries += 1
        scratch = self.folder / "tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        # -P: were the checkout on sys.path, pytest would warn that it was imported too early.
        argv = [sys.executable, "-P", "-m", "testbed.mutants.crew", str(self.folder)]
        child = spawn(argv, log=self.folder / "log", env={"TMPDIR": str(scratch)})
        self.process = self.stack.enter_context(child)

    def result(self) -> Any:
        """Return what the job returned; None if its process died before."""
        try:
            return pickle.loads((self.folder / "result").read_bytes())
        except FileNotFoundError:
            return None

    def died(self) -> Died:
        assert self.process is not None
        lines = (self.folder / "log").read_text(errors="replace").splitlines()
        last = f": {lines[-1]}" if lines else ""
        reason = f"the process of the trial ended with status {self.process.returncode}{last}"
        return Died(reason, "\n".join(lines[-_LOG_LINES:]))


@dataclass
class Crew(Generic[R]):
    """Processes for at most `slots` jobs at a time. The block's end ends them."""

    slots: int
    _members: list[_Member] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)
    _root: Path = Path()

    def __enter__(self) -> Self:
        self._root = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="crew-")))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            if self._members:
                # Side by side: each may take seconds to end its VM.
                with ThreadPoolExecutor(len(self._members)) as enders:
                    list(enders.map(lambda member: member.stack.close(), self._members))

    @property
    def jobs(self) -> list[Job[R]]:
        """The jobs that are running."""
        return [member.job for member in self._members]

    @property
    def full(self) -> bool:
        return len(self._members) >= self.slots

    def start(self, job: Job[R]) -> None:
        """Run a job."""
        member = _Member(job, Path(tempfile.mkdtemp(dir=self._root)))
        (member.folder / "job").write_bytes(pickle.dumps(job))
        self._members.append(member)
        member.start()

    def wait(self) -> list[tuple[Job[R], R | Died]]:
        """Wait until a job has ended. Return those that have, and what they returned.

        Raises:
            SetupError: a job raised it.
        """
        found: list[tuple[Job[R], R | Died]] = []
        while not found:
            ended = wait_any([each.process for each in self._members if each.process is not None])
            for member in [each for each in self._members if each.process in ended]:
                member.stack.close()
                result = member.result()
                if isinstance(result, SetupError):
                    raise result
                if result is None and member.tries < _TRIES:
                    member.start()
                    continue
                found.append((member.job, member.died() if result is None else result))
                self._members.remove(member)
                shutil.rmtree(member.folder, ignore_errors=True)
        return found


def _main(folder: Path) -> None:
    """Run the job in a folder. A signal unwinds it, as in the testbed's own process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    job = pickle.loads((folder / "job").read_bytes())
    try:
        result = job.run()
    except SetupError as error:
        result = error
    scratch = folder / "result.new"
    scratch.write_bytes(pickle.dumps(result))
    os.replace(scratch, folder / "result")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
