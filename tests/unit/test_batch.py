# SPDX-License-Identifier: GPL-2.0
"""Batches: their size and order, and the beginning of one that makes a test fail."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from testbed.results.model import Case, Status
from testbed.settings import Settings, load_settings, settings_text
from testbed.suite.batch import split
from testbed.suite.carried import Carried
from testbed.suite.collected import Collected, read_collected, write_collected
from testbed.suite.confirm import Beginning, compared, only_after, shortest
from testbed.suite.selection import Selection

TEST = "tests/vm/contract/test_a.py::test_a[x86_64]"


def passed(**facts: str) -> Carried:
    return Carried(Case(test=TEST, status=Status.PASS), {"script": facts} if facts else {})


def test_tests_of_one_kind_share_batches_of_a_limited_size() -> None:
    tests = [(f"{kind}{number}", kind) for number in range(5) for kind in "ab"]
    batches = split(tests, 3)
    assert batches == [["a0", "a1", "a2"], ["b0", "b1", "b2"], ["a3", "a4"], ["b3", "b4"]]


def test_no_test_gives_no_batch() -> None:
    assert split([]) == []


@pytest.mark.parametrize("needed", range(1, 33))
def test_the_shortest_beginning_that_fails_is_found_in_a_few_runs(needed: int) -> None:
    tried: list[int] = []

    def fails_after(count: int) -> bool:
        tried.append(count)
        return count >= needed

    assert shortest(32, fails_after) == needed
    assert len(tried) <= 5


def test_a_failure_of_the_batch_alone_stays_a_failure() -> None:
    seen = Carried(Case(test=TEST, status=Status.FAIL, reason="r", evidence="e"), {})
    tries = (*seen.case.tries(alone=False), *passed().case.tries(alone=True))
    found = only_after(seen, ["f::one", "f::two", "f::three"], Beginning(2, tries)).case
    assert [(each.status, each.alone) for each in found.attempts] == [
        (Status.FAIL, False),
        (Status.PASS, True),
    ]
    assert found.attempts[0].reason == "r"
    assert found.status is Status.FAIL
    assert found.reason == "only after 2 tests, at last two: r"
    assert found.evidence.endswith("f::one\nf::two\ne")


def test_a_failure_that_does_not_come_back_stays_a_failure() -> None:
    seen = Carried(Case(test=TEST, status=Status.ERROR, reason="r"), {})
    found = only_after(seen, ["f::one", "f::two"], Beginning(None)).case
    assert found.status is Status.ERROR
    assert found.reason == "only after 2 tests, at last two, and not each time: r"


def test_facts_that_a_batch_changes_are_a_failure() -> None:
    found = compared(
        passed(rss="8", free="1"), passed(rss="4", free="2"), passed(rss="4", free="3")
    )
    assert found.case.status is Status.FAIL
    assert found.case.reason == "its facts in a batch are not those of the test alone: rss"
    assert found.case.evidence == "rss: 8 in the batch, 4 alone"


def test_facts_that_differ_each_time_are_no_failure() -> None:
    assert compared(passed(free="1"), passed(free="2"), passed(free="3")).case.status is Status.PASS
    assert compared(passed(free="1"), passed(free="1"), None).case.status is Status.PASS


def test_a_test_that_fails_alone_and_passes_in_its_batch_is_a_failure() -> None:
    alone = Carried(Case(test=TEST, status=Status.FAIL, reason="r"), {})
    found = compared(passed(), alone, alone)
    assert found.case.status is Status.FAIL
    assert found.case.evidence == "status: PASS in the batch, FAIL alone"


def test_a_sample_of_one_in_a_hundred_moves_with_the_seed() -> None:
    tests = [f"test[{number}]" for number in range(8000)]
    samples = [{test for test in tests if Selection(seed).samples(test)} for seed in (1, 2)]
    assert all(40 <= len(sample) <= 120 for sample in samples)
    assert len(samples[0] & samples[1]) < 10
    assert not any(Selection().samples(test) for test in tests)


def test_the_collected_tests_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_collected(tmp_path, Collected(["a", "b", "c"], [["c", "a"], ["b"]], "note"))
    found = read_collected(tmp_path)
    assert (found.tests, found.left_out) == (["a", "b", "c"], "note")
    assert found.batch_of == {"c": 0, "a": 0, "b": 1}


def test_settings_survive_a_file(tmp_path: Path) -> None:
    own = dataclasses.replace(
        Settings(),
        arch=("arm64",),
        config=(tmp_path / "a b.config",),
        cmdline='slub_debug="x"',
        qemu=("-device", "edu,a=b c"),
        jobs=3,
        accept_expired=True,
        boot_timeout=12.5,
    )
    file = tmp_path / "settings.toml"
    file.write_text(settings_text(own))
    assert load_settings(file) == own
