# SPDX-License-Identifier: GPL-2.0
"""The code that programs of `testbed fuzz` reach: how guest, kernel and report say it."""

from __future__ import annotations

import dataclasses
import random
import struct
from pathlib import Path

from fuzz_parts import MAPS, ran

from testbed.fuzz.corpus import Corpus
from testbed.fuzz.cover import Cover
from testbed.fuzz.drawing import draw
from testbed.fuzz.exchange import Ran
from testbed.fuzz.places import Place, arm64_calls, parse_places, x86_calls
from testbed.kernel.kcov import LAYER, has_coverage, kcov_words
from testbed.mmap.observation import parse_observation
from testbed.mmap.path import HookPath
from testbed.mmap.script import Script

DIRECT, STACK = HookPath.DIRECT, HookPath.STACK


FUZZED = {"KCOV": "y", "FAULT_INJECTION": "y"}


def test_only_a_kernel_for_fuzzing_gets_words_for_make() -> None:
    for other in ({}, {"KCOV": "y"}, {**FUZZED, "KCOV_INSTRUMENT_ALL": "y"}):
        assert kcov_words(other) == ()
    words = kcov_words(FUZZED)
    assert "KCOV_INSTRUMENT_backing-file.o=$(filter fs,$(obj))" in words
    assert "CFLAGS_vma.o=$(if $(filter mm,$(obj)),-g1)" in words
    assert len(words) == 2 * len(LAYER)


def test_a_kernel_with_nothing_instrumented_has_no_coverage() -> None:
    assert has_coverage(FUZZED)
    assert has_coverage({"KCOV": "y", "KCOV_INSTRUMENT_ALL": "y"})
    assert not has_coverage({"KCOV": "y"})
    assert not has_coverage({"FAULT_INJECTION": "y"})


def test_what_a_script_reached_is_no_fact() -> None:
    lines = (
        '{"step":1,"op":"kcov","errno":0}',
        '{"step":2,"op":"map","errno":0,"reached":"81000010 81000020"}',
        '{"step":2,"op":"map","child":true,"errno":0,"reached":"81000020 81000030"}',
        '{"done":true}',
    )
    seen = parse_observation(Script(["kcov", "map m anon"]), "\n".join(lines), "recorded")
    assert seen.reached == {"81000010", "81000020", "81000030"}
    assert set(seen[2].values) == {"step", "op", "errno"}
    assert "reached" not in seen.report()


def _reaching(path: HookPath, *places: str) -> Ran:
    found = ran(MAPS, DIRECT, STACK)
    one = found.executions[path]
    seen = dataclasses.replace(one.seen, reached=frozenset(places))
    executions = {**found.executions, path: dataclasses.replace(one, seen=seen)}
    return dataclasses.replace(found, executions=executions)


def test_a_program_that_reaches_new_code_on_a_path_is_kept(tmp_path: Path) -> None:
    drawn = draw(random.Random(1))
    assert drawn is not None
    corpus = Corpus(tmp_path)
    assert corpus.consider(drawn, _reaching(DIRECT, "81000010"))
    assert not corpus.consider(drawn, _reaching(DIRECT, "81000010"))
    assert corpus.consider(drawn, _reaching(DIRECT, "81000010", "81000020"))
    assert corpus.consider(drawn, _reaching(STACK, "81000010"))


def test_the_calls_in_x86_code() -> None:
    start, target = 0xFFFFFFFF81000000, 0xFFFFFFFF80FFFF00
    call = b"\xe8" + struct.pack("<i", target - (start + 3 + 5))
    elsewhere = b"\xe8" + struct.pack("<i", 64)
    code = b"\x90\x90\x90" + call + b"\xe8\xe8" + elsewhere + b"\xe8"
    assert list(x86_calls(code, start, target)) == [start + 8]
    assert list(x86_calls(code[:7], start, target)) == []


def test_the_calls_in_arm64_code() -> None:
    start, target = 0xFFFF800080010000, 0xFFFF800080000000
    nop, back, ahead = 0xD503201F, 0x94000000 | (-0x10004 // 4 & 0x3FFFFFF), 0x94000004
    code = struct.pack("<4I", nop, back, ahead, 0x14000000 | (back & 0x3FFFFFF))
    assert list(arm64_calls(code, start, target)) == [start + 8]


def test_the_innermost_place_in_the_layer_counts() -> None:
    answer = """\
0xffffffff81000010
vma_desc_size
/b/src/include/linux/mm.h:4100
mmap_action_prepare
/b/src/mm/util.c:1300 (discriminator 2)
__mmap_region
/b/src/mm/vma.c:2700
0xffffffff81000020
??
??:0
0xffffffff81000030
mmap_file
../mm/vma.c:12
"""
    assert list(parse_places(answer)) == [
        (0xFFFFFFFF81000010, Place("mm/util.c", 1300, "mmap_action_prepare")),
        (0xFFFFFFFF81000030, Place("mm/vma.c", 12, "mmap_file")),
    ]


COVER = Cover(
    {
        "81000010": Place("mm/vma.c", 12, "mmap_file"),
        "81000020": Place("mm/vma.c", 14, "mmap_file"),
        "81000028": Place("mm/vma.c", 12, "mmap_file"),
        "81000030": Place("mm/vma.c", 7, "vma_dup"),
        "81000040": Place("mm/util.c", 3, "compat"),
    },
    {"81000010", "81000040", "99999999"},
)


def test_the_report_shows_what_was_never_reached() -> None:
    assert list(COVER.lines()) == [
        "mm/util.c: 1 of 1 places, 0 functions never reached",
        "mm/vma.c: 1 of 4 places, 1 functions never reached",
    ]
    assert list(COVER.never_lines()) == [
        *("mm/util.c", ""),
        *("mm/vma.c", "  vma_dup: never: 7", "  mmap_file: lines 14", ""),
    ]
    assert COVER.content()["mm/vma.c"] == {
        "places": 4, "reached": 1, "lines": 3, "lines_reached": 1
    }  # fmt: skip
