# SPDX-License-Identifier: GPL-2.0
"""Kills QEMU, or the whole testbed, at random moments while tests run, and counts the findings.

Each session runs the tests of havoc_cases.py with its own template store, which is empty at first.
So a kill may hit the saving of the template, the start of a clone, a probe, or nothing.
Afterwards these statements must hold; a violation is a finding:

- Every test has an outcome, and the tests that must fail did not pass.
- An unexpected outcome occurs only after a kill, is an infrastructure error or a lost guest, and
  has evidence.
- No process of the session runs, and no lock on its templates is held.
- The store holds only whole templates, once the next session has begun.

It prints one line per finding and a summary. The exit status is 1 if there is a finding.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.cli.exit import end_with
from testbed.deadline import Deadline
from testbed.process import Process, spawn
from testbed.settings import CHECKOUT, load_settings

_CASES = CHECKOUT / "scripts" / "havoc_cases.py"
_COUNT = 12  # tests in that file

# The errors that the kill of a VM may cause (testbed/errors.py).
_BLAMED = frozenset(
    {"GuestLost", "LaunchError", "QmpError", "SessionError", "BootHang", "BootNoSsh", "BootPanic"}
)

_SESSION = 600.0  # seconds, after which a session counts as hung
_SPREAD = 12.0  # seconds: the latest moment of a kill
_WHOLE = 0.1  # probability that the whole session is killed
_KEPT = 0.3  # probability that a session inherits the templates of the previous one


@dataclass
class Tally:
    """The results of all sessions together."""

    sessions: int = 0
    kills: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


@dataclass
class VictimSession:
    """One pytest session, with kills at random moments."""

    arch: str
    kernel: str
    folder: Path
    dice: random.Random

    def run(self, tally: Tally) -> None:
        """Run the session to its end, with kills on the way."""
        whole = self.dice.random() < _WHOLE
        with spawn(self._argv(), log=self.folder / "out") as process:
            killed = list(self._kill(process, whole))
            if process.wait(Deadline.after(_SESSION)) is None:
                tally.findings.append("the session hung")
        tally.sessions += 1
        tally.kills += len(killed)
        if whole:
            _wait_until_gone(self.folder)
        else:
            tally.findings += self._judge(bool(killed), tally.outcomes)
            tally.findings += _leftovers(self.store)
        tally.findings += [f"process {pid} still runs" for pid in _qemus(self.folder)]
        tally.findings += self._locks()

    @property
    def store(self) -> Path:
        return self.folder / "templates"

    def _argv(self) -> list[str]:
        settings = self.folder / "testbed.toml"
        results = self.folder / "results"
        settings.write_text(f'template_dir = "{self.store}"\nresults_dir = "{results}"\n')
        words = ["--settings", settings, "--arch", self.arch, "--kernel", self.kernel]
        words += ["-p", "no:cacheprovider", "-n", str(self.dice.choice((0, 2)))]
        return [sys.executable, "-m", "pytest", "-q", str(_CASES), *map(str, words)]

    def _kill(self, process: Process, whole: bool) -> Iterator[int]:
        """Kill one to three VMs, or the session, at random moments. Yield the pids."""
        moments = sorted(
            self.dice.uniform(1.0, _SPREAD) for _ in range(1 if whole else self.dice.randint(1, 3))
        )
        began = time.monotonic()
        for moment in moments:
            # A random moment is the purpose, so there is no event to wait for.
            time.sleep(max(0.0, began + moment - time.monotonic()))
            if process.returncode is not None:
                return
            if whole:
                process.kill()
                yield process.pid
            elif qemus := _qemus(self.folder):
                victim = self.dice.choice(qemus)
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                yield victim

    def _judge(self, killed: bool, outcomes: Counter[str]) -> Iterator[str]:
        result = self.folder / "results" / "latest" / "result.json"
        if not result.exists():
            yield "the session wrote no result"
            return
        cases = json.loads(result.read_text())["cases"]
        if len({case["test"] for case in cases}) != _COUNT:
            yield f"{len(cases)} outcomes, not {_COUNT}"
        for case in cases:
            outcomes[case["status"]] += 1
            if (fault := _fault(case, killed)) is not None:
                yield f"{case['test']}: {fault}"

    def _locks(self) -> Iterator[str]:
        """Yield a finding for each lock whose holder is gone (proc(5), /proc/locks)."""
        inodes = {file.stat().st_ino for file in self.store.glob("locks/*")}
        for line in Path("/proc/locks").read_text().splitlines():
            if int(line.split()[5].split(":")[-1]) in inodes and " FLOCK " in line:
                yield f"a lock is still held: {line}"


def _fault(case: dict[str, Any], killed: bool) -> str | None:
    """Return what is wrong with an outcome, or None."""
    false = "test_false" in case["test"]
    if case["status"] == "PASS":
        return "it passed, but must fail" if false else None
    if false and case["error"] == "AssertionError":
        return None
    if not killed:
        return f"{case['status']} without a kill: {case['reason']}"
    if case["error"] not in _BLAMED:
        return f"{case['status']} with {case['error']}: {case['reason']}"
    return None if case["evidence"] else "it lacks evidence"


def _qemus(folder: Path) -> list[int]:
    """Return the QEMU processes of a session, whose command lines name its folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            mine = any(os.fsencode(folder) in word for word in words)
            if mine and words[0].startswith(b"qemu-system"):
                found.append(int(entry.name))
    return found


def _wait_until_gone(folder: Path) -> None:
    """Wait until the kernel has ended the children of a killed process."""
    until = time.monotonic() + 10
    while _qemus(folder) and time.monotonic() < until:
        time.sleep(0.05)


def _leftovers(store: Path) -> Iterator[str]:
    """Yield a finding for everything in a store that is not a whole template."""
    for path in (store / "scratch").glob("*"):
        yield f"{path} is left over from a killed run"
    for path in (store / "template").glob("*"):
        if not (store / "manifests" / f"template-{path.name}.json").exists():
            yield f"{path} is an incomplete template"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/havoc", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--arch", default="x86_64", help="test on this architecture (default: %(default)s)"
    )
    parser.add_argument(
        "--kernel",
        default=load_settings().kernel,
        help="test on this kernel (default: %(default)s)",
    )
    parser.add_argument(
        "--kills",
        type=int,
        default=200,
        metavar="N",
        help="stop after N kills (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=int(time.time()),
        metavar="N",
        help="choose the random moments from this seed (default: the time)",
    )
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    dice, tally = random.Random(options.seed), Tally()
    # On tmpfs, like the user's templates, and in a temporary folder.
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="havoc-") as name:
        while tally.kills < options.kills:
            before = len(tally.findings)
            session = VictimSession(options.arch, options.kernel, Path(name), dice)
            if dice.random() > _KEPT:
                shutil.rmtree(session.store, ignore_errors=True)
            session.run(tally)
            for finding in tally.findings[before:]:
                print(f"session {tally.sessions}: {finding}", flush=True)
            print(f"{tally.sessions} sessions, {tally.kills} kills", flush=True)
    shown = ", ".join(f"{count} {status}" for status, count in sorted(tally.outcomes.items()))
    print(f"{options.arch}: {tally.kills} kills in {tally.sessions} sessions: {shown}; "
          f"{len(tally.findings)} findings")  # fmt: skip
    return 1 if tally.findings else 0


if __name__ == "__main__":
    end_with("havoc", main)
