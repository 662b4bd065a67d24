# SPDX-License-Identifier: GPL-2.0
"""What all formats are made from: runs, each with the name of its lane, and shared text rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from testbed.results.model import Case, Run

# The line of the evidence that names the console's file, and the one that names repro/TEST/run.sh
# (testbed/suite/recorder.py).
_FILES = ("console: ", "repro: ")


@dataclass(frozen=True)
class Section:
    """One run in a file of results. A file may hold a night: a section for each lane."""

    run: Run
    lane: str = ""  # part of the names of its tests; empty in a file of one run

    @property
    def name(self) -> str:
        """The name of the section for people."""
        return self.lane or self.run.name


def dotted(file: str) -> str:
    """Return the path of a test file with dots: `tests.vm.test_a`."""
    return file.removesuffix(".py").replace("/", ".")


def files_of(case: Case) -> Iterator[str]:
    """Yield the files that the evidence of a case names."""
    for line in case.evidence.splitlines():
        for prefix in _FILES:
            if line.startswith(prefix) and "/" in line:
                yield line.removeprefix(prefix)


def shortened(text: str, limit: int) -> str:
    """Return the beginning and the end of a text that is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    mark = f"\n... {len(text) - limit} characters are left out ...\n"
    half = (limit - len(mark)) // 2
    return f"{text[:half]}{mark}{text[-half:]}"
