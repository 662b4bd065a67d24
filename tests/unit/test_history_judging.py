# SPDX-License-Identifier: GPL-2.0
"""Classes of tests by their outcomes, signatures of failures, and intervals: without a database."""

from __future__ import annotations

import pytest
from history_parts import ERROR, FAIL, FIXED, MISS, PASS, SKIP, XFAIL

from testbed.history.failure import signature_of
from testbed.history.judging import Entry, Try, is_flaky, standing
from testbed.history.records import Class, Signature, wilson
from testbed.history.streak import ends_of
from testbed.results.model import Status
from testbed.results.reason import normalised

WRONG = Signature("AssertionError", "pgoff is X, not X")


def entries(
    *statuses: Status, content: str = "", signature: Signature | None = None
) -> list[Entry]:
    """Nights of one test, oldest first. Without `content` each is another experiment."""
    last = len(statuses) - 1
    return [
        Entry(place, content or str(place), place == last, status, signature)
        for place, status in enumerate(statuses)
    ]


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        ([FAIL], Class.NEW),
        ([PASS, FAIL], Class.NEW),
        ([PASS, ERROR], Class.NEW),
        ([XFAIL, FAIL], Class.NEW),
        ([FAIL, FAIL], Class.STILL),
        ([FAIL, PASS], Class.FIXED),
        ([FAIL, XFAIL], Class.FIXED),
        ([XFAIL, PASS], Class.FIXED),
        ([XFAIL, FIXED], Class.FIXED),
        ([MISS], Class.INFRA),
        ([PASS, MISS], Class.INFRA),
        ([FAIL, MISS], Class.INFRA),
        ([FAIL, MISS, FAIL], Class.STILL),
        ([PASS, MISS, FAIL], Class.NEW),
        ([FAIL, SKIP, PASS], Class.FIXED),
        ([FAIL, PASS, PASS], None),
        ([PASS], None),
        ([PASS, PASS], None),
        ([PASS, XFAIL], None),
        ([XFAIL, XFAIL], None),
        ([FIXED, FIXED], None),
        ([FAIL, SKIP], None),
        ([PASS, FAIL, PASS], Class.FIXED),
        ([PASS, FAIL, PASS, FAIL], Class.FLAKY),
        ([PASS, FAIL, PASS, FAIL, PASS, PASS], Class.FLAKY),
        ([PASS, FAIL, MISS, PASS, FAIL], Class.FLAKY),
        ([PASS, FAIL, PASS, FAIL, MISS], Class.INFRA),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else str(value),
)
def test_the_class_follows_from_the_outcomes(statuses: list[Status], kind: Class | None) -> None:
    found = standing(entries(*statuses))
    assert (found and found.kind) == kind


def test_another_signature_is_another_failure() -> None:
    before, now = entries(FAIL, FAIL)
    other = Entry(1, "1", True, FAIL, WRONG)
    assert (found := standing([before, other])) is not None
    assert found.kind is Class.OTHERWISE
    assert (same := standing([before, now])) is not None
    assert same.kind is Class.STILL


def test_a_test_without_a_result_of_the_night_has_no_class() -> None:
    assert standing(entries(FAIL, PASS)[:1]) is None
    assert standing([]) is None


def test_equal_experiments_with_both_outcomes_are_flaky() -> None:
    assert is_flaky(entries(PASS, FAIL, content="same"))
    assert not is_flaky(entries(PASS, FAIL))
    assert not is_flaky(entries(FAIL, FAIL, content="same"))


def test_a_miss_is_no_outcome_of_an_equal_experiment() -> None:
    found = standing(entries(FAIL, MISS, FAIL, content="same"))
    assert found is not None
    assert found.kind is Class.STILL


@pytest.mark.parametrize(
    ("tries", "flaky"),
    [
        ([Try(FAIL, True), Try(PASS, True)], True),
        ([Try(FAIL, False), Try(PASS, True)], False),
        ([Try(FAIL, False), Try(PASS, True), Try(FAIL, False)], False),
        ([Try(FAIL, False), Try(PASS, True), Try(PASS, False)], True),
        ([Try(MISS, True), Try(PASS, True)], False),
    ],
)
def test_tries_made_alike_with_both_outcomes_are_flaky(tries: list[Try], flaky: bool) -> None:
    assert is_flaky([Entry(1, "a", True, FAIL, None, tuple(tries))]) is flaky


def test_n_of_m_counts_outcomes_and_the_tries_of_a_cell() -> None:
    past = [
        *entries(PASS, MISS, SKIP, FAIL)[:3],
        Entry(3, "3", True, FAIL, None, (Try(MISS, True), Try(FAIL, True), Try(PASS, True))),
    ]
    found = standing(past)
    assert found is not None
    assert (found.kind, found.bad, found.total) == (Class.FLAKY, 1, 3)


def test_of_two_cells_of_a_night_the_bad_result_counts() -> None:
    past = [Entry(1, "a", False, PASS), Entry(2, "b", True, FAIL), Entry(3, "c", True, PASS)]
    found = standing(past)
    assert found is not None
    assert (found.kind, found.now.cell) == (Class.NEW, 2)
    assert found.before is not None
    assert found.before.cell == 1


KD7 = Signature("", "KD7: calls of close() is N, not N")


@pytest.mark.parametrize(
    ("before", "now", "defect"),
    [
        (Entry(1, "a", False, XFAIL, KD7), Entry(2, "b", True, PASS), "KD7"),
        (
            Entry(1, "a", False, XFAIL, KD7),
            Entry(2, "b", True, FIXED, Signature("", "KD7: fixed in N")),
            "KD7",
        ),
        (Entry(1, "a", False, FAIL, WRONG), Entry(2, "b", True, XFAIL, KD7), "KD7"),
        (
            Entry(1, "a", False, XFAIL, KD7),
            Entry(2, "b", True, FAIL, Signature("", "KD7 did not show on N, where it was")),
            "KD7",
        ),
        (Entry(1, "a", False, XFAIL, KD7), Entry(2, "b", True, FAIL, WRONG), ""),
        (Entry(1, "a", False, XFAIL, KD7), Entry(2, "b", True, MISS), ""),
        (Entry(1, "a", False, FAIL, WRONG), Entry(2, "b", True, PASS), ""),
    ],
)
def test_a_defect_that_no_longer_shows_is_named(before: Entry, now: Entry, defect: str) -> None:
    found = standing([before, now])
    assert found is not None
    assert found.defect == defect


@pytest.mark.parametrize(
    ("statuses", "ends"),
    [
        ([PASS, FAIL, FAIL], (1, 0)),
        ([FAIL, FAIL], (0, None)),
        ([PASS, FAIL, PASS], (1, 0)),
        ([FAIL, PASS, FAIL, MISS, FAIL], (2, 1)),
        ([PASS, PASS], (None, None)),
    ],
)
def test_a_streak_begins_after_the_last_good_outcome(
    statuses: list[Status], ends: tuple[int | None, int | None]
) -> None:
    first, good = ends_of(entries(*statuses))
    assert (first and first.cell, good and good.cell) == ends


@pytest.mark.parametrize(
    ("reason", "title"),
    [
        ("pgoff is 0x0, not 0x1", "pgoff is X, not X"),
        ("oops at ffffffff81234567 in pid 4711", "oops at X in pid N"),
        ("only after 12 tests, at last test_a[x86_64-direct]", None),
        ("log: /tmp/run/vm-x86_64-3/console.log is empty", "log: PATH is empty"),
        ("mm/util.c:1191 differs", "mm/util.c:N differs"),
        ("console of vm-arm64-12 ended", "console of VM ended"),
        (
            "boot of 7.3.4-testbed-0123456789abcdef failed after 61.5 s",
            "boot of N failed after N s",
        ),
        ("KD7: calls of close() is 0, not 1", "KD7: calls of close() is N, not N"),
        ("two  spaces\tand a tab", "two spaces and a tab"),
        ("mmap on /dev/zero fails", "mmap on /dev/zero fails"),
        ("no /sys/kernel/debug/x", "no /sys/kernel/debug/x"),
        ("12kB of 4096 stay after 0.5s", "NkB of N stay after Ns"),
        ("9p and VM_IO2 differ", "9p and VM_IO2 differ"),
    ],
)
def test_a_title_has_nothing_that_differs_from_run_to_run(reason: str, title: str | None) -> None:
    expected = title or "only after N tests, at last test_a[x86_64-direct]"
    assert normalised(reason) == expected


def test_a_title_is_short() -> None:
    signature = signature_of("AssertionError", "word " * 1000)
    assert signature is not None
    assert len(signature.title) == 300


def test_failures_of_one_cause_may_have_further_complaints() -> None:
    plain, more = (
        signature_of("AssertionError", f"Committed_AS is {number} kB{rest}")
        for number, rest in ((8, ""), (16, "; 3 meminfo.Committed_AS differs from the reference"))
    )
    assert plain is not None
    assert more is not None
    assert plain != more
    assert plain.cause == more.cause == "AssertionError: Committed_AS is N kB"


def test_the_class_of_the_error_is_part_of_a_signature() -> None:
    assert signature_of("KernelSplat", "BUG") != signature_of("AssertionError", "BUG")
    assert signature_of("", "") is None
    assert signature_of("GuestLost", "") == Signature("GuestLost", "")


def test_an_interval_of_few_samples_is_wide() -> None:
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    for bad, total, interval in [
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ]:
        low, high = wilson(bad, total)
        assert (round(low, 4), round(high, 4)) == interval
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10)[1] == pytest.approx(1.0)
