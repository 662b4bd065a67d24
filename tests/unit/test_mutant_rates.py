# SPDX-License-Identifier: GPL-2.0
"""The two judgements of mutations: by the suite, and by facts beside the good kernel's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from testbed.mutants.facts import GoodFacts, confirmed, shown
from testbed.mutants.mutation import Fate, Mutation, Outcome
from testbed.mutants.rates import Rate, rate_lines, rates_of
from testbed.results.model import Case, Status
from testbed.results.store import append_case, append_facts

TEST = "tests/vm/contract/test_a.py::test_b[x86_64]"


def outcome(name: str, fate: Fate, facts: str = "") -> Outcome:
    return Outcome(mutation=name, identity=name, arch="x86_64", fate=fate, facts=facts)


def mutation(name: str, file: str) -> Mutation:
    return Mutation(name=name, path=Path(f"{name}.patch"), identity=name, files=(file,))


@pytest.mark.parametrize(
    ("count", "tries", "text"),
    [
        (11, 25, "11 of 25 (27 to 63 %)"),
        (25, 25, "25 of 25 (87 to 100 %)"),
        (0, 4, "0 of 4 (0 to 49 %)"),
        (0, 0, "-"),
    ],
)
def test_a_rate_has_an_interval(count: int, tries: int, text: str) -> None:
    assert str(Rate(count, tries)) == text


def test_what_says_nothing_about_tests_is_not_counted() -> None:
    found = [
        outcome("killed", Fate.ORACLE),
        outcome("boots not", Fate.BOOT),
        outcome("differs", Fate.SURVIVED, facts="x"),
        outcome("lives", Fate.SURVIVED),
        *(outcome(fate, fate) for fate in (Fate.EQUIVALENT, Fate.ABSENT, Fate.BUILD, Fate.UNKNOWN)),
    ]
    rates = rates_of(found)
    assert (rates.suite, rates.facts) == (Rate(2, 4), Rate(3, 4))


def test_the_table_has_a_row_for_each_file() -> None:
    mutations = [mutation("a", "mm/mmap.c"), mutation("b", "mm/mmap.c"), mutation("c", "ipc/shm.c")]
    found = [outcome("a", Fate.SURVIVED), outcome("b", Fate.SPLAT), outcome("c", Fate.LOST)]
    _, _, *rows = rate_lines(mutations, found)
    assert rows == [
        "| ipc/shm.c | 1 of 1 (21 to 100 %) | 1 of 1 (21 to 100 %) |  |",
        "| mm/mmap.c | 1 of 2 (9 to 91 %) | 1 of 2 (9 to 91 %) | a (x86_64) |",
        "| all | 2 of 3 (21 to 94 %) | 2 of 3 (21 to 94 %) | a (x86_64) |",
    ]


def run_dir(folder: Path, fact: str, status: Status = Status.PASS) -> Path:
    folder.mkdir()
    append_case(folder, Case(test=TEST, arch="x86_64", status=status))
    append_facts(folder, TEST, {"script": {"3 stat.accessed": fact}})
    return folder


def test_facts_that_differ_are_found_and_shown(tmp_path: Path) -> None:
    good = GoodFacts(tmp_path / "kept")
    assert not good.kept
    good.keep(run_dir(tmp_path / "good", "true"))
    assert GoodFacts(tmp_path / "kept").kept
    assert good.differences(run_dir(tmp_path / "same", "true")) == ()
    found = good.differences(run_dir(tmp_path / "other", "false"))
    assert shown(found) == "test_a.py::test_b[x86_64]: 3 stat.accessed is false, not true"


def test_a_test_that_is_skipped_only_on_the_mutant_differs(tmp_path: Path) -> None:
    good = GoodFacts(tmp_path / "kept")
    good.keep(run_dir(tmp_path / "good", "true"))
    found = good.differences(run_dir(tmp_path / "other", "true", Status.SKIP))
    assert shown(found) == "test_a.py::test_b[x86_64]: gone"


def test_what_a_second_run_does_not_show_was_chance(tmp_path: Path) -> None:
    good = GoodFacts(tmp_path / "kept")
    good.keep(run_dir(tmp_path / "good", "true"))
    found = good.differences(run_dir(tmp_path / "other", "false"))
    assert confirmed(found, found) == found
    assert confirmed(found, ()) == ()
    elsewhere = [dataclasses.replace(found[0], test="another")]
    assert confirmed(found, elsewhere) == ()
    assert shown(()) == ""
