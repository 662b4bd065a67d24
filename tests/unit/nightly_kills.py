# SPDX-License-Identifier: GPL-2.0
"""A nightly that is killed outright, again and again, and what must be true afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bisect_parts import new_tree
from nightly_parts import MAKEFILE, Nights
from sham_cells import SHAM_ENV, alive
from waiting import wait_until

from testbed.deadline import Deadline
from testbed.history.cells import cells_of, run_named
from testbed.history.database import history_url, opened_history
from testbed.nightly.cell import has_result
from testbed.process import Process, spawn
from testbed.settings import load_settings

# More than fifty kills let end: a killed nightly lives for four changes of its table at most.
CELLS = 100


@dataclass
class Campaign:
    """A night of some cells, whose nightly is killed at moments that a seed chooses."""

    nights: Nights
    random: random.Random

    @classmethod
    def of(cls, top: Path, seed: int, *, ms: int) -> Campaign:
        tree = new_tree(top)
        (tree.path / "Makefile").write_text(MAKEFILE)
        tree.commit("fine\n")
        lines = ['name = "kills"\nhours = 10\n[streams.main]\nkernel = "tree:linux@main"\n']
        for number in range(CELLS):
            lines.append(f"[[cells]]\nkind = 'sham'\narch = 'x86_64'\nnumber = {number}\n")
            lines.append(f"ms = {ms}\nworkers = 1\ndiary = '{top / 'diary'}'\n")
        (top / "nightly.toml").write_text("".join(lines))
        return cls(Nights(top, tree), random.Random(seed))

    def kill_once(self) -> None:
        """Start the nightly, and kill it before it ends by itself."""
        before = self._finished()
        starts = self._starts()
        log = self.nights.top / "log"
        with spawn(self.nights.argv(), log=log, env=SHAM_ENV) as nightly:
            self._wait_for_moment(nightly)
            assert nightly.returncode is None, f"it ended by itself:\n{log.read_text()}"
            os.kill(nightly.pid, signal.SIGKILL)
            nightly.wait(Deadline.after(300))
            self._require_no_process()
        again = {cell for cell in before if self._starts()[cell] != starts[cell]}
        assert not again, f"cells ran again that had a result: {again}"
        assert before <= self._finished(), "a result was lost"

    def _wait_for_moment(self, nightly: Process) -> None:
        """Wait for some changes of the table, and a moment more; or sometimes, only a moment.

        The changes alone would spare the beginning of a nightly, and mere time would seldom meet
        anything else on a busy host.
        """
        changes = self.random.choice([0, 1, 1, 2, 3, 4])
        wanted = self._changes + changes
        while changes and self._changes < wanted and nightly.returncode is None:
            time.sleep(0.01)
        nightly.wait(Deadline.after(self.random.uniform(0.0, 0.4 if changes else 3.0)))

    @property
    def _changes(self) -> int:
        """The number of changes in all tables of the night."""
        tables = self.nights.top.glob("results_dir/nightly/2*/table.jsonl")
        return sum(table.read_bytes().count(b"\n") for table in tables)

    def require_whole(self) -> None:
        """Run the nightly to its end: each cell has one result, in files and in the history."""
        self.nights.run()
        folders = {path for path in self.nights.folder.parent.iterdir() if not path.is_symlink()}
        assert len(folders) == 1, "the night was begun anew"
        outcome = self.nights.outcome
        assert [each["state"] for each in outcome["cells"]] == ["done"] * CELLS
        settings = load_settings(self.nights.top / "settings.toml")
        with opened_history(history_url(settings)) as history, history.read() as db:
            run = run_named(db, self.nights.folder.name)
            assert run is not None
            kept = Counter(cell.content for cell in cells_of(db, run))
        assert set(kept) == {each["cell"]["content"] for each in outcome["cells"]}
        assert set(kept.values()) == {1}

    def _require_no_process(self) -> None:
        """Wait until the kernel has ended the cells, and what stands for their VMs."""
        wait_until(
            lambda: not any(map(alive, self._processes())),
            "the end of all cells",
            lambda: str([pid for pid in self._processes() if alive(pid)]),
        )

    def _diary(self) -> list[list[str]]:
        diary = self.nights.top / "diary"
        return [line.split() for line in diary.read_text().splitlines()] if diary.exists() else []

    def _processes(self) -> list[int]:
        return [int(pid) for words in self._diary() if words[0] == "start" for pid in words[2:]]

    def _starts(self) -> Counter[str]:
        return Counter(words[1] for words in self._diary() if words[0] == "start")

    def _finished(self) -> set[str]:
        folders = self.nights.top.glob("results_dir/nightly/2*/cells/*")
        return {folder.name for folder in folders if has_result(folder)}

    @property
    def begun(self) -> int:
        """The number of attempts at cells so far."""
        lines = (self.nights.folder / "table.jsonl").read_text().splitlines()
        return sum(json.loads(line)["event"] == "begin" for line in lines)
