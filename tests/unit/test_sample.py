# SPDX-License-Identifier: GPL-2.0
"""A part of the tests: by name, or a share that a seed chooses."""

from __future__ import annotations

from testbed.suite.selection import Sample

TESTS = [f"tests/vm/contract/test_a.py::test_b[{number}]" for number in range(2000)]


def taken(sample: Sample) -> set[str]:
    return {test for test in TESTS if sample.takes(test)}


def test_without_limits_it_takes_all() -> None:
    assert taken(Sample()) == set(TESTS)


def test_a_share_is_about_as_large_as_asked_for() -> None:
    assert 150 < len(taken(Sample(part=0.1, seed="7"))) < 250


def test_a_seed_chooses_the_same_tests_again_and_another_seed_others() -> None:
    one = taken(Sample(part=0.1, seed="7"))
    assert one == taken(Sample(part=0.1, seed="7"))
    assert len(one & taken(Sample(part=0.1, seed="8"))) < len(one) / 2


def test_a_smaller_share_is_a_part_of_a_larger_one() -> None:
    assert taken(Sample(part=0.1, seed="7")) < taken(Sample(part=0.3, seed="7"))


def test_names_choose_exactly() -> None:
    assert taken(Sample(only=TESTS[3:5])) == set(TESTS[3:5])
