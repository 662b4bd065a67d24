# SPDX-License-Identifier: GPL-2.0
"""Compare the verdicts and facts of two runs, given by their folders. Status 1: they differ."""

from __future__ import annotations

import sys
from pathlib import Path

from testbed.report.comparison import markdown_lines
from testbed.report.diff import Side, compare
from testbed.results.store import read_facts, read_run


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
    differing = sum(len(change.facts) for change in found.changes)
    print(f"{tests} tests with {facts} facts on both sides: {differing} facts differ")
    return 1 if found.changes else 0


if __name__ == "__main__":
    sys.exit(main(*(Path(name) / "latest" for name in sys.argv[1:])))
