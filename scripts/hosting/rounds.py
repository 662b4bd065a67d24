# SPDX-License-Identifier: GPL-2.0
"""A round: every check on every host, and its summary."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hosting.checks import Check
from hosting.hostmachine import HostMachine, Outcome
from testbed.progress import Progress

_CHANGE = 120.0  # seconds for a script of root


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check on one host."""

    host: str
    check: str
    complaint: str  # empty if it passed
    seconds: float
    log: Path

    def __str__(self) -> str:
        shown = self.complaint or "pass"
        return f"{self.host:16} {self.check:12} {self.seconds:7.1f} s  {shown}"


@dataclass
class Round:
    """The checks of a round, as they are done."""

    log_dir: Path
    progress: Progress
    show: Callable[[str], None]
    verdicts: list[Verdict] = field(default_factory=list)

    def perform(self, machine: HostMachine, checks: Iterable[Check]) -> None:
        """Perform checks on a host. A failed one does not end the round."""
        for check in checks:
            self.verdicts.append(self._perform(machine, check))
            self.show(str(self.verdicts[-1]))

    @property
    def failed(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.complaint]

    def _perform(self, machine: HostMachine, check: Check) -> Verdict:
        log = self.log_dir / f"{machine.host}-{check.name}.log"
        began = time.monotonic()
        with (
            log.open("w") as sink,
            self.progress.step(f"{machine.host}: {check.name}", check.seconds) as step,
        ):

            def keep(line: str) -> None:
                print(line, file=sink, flush=True)
                step.update(time.monotonic() - began, note=line[:60])

            outcome = self._changed(machine, check, keep)
        complaint = check.complaint(outcome.status, outcome.text)
        if complaint:
            complaint += "".join(f"\n    {line}" for line in outcome.lines[-12:])
        seconds = time.monotonic() - began
        return Verdict(str(machine.host), check.name, complaint, seconds, log)

    def _changed(self, machine: HostMachine, check: Check, keep: Callable[[str], None]) -> Outcome:
        """Run a check on the host that its scripts of root have changed."""
        if check.before:
            changed = machine.run(f"set -e\n{check.before}", _CHANGE, user="root", on_line=keep)
            if changed.status:
                return changed
        try:
            return machine.run(check.text, check.seconds, user=check.user, on_line=keep)
        finally:
            if check.after:
                machine.run(check.after, _CHANGE, user="root", on_line=keep)
