# SPDX-License-Identifier: GPL-2.0
"""The second judgement of a mutation: its facts beside those of the good kernel, as `compare` does.

Both sides of a comparison inside one run share a hook of the kernel. What the hook forgets shows
only beside another kernel.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from testbed.files import make_folder
from testbed.report.diff import Change, Kind, Side, compare
from testbed.results.model import Run
from testbed.results.store import CASES_FILE, FACTS_FILE, read_cases, read_facts

_FILES = (CASES_FILE, FACTS_FILE)

# A case that is new or gone says that a test was chosen or skipped otherwise, which the suite
# itself would have to notice.
_COUNTED = frozenset({Kind.FACTS, Kind.GONE, Kind.NEW, Kind.FIXED})


@dataclass(frozen=True)
class GoodFacts:
    """What the tests saw on the kernel without a mutation, in a folder."""

    folder: Path

    @property
    def kept(self) -> bool:
        return all((self.folder / name).exists() for name in _FILES)

    def keep(self, run_dir: Path) -> None:
        """Take over the cases and facts of a run. A run without facts leaves nothing."""
        make_folder(self.folder, "state_dir")
        for name in _FILES:
            if (run_dir / name).exists():
                shutil.copyfile(run_dir / name, self.folder / name)

    def differences(self, run_dir: Path) -> tuple[Change, ...]:
        """Return the tests of a run that saw other facts than on the good kernel.

        Raises:
            SetupError: the facts of one side cannot be read.
        """
        sides = [_side(folder) for folder in (self.folder, run_dir)]
        return tuple(each for each in compare(*sides).changes if each.kind in _COUNTED)


def confirmed(first: Iterable[Change], second: Iterable[Change]) -> tuple[Change, ...]:
    """Return the changes of the first run of a test that its second run shows too."""
    again = {(change.test, change.kind) for change in second}
    return tuple(change for change in first if (change.test, change.kind) in again)


def shown(changes: Iterable[Change]) -> str:
    """Return one line for a table: the first test that differs, how, and how many more do."""
    found = list(changes)
    if not found:
        return ""
    first = found[0]
    name = first.test.rpartition("/")[2]
    facts = [f"{fact.where} is {fact.new}, not {fact.base}" for fact in first.facts[:1]]
    more = [f"and {len(found) - 1} more tests"] if len(found) > 1 else []
    return ", ".join([f"{name}: {facts[0] if facts else first.kind}", *more])


def _side(folder: Path) -> Side:
    cases = tuple(read_cases(folder))
    return Side(folder.name, Run(name="", command="", started="", cases=cases), read_facts(folder))
