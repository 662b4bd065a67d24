# SPDX-License-Identifier: GPL-2.0
"""Conditions of the preprocessor."""

from __future__ import annotations

import pytest

from testbed.inventory.conditions import exclude, joined, negated


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A", "!A"),
        ("A && B", "C && !A"),
        ("defined(A)", "!defined(A)"),
        ("A", "!defined(A)"),
        ("defined A", "!defined (A)"),
        ("IS_ENABLED(A)", "!IS_ENABLED(A)"),
        ("A && B", "!(A && B)"),
        ("A && B && C", "!(A && B)"),
        ("A || B", "!A && !B"),
        ("!(A || B)", "A"),
        ("X < 3", "X >= 3"),
        ("X <= 3", "X>3"),
        ("X == 3", "X != 3"),
        ("V >= VERSION(6, 17, 0)", "!(V >= VERSION(6,17,0))"),
        ("((A))", "!(A)"),
        ("A", "!(A || (B && C))"),
    ],
)
def test_conditions_that_exclude_each_other(one: str, other: str) -> None:
    assert exclude(one, other)
    assert exclude(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("", ""),
        ("", "A"),
        ("A", "A"),
        ("A", "B"),
        ("A", "!(A && B)"),
        ("A || B", "!A"),
        ("!A", "!B"),
        ("X < 3", "X < 4"),
        ("X < 3", "Y >= 3"),
        ("!A || B", "A"),
        ("(A) && (B)", "!C"),
        ("A )", "("),
    ],
)
def test_conditions_that_may_both_hold(one: str, other: str) -> None:
    assert not exclude(one, other)
    assert not exclude(other, one)


def test_conditions_are_joined_and_negated() -> None:
    assert joined(["A || B", "", "C"]) == "(A || B) && C"
    assert joined(["A || B"]) == "A || B"
    assert joined([]) == ""
    assert list(map(negated, ("A", "!A", "defined(A)", "A && B"))) == [
        *("!A", "A", "!defined(A)", "!(A && B)")
    ]
