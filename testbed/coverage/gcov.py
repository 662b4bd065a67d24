# SPDX-License-Identifier: GPL-2.0
"""gcov: the lines that an object has run, from its notes and its counters."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from testbed.errors import CommandError, SetupError
from testbed.process import run

Counts = Mapping[str, Mapping[int, int]]  # of lines, by file of the tree


def require_gcov(program: str) -> None:
    """Check that gcov is there.

    Raises:
        SetupError: it is not installed.
    """
    if shutil.which(program) is None:
        raise SetupError(f"{program} is not installed", hint="it is part of gcc's package")


@dataclass
class Reader:
    """Reads counters of the objects of one kernel. Equal counters are read once."""

    program: str  # gcov of the compiler's version
    notes: Mapping[str, Path]  # .gcno files, by object of the tree
    files: Collection[str]  # of the tree, whose lines count
    _read: dict[tuple[str, bytes], Counts] = field(default_factory=dict)

    def counts(self, target: str, counters: bytes) -> Counts:
        """Return how often each line of the files ran, by the counters of one object.

        Without counters these are the lines with code, which never ran.

        Raises:
            SetupError: gcov is not installed, or of another version than the compiler.
        """
        key = target, counters
        if key not in self._read:
            self._read[key] = self._counts(self.notes[target], counters)
        return self._read[key]

    def _counts(self, notes: Path, counters: bytes) -> Counts:
        require_gcov(self.program)
        with tempfile.TemporaryDirectory(prefix="gcov-") as scratch:
            shutil.copyfile(notes, Path(scratch) / notes.name)
            if counters:
                (Path(scratch) / notes.name).with_suffix(".gcda").write_bytes(counters)
            try:
                argv = [self.program, "--json-format", "--stdout", notes.name]
                found = run(argv, cwd=Path(scratch))
            except CommandError as exc:
                message = f"{self.program} cannot read {notes.name}"
                raise SetupError(message, evidence=exc.evidence) from exc
        return parse_counts(found.stdout, self.files, self.program, found.stderr)


def parse_counts(output: str, files: Collection[str], program: str, complaints: str = "") -> Counts:
    """Return the counts of those files from gcov's JSON.

    Raises:
        SetupError: gcov found counters or notes of another version.
    """
    if "version" in complaints or "stamp mismatch" in complaints:
        line = complaints.strip().partition("\n")[0]
        raise SetupError(f"{program} is not of the compiler's version", evidence=line)
    found: dict[str, dict[int, int]] = {}
    for line in filter(None, map(str.strip, output.splitlines())):
        for each in json.loads(line)["files"]:
            name = _name(each["file"], files)
            if name is not None:
                counts = found.setdefault(name, {})
                for entry in each["lines"]:
                    number = int(entry["line_number"])
                    counts[number] = counts.get(number, 0) + int(entry["count"])
    return found


def _name(path: str, files: Collection[str]) -> str | None:
    """Return the file of the tree that gcov names by some path."""
    plain = f"/{os.path.normpath(path)}"
    return next((file for file in files if plain.endswith(f"/{file}")), None)
