# SPDX-License-Identifier: GPL-2.0
"""A history: what is recorded, and what nights say. On SQLite, and on PostgreSQL if it is there."""

from __future__ import annotations

import dataclasses

import pytest
from history_parts import FAIL, LANE, MISS, PASS, SKIP, XFAIL, Nights, case

from testbed.errors import InfraError
from testbed.history import acceptance, cells, queries, store
from testbed.history.database import History
from testbed.history.records import CellRecord, Class, Signature
from testbed.results.model import Attempt, Run, Status

WRONG = Signature("", "pgoff is X, not X")


@pytest.fixture
def nights(history: History) -> Nights:
    return Nights(history)


def test_a_cell_is_recorded_once(nights: Nights) -> None:
    first = nights.add(case("a"), case("b", FAIL), content="x")
    with nights.history.write() as db:
        run = Run(name="r", command="c", started="s", cases=(case("a", FAIL),))
        again = store.record_cell(db, nights.runs[0], LANE, CellRecord(content="x", run=run))
    assert again == store.Recorded(first, is_new=False)
    with nights.history.read() as db:
        assert [each.id for each in cells.cells_of(db, nights.runs[0])] == [first]
        assert queries.tallies(db, first) == {("direct", PASS): 1, ("direct", FAIL): 1}


def test_a_run_is_begun_once(nights: Nights) -> None:
    with nights.history.write() as db:
        one = store.begin_run(db, "night", matrix="m", command="c", started="s")
        assert store.begin_run(db, "night") == one
        assert store.begin_run(db, "other") != one
    with nights.history.read() as db:
        assert cells.run_named(db, "night") == one
        assert cells.last_run(db, "m") == one
        assert cells.last_run(db, "absent") is None


def test_an_error_leaves_nothing_of_a_transaction(nights: Nights) -> None:
    with pytest.raises(RuntimeError), nights.history.write() as db:  # noqa: PT012
        run = store.begin_run(db, "night")
        content = CellRecord(
            content="x", run=Run(name="r", command="c", started="s", cases=(case("a"),))
        )
        store.record_cell(db, run, LANE, content)
        raise RuntimeError
    with nights.history.read() as db:
        assert cells.last_run(db) is None
        assert cells.lanes(db) == {}


def test_a_cell_keeps_what_a_night_needs(nights: Nights) -> None:
    cell = nights.add(case("a"), content="x", kernel="7.3.4")
    with nights.history.read() as db:
        found = cells.cell_of(db, cell)
        assert cells.known_cell(db, "x", matrix="nightly", stream=LANE.stream) == found
        assert cells.known_cell(db, "x", stream="another") is None
        assert cells.known_cell(db, "y") is None
        assert cells.newest_cells(db, "nightly") == [found]
    assert (found.lane, found.seq, found.kernel) == (LANE, 1, "7.3.4")
    assert (found.run_name, found.artifact) == ("night-1", "artifact-1")
    assert found.environment["qemu"] == "10.0.2"


def test_only_cases_of_the_lanes_architecture_are_recorded(nights: Nights) -> None:
    other = Run(
        name="r",
        command="c",
        started="s",
        cases=(case("a"), type(case("b"))(test="b", arch="arm64", status=FAIL)),
    )
    with nights.history.write() as db:
        run = store.begin_run(db, "night")
        cell = store.record_cell(db, run, LANE, CellRecord(content="x", run=other)).cell
        assert queries.tallies(db, cell) == {("direct", PASS): 1}


def test_the_classes_of_a_night(nights: Nights) -> None:
    nights.add_statuses(
        {"well": PASS, "new": PASS, "still": FAIL, "fixed": FAIL, "gone": PASS, "known": XFAIL},
        {"well": PASS, "new": FAIL, "still": FAIL, "fixed": PASS, "lost": MISS, "known": XFAIL},
    )
    assert nights.kinds() == {
        "new": "new",
        "still": "still",
        "fixed": "fixed",
        "gone": "gone",
        "lost": "infra",
    }
    assert [found.kind for found in nights.findings()] == [
        Class.NEW,
        Class.STILL,
        Class.GONE,
        Class.FIXED,
        Class.INFRA,
    ]


def test_a_finding_names_the_first_bad_and_the_last_good_cell(nights: Nights) -> None:
    nights.add_statuses({"a": PASS}, {"a": PASS}, {"a": FAIL}, {"a": FAIL})
    found = nights.only()
    assert (found.kind, found.bad, found.total) == (Class.STILL, 2, 4)
    assert found.first_bad is not None
    assert found.last_good is not None
    assert (found.first_bad.kernel, found.first_bad.run) == ("7.3.3", "night-3")
    assert (found.last_good.kernel, found.last_good.artifact) == ("7.3.2", "artifact-2")
    assert found.signature == found.before_signature == WRONG


def test_a_streak_may_be_longer_than_the_window(nights: Nights) -> None:
    nights.add_statuses(
        {"a": FAIL, "b": FAIL}, {"a": PASS, "b": FAIL}, *[{"a": FAIL, "b": FAIL}] * 4
    )
    found = {each.test: each for each in nights.findings(window=2)}
    assert found["a"].first_bad is not None
    assert found["a"].last_good is not None
    assert (found["a"].first_bad.seq, found["a"].last_good.seq) == (3, 2)
    assert found["b"].first_bad is not None
    assert (found["b"].first_bad.seq, found["b"].last_good) == (1, None)


def test_another_reason_is_another_failure(nights: Nights) -> None:
    nights.add(case("a", FAIL, "pgoff is 0x0, not 0x1"))
    nights.add(case("a", FAIL, "pgoff is 0x4, not 0x9"))
    assert nights.only().kind is Class.STILL
    nights.add(case("a", FAIL, "the VMA is gone"))
    found = nights.only()
    assert (found.kind, found.before_signature) == (Class.OTHERWISE, WRONG)


def test_equal_experiments_with_both_outcomes_are_flaky(nights: Nights) -> None:
    nights.add(case("a"), content="x")
    nights.add(case("a", FAIL), content="x")
    found = nights.only()
    assert (found.kind, found.bad, found.total) == (Class.FLAKY, 1, 2)
    nights.add(case("a"))
    assert nights.only().kind is Class.FLAKY


def test_a_lane_knows_nothing_of_another_lane(nights: Nights) -> None:
    nights.add(case("a"))
    other = type(LANE)(matrix="nightly", stream="debian:7.2", arch="x86_64")
    nights.add(case("a", FAIL), lane=other)
    found = nights.only()
    assert (found.kind, found.lane, found.before) == (Class.NEW, other, None)


def test_a_partial_cell_leaves_tests_out_on_purpose(nights: Nights) -> None:
    nights.add(case("a"), case("b"))
    nights.add(case("a", FAIL), partial=True)
    assert nights.kinds() == {"a": "new"}
    nights.add(case("a", FAIL))
    assert nights.kinds() == {"a": "still", "b": "gone"}


def test_cells_of_one_lane_and_night_are_judged_together(nights: Nights) -> None:
    nights.add(case("a"), case("b"))
    nights.add(case("a"), case("b"))
    nights.add(case("b", FAIL), partial=True, same_night=True)
    assert nights.kinds() == {"b": "new"}


def test_a_skip_of_a_test_that_ran_is_gone_with_its_reason(nights: Nights) -> None:
    nights.add(case("a"))
    nights.add(case("a", SKIP, "the kernel is built without CONFIG_CODA_FS"))
    found = nights.only()
    assert (found.kind, found.status) == (Class.GONE, SKIP)
    assert found.signature == Signature("", "the kernel is built without CONFIG_CODA_FS")


def test_a_lane_that_was_not_run_has_the_findings_of_its_last_results(nights: Nights) -> None:
    nights.add(case("a"), case("b", FAIL))
    nights.add(case("a", FAIL), case("b"), content="x")
    assert nights.kinds() == {"a": "new", "b": "fixed"}
    nights.add_known("x")
    assert nights.kinds() == {"a": "still"}
    nights.add_known("z")
    assert nights.kinds() == {}


def test_a_known_result_counts_as_that_of_tonight(nights: Nights) -> None:
    """A defect that is taken out again leaves the kernel of the night before it."""
    nights.add(case("a"), case("b", FAIL), content="good")
    nights.add(case("a", FAIL), case("b", FAIL), content="bad")
    nights.add_known("good")
    assert nights.kinds() == {"a": "fixed", "b": "still"}
    nights.add_known("good")
    assert nights.kinds() == {"b": "still"}
    nights.add_known("bad")
    assert nights.kinds() == {"a": "new", "b": "still"}
    nights.add_known("bad")
    assert nights.kinds() == {"a": "still", "b": "still"}
    nights.add(case("a"), case("b"), content="better")
    assert nights.kinds() == {"a": "fixed", "b": "fixed"}


def test_the_results_of_another_lane_may_stand_for_a_cell(nights: Nights) -> None:
    other = dataclasses.replace(LANE, matrix="weekly")
    nights.add(case("a"), lane=other)
    nights.add(case("a", FAIL), content="x", lane=other)
    nights.add_known("x")
    found = nights.only()
    assert (found.kind, found.lane) == (Class.NEW, LANE)
    with nights.history.read() as db:
        (lane,) = queries.night(db, nights.runs[-1])
    assert (lane.lane, lane.counts) == (LANE, {FAIL: 1})


def test_a_confirmation_that_passes_makes_a_failure_flaky(nights: Nights) -> None:
    nights.add(case("a"))
    cell = nights.add(case("a", FAIL))
    assert nights.only().kind is Class.NEW
    with nights.history.write() as db:
        again = {"a": Attempt(status=PASS, alone=True, seconds=2.0)}
        assert store.add_attempts(db, cell, "again", again)
        assert not store.add_attempts(db, cell, "again", again)
    found = nights.only()
    assert (found.kind, found.bad, found.total) == (Class.FLAKY, 1, 3)
    with nights.history.read() as db:
        (_, outcome) = queries.past(db, found.lane_id, "a")
    assert [each.status for each in (outcome.verdict, *outcome.tries)] == [FAIL, FAIL, PASS]
    assert outcome.both


def test_a_confirmation_that_fails_too_leaves_a_failure_new(nights: Nights) -> None:
    nights.add(case("a"))
    cell = nights.add(case("a", FAIL))
    with nights.history.write() as db:
        for content in ("alone", "pristine"):
            again = {"a": Attempt(status=FAIL, alone=True, reason="again")}
            assert store.add_attempts(db, cell, content, again)
    found = nights.only()
    assert (found.kind, found.bad, found.total) == (Class.NEW, 3, 4)


def test_a_confirmation_needs_a_result(nights: Nights) -> None:
    cell = nights.add(case("a"))
    with pytest.raises(InfraError, match="no result of absent"), nights.history.write() as db:
        store.add_attempts(db, cell, "x", {"absent": Attempt(status=PASS, alone=True)})


def test_tries_of_a_run_are_recorded(nights: Nights) -> None:
    tries = (
        Attempt(status=MISS, alone=True, error="LaunchError", reason="no QEMU"),
        Attempt(status=PASS, alone=True, seconds=1.0),
    )
    nights.add(case("a", tries=tries))
    with nights.history.read() as db:
        (outcome,) = queries.past(db, 1, "a")
    assert [each.status for each in outcome.tries] == [MISS, PASS]
    assert outcome.tries[0].signature == Signature("LaunchError", "no QEMU")
    assert not outcome.both
    assert nights.findings() == []


def facts(value: str, script: str = "s") -> dict[str, dict[str, dict[str, str]]]:
    return {"a": {script: {"vma.0": value}}}


def test_changed_facts_stay_until_they_are_accepted(nights: Nights) -> None:
    nights.add(case("a"), facts=facts("rw"))
    assert nights.findings() == []
    nights.add(case("a"), facts=facts("ro"))
    found = nights.only()
    assert (found.kind, found.status) == (Class.CHANGED, PASS)
    assert found.baseline is not None
    assert found.baseline.artifact == "artifact-1"
    nights.add(case("a"), facts=facts("ro"))
    assert nights.kinds() == {"a": "changed"}
    with nights.history.write() as db:
        changes = acceptance.pending(db)
        assert [(each.test, each.lane) for each in changes] == [("a", LANE)]
        acceptance.accept(db, changes, reason="the flag is new", who="me")
        assert acceptance.pending(db) == []
    assert nights.findings() == []
    nights.add(case("a"), facts=facts("rw"))
    assert nights.kinds() == {"a": "changed"}


def test_changed_facts_go_when_the_old_ones_return(nights: Nights) -> None:
    nights.add(case("a"), facts=facts("rw"))
    nights.add(case("a"), facts=facts("ro"))
    nights.add(case("a"), facts=facts("rw"))
    assert nights.findings() == []
    with nights.history.read() as db:
        assert acceptance.pending(db) == []


def test_facts_of_other_scripts_are_not_compared(nights: Nights) -> None:
    nights.add(case("a"), facts=facts("rw", "one"))
    nights.add(case("a"), facts=facts("ro", "two"))
    assert nights.findings() == []
    nights.add(case("a"), facts=facts("rw", "two"))
    assert nights.kinds() == {"a": "changed"}


def test_facts_of_a_bad_test_are_no_change(nights: Nights) -> None:
    nights.add(case("a"), facts=facts("rw"))
    nights.add(case("a", FAIL), facts=facts("ro"))
    assert nights.kinds() == {"a": "new"}
    nights.add(case("a"), facts=facts("rw"))
    assert nights.kinds() == {"a": "fixed"}


def test_an_overview_has_counts_and_a_trend(nights: Nights) -> None:
    nights.add_statuses(
        {"a": PASS, "b": FAIL}, {"a": FAIL, "b": FAIL}, {"a": PASS, "b": PASS, "c": XFAIL}
    )
    with nights.history.read() as db:
        (lane,) = queries.night(db, nights.runs[-1])
        (shorter,) = queries.night(db, nights.runs[-1], nights=2)
        (earlier,) = queries.night(db, nights.runs[0])
    assert (lane.lane, lane.counts, lane.trend) == (LANE, {PASS: 2, XFAIL: 1}, (1, 2, 0))
    assert shorter.trend == (2, 0)
    assert (earlier.counts, earlier.trend) == ({PASS: 1, FAIL: 1}, (1,))


def test_an_overview_of_a_lane_that_was_not_run_has_the_known_counts(nights: Nights) -> None:
    nights.add(case("a", FAIL), content="x")
    nights.add(case("a"), content="y")
    nights.add_known("x")
    with nights.history.read() as db:
        (lane,) = queries.night(db, nights.runs[-1])
    assert (lane.counts, lane.trend) == ({FAIL: 1}, (1, 0))


def test_a_strip_has_a_square_for_each_cell(nights: Nights) -> None:
    nights.add_statuses({"a": PASS}, {"b": PASS}, {"a": FAIL})
    cell = nights.add(case("a", FAIL))
    with nights.history.write() as db:
        store.add_attempts(db, cell, "again", {"a": Attempt(status=PASS, alone=True)})
    with nights.history.read() as db:
        found = queries.strips(db, 1, ["a", "absent"], until=4)
        last = queries.strips(db, 1, ["a"], until=3, count=2)
    assert list(found) == ["a"]
    assert [(each.seq, each.status, each.both) for each in found["a"]] == [
        (1, PASS, False),
        (2, None, False),
        (3, FAIL, False),
        (4, FAIL, True),
    ]
    assert [each.seq for each in last["a"]] == [2, 3]


def test_the_past_of_a_test_has_its_kernels_and_reasons(nights: Nights) -> None:
    nights.add_statuses({"a": PASS}, {"a": FAIL}, {"b": PASS})
    with nights.history.read() as db:
        good, bad = queries.past(db, 1, "a")
        (last,) = queries.past(db, 1, "a", count=2)
        assert queries.past(db, 1, "absent") == []
        assert queries.lanes_of(db, "a") == {1: LANE}
    assert (good.verdict.status, good.cell.kernel) == (PASS, "7.3.1")
    assert (bad.verdict.signature, bad.verdict.seconds) == (WRONG, 1.5)
    assert last == bad


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("oracle", ["test_oracle.py::a[x_1]", "test_oracle.py::b[x11]"]),
        ("[x_1]", ["test_oracle.py::a[x_1]"]),
        ("oracle*x11", ["test_oracle.py::b[x11]"]),
        ("100%", []),
        (r"\x", []),
    ],
)
def test_a_pattern_is_a_text_in_which_a_star_stands_for_anything(
    nights: Nights, pattern: str, found: list[str]
) -> None:
    nights.add(case("test_oracle.py::a[x_1]"), case("test_oracle.py::b[x11]"), case("other"))
    with nights.history.read() as db:
        assert queries.matching_tests(db, pattern) == found


def test_nights_are_ordered_by_number_though_clocks_jump(nights: Nights) -> None:
    with nights.history.write() as db:
        for started, status in (("2026-11-30", PASS), ("2020-01-01", FAIL)):
            run = store.begin_run(db, started, started=started)
            content = Run(name="r", command="c", started=started, cases=(case("a", status),))
            store.record_cell(db, run, LANE, CellRecord(content=started, run=content))
            nights.runs.append(run)
    assert nights.kinds() == {"a": "new"}


def test_all_statuses_survive(nights: Nights) -> None:
    nights.add(*(case(status, status) for status in Status))
    with nights.history.read() as db:
        for status in Status:
            (outcome,) = queries.past(db, 1, status)
            assert outcome.verdict.status is status
