# SPDX-License-Identifier: GPL-2.0
"""Compare the verdicts and facts of two runs, given by their folders. Status 1: they differ.

Facts of a feature that only one of the two processors has are counted apart (docs/running.md).
"""

from __future__ import annotations

import sys
from pathlib import Path

from testbed.report.comparison import markdown_lines
from testbed.report.diff import ABSENT, FactChange, Kind, Side, compare
from testbed.results.store import read_facts, read_run

# Facts that a kernel shows only on a processor with the feature: protection keys.
_OF_THE_PROCESSOR = ".smaps.ProtectionKey"


def main(base: Path, new: Path) -> int:
    sides = [Side(str(path), read_run(path), read_facts(path)) for path in (base, new)]
    found = compare(*sides)
    facts = sum(
        len(values)
        for test, scripts in sides[0].facts.items()
        for script, values in scripts.items()
        if script in sides[1].facts.get(test, {})
    )
    tests = len(set(sides[0].facts) & set(sides[1].facts))
    for line in markdown_lines(found):
        print(line)
    changed = [fact for change in found.changes for fact in change.facts]
    differing = [fact for fact in changed if not of_the_processor(fact)]
    verdicts = [change for change in found.changes if change.kind is not Kind.FACTS]
    print(f"{len(changed) - len(differing)} facts that one processor lacks")
    print(f"{tests} tests with {facts} facts on both sides: {len(differing)} facts differ")
    return 1 if differing or verdicts else 0


def of_the_processor(fact: FactChange) -> bool:
    """Whether a fact is there on one side only, because the other's processor lacks its feature."""
    return fact.where.endswith(_OF_THE_PROCESSOR) and ABSENT in (fact.base, fact.new)


if __name__ == "__main__":
    sys.exit(main(*(Path(name) / "latest" for name in sys.argv[1:])))
