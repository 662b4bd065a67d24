# SPDX-License-Identifier: GPL-2.0
"""The corpus: programs that reached something new, kept from one campaign to the next."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from testbed.files import make_folder, write_whole
from testbed.fuzz.drawing import Drawn, Faults, redraw
from testbed.fuzz.exchange import Ran
from testbed.fuzz.program import program_text

_CORRUPT = "corrupt"


@dataclass
class Corpus:
    """The programs of one architecture, a file each, and all that they have reached."""

    root: Path
    faults: Faults = frozenset()  # that its programs may have
    drawn: list[Drawn] = field(default_factory=list)
    reached: set[str] = field(default_factory=set)

    def load(self, note: Callable[[str], None]) -> None:
        """Read all programs. One that is damaged is moved aside, with a note."""
        for file in sorted(self.root.glob("*.json")):
            try:
                found = redraw(json.loads(file.read_text())["choices"], self.faults)
            except (ValueError, TypeError, KeyError, IsADirectoryError, PermissionError):
                aside = make_folder(self.root / _CORRUPT, "state_dir") / file.name
                file.replace(aside)
                note(f"the corpus has a damaged file, which is now {aside}")
                continue
            if found is not None:
                self.drawn.append(found)

    def consider(self, drawn: Drawn, ran: Ran) -> bool:
        """Keep a program if it reached something that no program before it has reached."""
        new = set(reach(ran)) - self.reached
        if not new:
            return False
        self.reached |= new
        file = make_folder(self.root, "state_dir") / f"{drawn.program.key}.json"
        if not file.exists():
            program = json.loads(program_text(drawn.program))
            write_whole(file, json.dumps({"choices": drawn.code, "program": program}) + "\n")
            self.drawn.append(drawn)
        return True


def reach(ran: Ran) -> Iterator[str]:
    """Yield what a program reached: results of system calls, pairs of hooks, contents of pages.

    With KCOV also the kernel's code, as far as it is instrumented.
    """
    for where, places in ran.reached:
        yield from (f"{where} {place}" for place in places)
    for path, execution in ran.executions.items():
        for fact in execution.seen.facts.values():
            yield f"{path} {fact.op} {fact.error}"
            if fact.op == "read":
                yield from (f"{path} read {each.partition(':')[0]}" for each in fact.contents)
        names = [event.name for event in execution.events]
        yield from (f"{path} {first} {then}" for first, then in itertools.pairwise(names))
