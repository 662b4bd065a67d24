# SPDX-License-Identifier: GPL-2.0
"""Splats in recorded kernel logs: each log has its expectation in a file beside it.

The logs whose names begin with an architecture were recorded from a 7.3.4
kernel with a module that did what the name says. The others are written in the
kernel's format, because that configuration cannot print them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.guest.expect import Expectation, match_splats
from testbed.guest.kmsg import console_text, parse_record
from testbed.guest.splat import Splat, SplatKind, find_splats
from testbed.guest.taint import taint_letters

_LOGS = Path(__file__).parent / "data" / "kernellog"


def _read(name: str) -> str:
    return (_LOGS / f"{name}.log").read_bytes().decode()


def _summary(splat: Splat) -> dict[str, object]:
    lines = splat.text.splitlines()
    return {
        "kind": splat.kind.value,
        "title": splat.title,
        "function": splat.function,
        "location": splat.location,
        "truncated": splat.truncated,
        "first": lines[0],
        "last": lines[-1],
    }


@pytest.mark.parametrize("name", sorted(path.stem for path in _LOGS.glob("*.log")))
def test_a_recorded_log_gives_the_expected_splats(name: str) -> None:
    expected = json.loads((_LOGS / f"{name}.json").read_text())
    assert [_summary(splat) for splat in find_splats(_read(name))] == expected


def test_the_title_is_the_same_on_both_architectures() -> None:
    for name in ("null-pointer", "page-fault", "list-corruption"):
        titles = [find_splats(_read(f"{arch}-{name}"))[0].title for arch in ("x86_64", "arm64")]
        assert titles[0] == titles[1]


def test_records_and_console_text_give_the_same_splat() -> None:
    record = find_splats(_read("x86_64-warning-kmsg-records"))
    console = find_splats(_read("x86_64-warning-with-message"))
    assert record == console


def test_a_splat_has_neither_stamps_nor_carriage_returns() -> None:
    (splat,) = find_splats(_read("kasan-use-after-free-in-module"))
    assert "[   12." not in splat.text
    assert "[   T83]" not in splat.text
    assert "\r" not in splat.text
    assert "noise" not in splat.text


def test_every_incomplete_oops_is_found_and_marked_as_truncated() -> None:
    lines = _read("x86_64-null-pointer").splitlines()
    end = next(at for at, line in enumerate(lines) if "end trace" in line)
    for count in range(1, end):
        (splat,) = find_splats("\n".join(lines[:count]))
        assert splat.kind is SplatKind.OOPS
        assert splat.truncated, lines[count - 1]


def test_an_oops_that_interrupts_another_is_a_separate_splat() -> None:
    log = _read("x86_64-null-pointer-cut-in-the-middle") + _read("x86_64-general-protection-fault")
    first, second = find_splats(log)
    assert (first.title, first.truncated) == ("NULL pointer dereference in trig_null", True)
    assert (second.title, second.truncated) == ("general protection fault in trig_gpf", False)


def test_an_empty_log_has_no_splats() -> None:
    assert find_splats("") == []


def test_a_record_is_parsed_with_its_escapes_and_without_its_dictionary() -> None:
    raw = b"12,339,5140900,-,caller=T83;two\\x0alines \\xc3\\xa9\n SUBSYSTEM=pci\n DEVICE=+pci:1\n"
    record = parse_record(raw)
    assert record is not None
    assert (record.sequence, record.usec, record.level) == (339, 5140900, 4)
    assert record.text == "two\nlines é"
    assert console_text([record]) == "[    5.140900] two\n[    5.140900] lines é\n"


def test_bytes_that_are_not_a_record_give_none() -> None:
    assert parse_record(b"what is this") is None


def test_taint_letters_follow_the_bits() -> None:
    assert taint_letters(0) == ""
    assert taint_letters(1 << 12 | 1 << 9) == "WO"
    assert taint_letters(1 << 40) == "?"


def _splat(kind: SplatKind, title: str) -> Splat:
    return Splat(kind, title, title)


def test_an_expectation_covers_every_occurrence_of_a_splat() -> None:
    warning = _splat(SplatKind.WARNING, "WARNING in can_mmap_file")
    matched = match_splats([warning, warning], [Expectation(SplatKind.WARNING, "can_mmap")])
    assert matched.ok


@pytest.mark.parametrize(("times", "ok"), [(0, False), (1, True), (2, False)])
def test_a_splat_that_is_expected_once_must_not_occur_twice(times: int, ok: bool) -> None:
    warnings = [_splat(SplatKind.WARNING, "WARNING in can_mmap_file")] * times
    assert match_splats(warnings, [Expectation(SplatKind.WARNING, once=True)]).ok is ok


def test_an_unexpected_splat_is_reported() -> None:
    warning = _splat(SplatKind.WARNING, "WARNING in other")
    matched = match_splats([warning], [Expectation(SplatKind.WARNING, "can_mmap")])
    assert matched.unexpected == (warning,)
    assert [str(wish) for wish in matched.unmet] == ["warning 'can_mmap'"]


def test_an_expectation_does_not_cover_another_kind() -> None:
    oops = _splat(SplatKind.OOPS, "page fault in can_mmap_file")
    matched = match_splats([oops], [Expectation(SplatKind.WARNING, "can_mmap_file")])
    assert matched.unexpected == (oops,)
