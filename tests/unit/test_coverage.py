# SPDX-License-Identifier: GPL-2.0
"""Which lines of a series ran: hunks, gcov's output, and the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.context import Context
from testbed.coverage.collect import Collector
from testbed.coverage.counted import objects_of, subject_of
from testbed.coverage.gcov import Reader, parse_counts
from testbed.coverage.hunks import Hunk, HunkRun, Seen, Way, hunk_runs, hunks_of
from testbed.coverage.hunktable import content_of, idle, lines_of, summary
from testbed.errors import SetupError
from testbed.kernel.series import Series

BEFORE = "a\nb\nc\nd\n"
AFTER = "a\nB\nnew\nc\nd\nend\n"

FILE = "mm/util.c"


def gcov_line(*counts: tuple[int, int], file: str = f"../src/{FILE}") -> str:
    lines = [{"line_number": number, "count": count} for number, count in counts]
    return json.dumps({"files": [{"file": file, "lines": lines}]})


def test_hunks_have_the_numbers_of_the_final_text() -> None:
    hunks = hunks_of(FILE, BEFORE, AFTER)
    assert [str(hunk) for hunk in hunks] == ["mm/util.c:2-3", "mm/util.c:6"]
    assert hunks_of(FILE, BEFORE, "a\nd\n") == []


def test_counts_of_one_line_are_added() -> None:
    """An inline function stands once for each caller."""
    output = f"{gcov_line((2, 0), (3, 4))}\n{gcov_line((3, 1))}\n{gcov_line((2, 9), file='x.c')}\n"
    assert parse_counts(output, {FILE}, "gcov-12") == {FILE: {2: 0, 3: 5}}


def test_counters_of_another_version_are_refused() -> None:
    complaint = "util.gcno:version 'B22*', prefer 'B14*'\n"
    with pytest.raises(SetupError, match="gcov-14 is not of the compiler's version"):
        parse_counts("", {FILE}, "gcov-14", complaint)


def test_a_gcov_that_is_not_installed_is_named(tmp_path: Path) -> None:
    notes = tmp_path / "util.gcno"
    notes.write_bytes(b"")
    reader = Reader("gcov-of-nobody", {"mm/util.o": notes}, {FILE})
    with pytest.raises(SetupError, match="gcov-of-nobody is not installed"):
        reader.counts("mm/util.o", b"x")


def seen(test: str, way: Way, *lines: int) -> Seen:
    return Seen(test, way, {FILE: frozenset(lines)})


def runs() -> list[HunkRun]:
    hunks = [Hunk(FILE, range(2, 6)), Hunk(FILE, range(8, 9)), Hunk("mm/vma.c", range(1, 2))]
    hunks.append(Hunk(FILE, range(20, 21)))
    executable = {FILE: frozenset({2, 3, 4, 5, 8})}
    tests = [
        seen("t/test_a.py::e", Way.ERROR, 2, 3, 4),
        seen("t/test_a.py::d", Way.DIRECT, 2),
        seen("t/test_a.py::s", Way.STACK, 2, 3),
    ]
    return list(hunk_runs(hunks, executable, tests))


def test_the_plainest_way_to_a_line_counts() -> None:
    first = runs()[0]
    assert [first.ran(way) for way in (*Way, None)] == [[2], [3], [4], [], [5]]


def test_the_table_shows_lines_and_tests() -> None:
    found = {"x86_64": runs()}
    rows = [line for line in lines_of(found) if line.startswith("| mm/")]
    tests = "direct: test_a.py::d, below a stack: test_a.py::s, error path: test_a.py::e"
    assert sorted(rows) == sorted(
        [
            f"| mm/util.c:2-5 | 2 | 3 | 4 |  | 5 | {tests} |".replace(
                tests, "error path: test_a.py::e, direct: test_a.py::d, below a stack: test_a.py::s"
            ),
            "| mm/util.c:8 |  |  |  |  | 8 |  |",
            "| mm/vma.c:1 | - | - | - | - | not compiled |  |",
            "| mm/util.c:20 | - | - | - | - | no code |  |",
        ]
    )
    assert summary(runs()) == "3 of 5 lines ran; 1 of 4 hunks never ran"
    assert idle(found)
    assert not idle({"x86_64": runs()[:1]})
    assert content_of(found)["x86_64"][0]["lines"][5] == {}


def test_a_header_is_counted_where_the_layer_includes_it() -> None:
    assert objects_of(["fs/ext4/file.c"]) == ("fs/ext4/file.o",)
    assert objects_of(["mm/vma.h", "mm/vma.c"]) == (
        *("mm/vma.o", "mm/util.o", "mm/mmap.o", "mm/memory.o"),
    )


def test_nothing_to_cover_is_said(ctx: Context) -> None:
    with pytest.raises(SetupError, match="there is no series to cover"):
        subject_of(Series(), ctx)


def test_without_counters_every_line_with_code_never_ran(tmp_path: Path) -> None:
    notes, program = tmp_path / "util.gcno", tmp_path / "gcov"
    notes.write_bytes(b"")
    lines = [gcov_line((2, count), (3, 0)) for count in (0, 4)]
    program.write_text(f"#!/bin/sh\n[ -e util.gcda ] && echo '{lines[1]}' || echo '{lines[0]}'\n")
    program.chmod(0o755)
    reader = Reader(str(program), {"mm/util.o": notes}, {FILE})
    assert reader.counts("mm/util.o", b"") == {FILE: {2: 0, 3: 0}}
    assert reader.counts("mm/util.o", b"x") == {FILE: {2: 4, 3: 0}}
    assert Collector(reader, lambda _: None).executable == {FILE: {2, 3}}
