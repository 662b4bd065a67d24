# SPDX-License-Identifier: GPL-2.0
"""Comparison of two recorded runs: it reports every difference, and none for equal kernels."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import result_parts

from testbed.errors import SetupError
from testbed.mmap.canonical import canonical_facts
from testbed.mmap.observation import Observation, parse_observation
from testbed.mmap.script import Script
from testbed.report.comparison import (
    comparison_content,
    exit_status,
    markdown_lines,
    times,
    write_comparison,
)
from testbed.report.diff import Comparison, FactChange, Kind, Side, compare
from testbed.results.model import Case, Facts, Run, Status
from testbed.results.store import append_facts, read_facts, read_run, write_run
from testbed.settings import Settings
from testbed.suite.sides import recorded_side, side_settings

PASS, FAIL, SKIP = Status.PASS, Status.FAIL, Status.SKIP

ENVIRONMENT = result_parts.environment()


def case(
    status: Status,
    reason: str = "",
    *,
    name: str = "test_x",
    path: str = "stack",
    error: str = "",
) -> Case:
    test = f"tests/vm/contract/test_a.py::{name}[x86_64-{path}]"
    case = Case(test=test, arch="x86_64", path=path, status=status, reason=reason, error=error)
    return dataclasses.replace(case, seconds=1.5, evidence="e")


def side(*cases: Case, name: str = "base", facts: Facts | None = None, build: float = 60.0) -> Side:
    environment = dataclasses.replace(ENVIRONMENT, build_seconds=build)
    run = Run(name=name, command="c", started="t", environments=(environment,), cases=cases)
    return Side(name, run, facts or {})


def compared(before: Case | None, after: Case | None) -> Comparison:
    sides = [side(*filter(None, [each])) for each in (before, after)]
    return compare(*sides)


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (PASS, PASS, None),
        (PASS, FAIL, Kind.BROKEN),
        (PASS, Status.MISS, Kind.BROKEN),
        (PASS, Status.XFAIL, Kind.BROKEN),
        (FAIL, PASS, Kind.FIXED),
        (Status.XFAIL, Status.FIXED, Kind.FIXED),
        (PASS, Status.FIXED, None),
        (FAIL, Status.XFAIL, Kind.OTHERWISE),
        (FAIL, FAIL, None),
        (SKIP, PASS, Kind.NEW),
        (SKIP, FAIL, Kind.NEW),
        (None, PASS, Kind.NEW),
        (PASS, SKIP, Kind.GONE),
        (FAIL, None, Kind.GONE),
        (SKIP, SKIP, None),
        (None, SKIP, None),
        (SKIP, None, None),
    ],
)
def test_the_kind_of_a_change_follows_from_both_statuses(
    before: Status | None, after: Status | None, kind: Kind | None
) -> None:
    found = compared(*(case(status) if status else None for status in (before, after)))
    assert [change.kind for change in found.changes] == ([kind] if kind else [])


def test_a_test_that_fails_for_another_reason_is_reported() -> None:
    found = compared(case(FAIL, "errno 22"), case(FAIL, "errno 12"))
    assert [(each.kind, each.reason) for each in found.changes] == [(Kind.OTHERWISE, "errno 12")]


def test_numbers_that_differ_on_each_boot_do_not_change_the_reason() -> None:
    before = case(FAIL, "0x7f2dabb95000 of pid 51 on 7.3.4-testbed-0123456789abcdef, vm-x86_64-1")
    after = case(FAIL, "0x7f0000095000 of pid 52 on 7.3.4-testbed-fedcba9876543210, vm-x86_64-2")
    assert compared(before, after).changes == ()


def test_a_fixed_test_keeps_the_reason_of_its_failure() -> None:
    [change] = compared(case(FAIL, "it leaked"), case(PASS)).changes
    assert (change.base, change.new, change.reason) == ("FAIL", "PASS", "it leaked")


def test_a_new_or_gone_test_has_the_reason_of_the_skip() -> None:
    skipped = case(SKIP, "the kernel lacks it")
    for found in (compared(skipped, case(PASS)), compared(case(PASS), skipped)):
        assert [change.reason for change in found.changes] == ["the kernel lacks it"]


SEEN = {"1 map.errno": "0", "2 read.pages[0].result": "ok"}
TEST = case(PASS).test


def facts(**values: str) -> Facts:
    return {TEST: {"script": SEEN | {key.replace("__", " "): text for key, text in values.items()}}}


def test_changed_facts_are_shown_side_by_side() -> None:
    base, new = facts(), {TEST: {"script": {"1 map.errno": "22"}}}
    found = compare(side(case(PASS), facts=base), side(case(PASS), facts=new))
    [change] = found.changes
    assert change.kind is Kind.FACTS
    assert change.facts == (
        FactChange("1 map.errno", "0", "22"),
        FactChange("2 read.pages[0].result", "ok", "-"),
    )
    lines = list(markdown_lines(found))
    assert "      1 map.errno             0    | 22" in lines


def test_the_hunks_that_changed_tests_ran_have_a_column() -> None:
    base, new = facts(), {TEST: {"script": {"1 map.errno": "22"}}}
    found = compare(side(case(PASS), facts=base), side(case(PASS), facts=new))
    lines = list(markdown_lines(found, {TEST: ["mm/util.c:3", "mm/util.c:8"], "other": ["x:1"]}))
    [head] = [line for line in lines if line.startswith("| path |")]
    [row] = [line for line in lines if "changed facts" in line and line.startswith("|")]
    assert head.endswith("| hunks run |")
    assert row.endswith("| mm/util.c:3, mm/util.c:8 |")
    assert not any("hunks run" in line for line in markdown_lines(found))


def test_facts_of_a_script_that_ran_on_one_side_only_are_ignored() -> None:
    more = {TEST: {**facts()[TEST], "another": {"1 map.errno": "22"}}}
    few, many = side(case(PASS), facts=facts()), side(case(PASS), facts=more)
    assert compare(few, many).changes == compare(many, few).changes == ()


def test_a_broken_test_shows_its_facts_as_well() -> None:
    found = compare(
        side(case(PASS), facts=facts()), side(case(FAIL), facts=facts(**{"1__map.errno": "22"}))
    )
    [change] = found.changes
    assert (change.kind, len(change.facts)) == (Kind.BROKEN, 1)


def test_equal_sides_have_an_empty_difference() -> None:
    cases = (case(PASS), case(FAIL, "it leaked", name="test_y"), case(SKIP, name="test_z"))
    found = compare(side(*cases, facts=facts()), side(*cases, name="new", facts=facts()))
    assert found.changes == ()
    lines = list(markdown_lines(found))
    assert "3 tests on both sides: no differences." in lines
    assert [line for line in lines if line.startswith("## ")] == ["## Times"]
    assert exit_status(found) == 0


@pytest.mark.parametrize("new", [side(case(PASS)), side(case(Status.MISS, error="LaunchError"))])
def test_a_fault_of_the_host_on_a_side_gives_no_verdict(new: Side) -> None:
    base = side(case(Status.MISS, error="LaunchError"))
    assert exit_status(compare(base, new)) == 3


def test_sides_without_a_test_give_no_verdict() -> None:
    assert exit_status(compare(side(), side())) == 3


def test_identical_changes_are_listed_once_with_their_paths_and_reason() -> None:
    paths = ("stack", "custom", "three-level")
    base = side(*(case(PASS, path=path) for path in paths))
    new = side(*(case(FAIL, f"errno {len(path)}", path=path) for path in paths))
    found = compare(base, new)
    text = "\n".join(markdown_lines(found))
    assert "3 tests on both sides: 3 broken." in text
    assert "- test_a.py::test_x: PASS -> FAIL (3 tests)\n  x86_64 stack, custom, three" in text
    assert "errno 5, and 2 other reasons" in text
    assert "| custom | 1 broken |" in text
    assert exit_status(found) == 1


def test_times_have_a_separate_section() -> None:
    more = case(PASS, name="test_only_here")
    found = compare(side(case(PASS), more), side(case(PASS), build=75.04))
    assert [dataclasses.astuple(time) for time in times(found)] == [
        ("x86_64, build", 60.0, 75.0),
        ("x86_64, tests", 1.5, 1.5),
    ]
    assert "| x86_64, build | 60.0 | 75.0 |" in list(markdown_lines(found))


def test_the_files_contain_the_whole_comparison(tmp_path: Path) -> None:
    found = compare(side(case(PASS)), side(case(FAIL, "errno 22")))
    write_comparison(tmp_path, found)
    content = json.loads((tmp_path / "compare.json").read_text())
    assert content == json.loads(json.dumps(comparison_content(found)))
    assert content["changes"][0]["kind"] == "broken"
    assert content["base"]["environments"][0]["kernel"] == ENVIRONMENT.kernel
    assert (tmp_path / "compare.md").read_text().splitlines() == list(markdown_lines(found))


def test_the_folder_of_a_recorded_run_is_a_side(tmp_path: Path) -> None:
    run = side(case(PASS), case(Status.XFAIL, "KD1: it leaks", name="test_y")).run
    write_run(tmp_path, run)
    append_facts(tmp_path, TEST, facts()[TEST])
    append_facts(tmp_path, "another", {})
    recorded = recorded_side(str(tmp_path))
    assert recorded is not None
    assert recorded.run == run == read_run(tmp_path)
    assert [case.status for case in recorded.run.cases if case.status is Status.XFAIL]
    assert recorded.facts == {**facts(), "another": {}} == read_facts(tmp_path)
    assert recorded_side("debian:7.3") is None


@pytest.mark.parametrize("text", ["{", "{}", '{"version": 0}', '{"version": 1, "cases": 5}'])
def test_an_unreadable_run_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(SetupError, match=r"result\.json"):
        recorded_side(str(tmp_path))


def test_unreadable_facts_are_refused(tmp_path: Path) -> None:
    assert read_facts(tmp_path) == {}
    append_facts(tmp_path, TEST, facts()[TEST])
    file = tmp_path / "facts.jsonl.gz"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(SetupError, match=r"facts\.jsonl\.gz"):
        read_facts(tmp_path)


@pytest.mark.parametrize(
    ("wanted", "kernel", "series"),
    [
        ("debian:7.2", "debian:7.2", ""),
        ("debian:7.2+{}/a.patch", "debian:7.2", "{}/a.patch"),
        ("+{}/a.patch", "debian:7.3", "{}/a.patch"),
    ],
)
def test_a_side_names_a_kernel_and_a_series(
    tmp_path: Path, wanted: str, kernel: str, series: str
) -> None:
    (tmp_path / "a.patch").write_text("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n")
    base = Settings(kernel="debian:7.3", series="not of this side")
    settings, found = side_settings(base, wanted.format(tmp_path), tmp_path)
    assert (settings.kernel, settings.series) == (kernel, series.format(tmp_path))
    assert found.names == (("a.patch",) if series else ())


@pytest.mark.parametrize("wanted", ["", "+"])
def test_a_side_that_names_nothing_is_refused(tmp_path: Path, wanted: str) -> None:
    with pytest.raises(SetupError, match="names no kernel"):
        side_settings(Settings(), wanted, tmp_path)


# Canonical facts of an observation.

SCRIPT = Script(["env", "map m f len=8p", "hooklog", "maps m", "meminfo", "fork", "read m all"])


def observed(
    base: int, pfn: int, memory: int, *, flags: str = "0xfb", lost: int = 0
) -> Observation:
    """Return an observation of SCRIPT on a boot with these addresses, frames and open numbers."""
    log = f"1 pid={memory} prepare file=f#{memory} start={base:#x} end={base + 8:#x} flags={flags}"
    lines = [
        {"step": 1, "op": "env", "page_size": 4, "pool_pfn": hex(pfn), "release": str(pfn)},
        {"step": 2, "op": "map", "name": "m", "addr": hex(base), "len": 8, "errno": 0},
        {"step": 3, "op": "hooklog", "lines": [log], "lost": lost, "errno": 0},
        {"step": 4, "op": "maps", "vmas": [{"start": hex(base), "offset": hex(4 * pfn)}]},
        {"step": 5, "op": "meminfo", "fields": {"Committed_AS": memory}},
        {"step": 7, "op": "read", "child": True, "pages": [{"page": 0, "content": "pool:3"}]},
        {"done": True},
    ]
    return parse_observation(SCRIPT, "\n".join(map(json.dumps, lines)), "")


def test_facts_are_the_same_on_each_boot() -> None:
    one, other = observed(0x7F00, 0x3D80, 51), observed(0x6600, 0x9000, 60)
    kept = canonical_facts(one)
    assert kept == canonical_facts(other)
    assert kept["4 maps.vmas[0].start"] == "m+0p"
    assert kept["4 maps.vmas[0].offset"] == "pool+0"
    assert kept["7 read in the child.pages[0].content"] == "pool:3"


def test_the_content_of_memory_that_changes_by_itself_is_no_fact() -> None:
    script = Script()
    steps = [script.read("m", volatile=volatile) for volatile in (True, False)]
    page = {"page": 0, "result": "ok", "content": "other:0x1"}
    lines = [{"step": step, "op": "read", "pages": [page]} for step in steps] + [{"done": True}]
    facts = canonical_facts(parse_observation(script, "\n".join(map(json.dumps, lines)), ""))
    assert facts["1 read.pages[0].result"] == "ok"
    assert {key for key in facts if key.endswith("content")} == {"2 read.pages[0].content"}


def test_a_difference_between_kernels_stays_in_the_facts() -> None:
    changed = canonical_facts(observed(0x7F00, 0x3D80, 51, flags="0xff"))
    kept = canonical_facts(observed(0x7F00, 0x3D80, 51))
    assert {key for key in kept if kept[key] != changed[key]} == {"3 hooklog.0 prepare.flags"}


def test_a_log_that_lost_records_is_reduced_to_that_fact() -> None:
    kept = canonical_facts(observed(0x7F00, 0x3D80, 51, lost=306))
    assert kept == canonical_facts(observed(0x7F00, 0x3D80, 51, flags="0xff", lost=7))
    assert kept["3 hooklog.lost"] == "records"
