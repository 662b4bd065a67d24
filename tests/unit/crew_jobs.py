# SPDX-License-Identifier: GPL-2.0
"""Jobs for the processes of a crew, in a module that they can import."""

from __future__ import annotations

import os
import select
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import SetupError
from testbed.process import spawn


@dataclass(frozen=True)
class Answer:
    """Returns its text, in which process it ran, and where its temporary files go."""

    text: str

    def run(self) -> tuple[str, int, str]:
        return self.text, os.getpid(), os.environ["TMPDIR"]


@dataclass(frozen=True)
class Path0:
    """Returns the first place where Python looks for modules."""

    def run(self) -> str:
        return sys.path[0]


@dataclass(frozen=True)
class Meet:
    """Ends only if another job runs at the same time: each opens one end of a FIFO."""

    fifo: Path
    writes: bool

    def run(self) -> str:
        with self.fifo.open("w" if self.writes else "r"):
            return "met"


@dataclass(frozen=True)
class Refuse:
    def run(self) -> str:
        raise SetupError("no compiler", hint="apt install gcc", evidence="exit status 127")


@dataclass(frozen=True)
class Die:
    """Kills its process, unless it has run before."""

    times: int
    count: Path

    def run(self) -> str:
        with self.count.open("a") as file:
            file.write("x")
        if len(self.count.read_text()) <= self.times:
            print("short of memory", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return "alive"


@dataclass(frozen=True)
class Hang:
    """Starts a child, names it in a FIFO, and waits for ever. Its end is recorded."""

    fifo: Path
    ended: Path

    def run(self) -> None:
        try:
            with spawn(["sleep", "1000"], log=Path(os.devnull)) as child:
                self.fifo.write_text(str(child.pid))
                select.select([], [], [])
        finally:
            self.ended.write_text("unwound")
