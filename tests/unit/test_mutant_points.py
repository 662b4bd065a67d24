# SPDX-License-Identifier: GPL-2.0
"""Mutations by syntax: their places, and what stands there in the mutant."""

from __future__ import annotations

import pytest

from testbed.inventory.csyntax import parse
from testbed.mutants.harvest import Wish
from testbed.mutants.points import Point, Slip, fields_of, points_of

TEXT = b"""\
static int f(struct vma *v, int n)
{
	if (!n)
		return -EINVAL;
	if (n > 3) {
		n--;
	} else {
		g(v);
	}
	h(v->start);
	v->end = n;
	return 0;
}
"""

STRUCTS = b"""\
struct vma {
	unsigned long start;
	unsigned long end, *last;
	struct file *file;
	struct file *outer;
	int count;
};
"""


def mutants(slip: Slip) -> dict[str, Point]:
    """Return the changed lines of each mutant of one kind."""
    found = {}
    for point in points_of(TEXT, fields_of({"a.h": STRUCTS})):
        if point.slip is slip:
            after = point.applied(TEXT).decode().splitlines()
            pairs = zip(TEXT.decode().splitlines(), after, strict=True)
            found["|".join(new.strip() for old, new in pairs if old != new)] = point
    return found


def test_conditions_are_negated() -> None:
    assert set(mutants(Slip.NEGATED)) == {"if (!(!n))", "if (!(n > 3)) {"}


def test_calls_are_dropped() -> None:
    dropped = [point for point in points_of(TEXT, {}) if point.slip is Slip.DROPPED]
    assert [point.line for point in dropped] == [8, 10]
    assert {point.text for point in dropped} == {b";"}


def test_constants_are_one_more() -> None:
    assert set(mutants(Slip.OFF_BY_ONE)) == {"if (n > (3 + 1)) {", "return (0 + 1);"}


def test_a_field_becomes_another_of_its_type() -> None:
    assert set(mutants(Slip.SWAPPED)) == {"h(v->end);", "v->start = n;"}


def test_only_a_way_out_is_an_error_path() -> None:
    [(text, point)] = mutants(Slip.UNCHECKED).items()
    assert (text, point.function, point.line) == (";|", "f", 3)


def test_neighbours_change_places() -> None:
    assert set(mutants(Slip.REORDERED)) == {"v->end = n;|h(v->start);"}


def test_fields_have_others_of_the_same_type_and_depth() -> None:
    assert fields_of({"a.h": STRUCTS}) == {
        "start": {"end"},
        "end": {"start"},
        "file": {"outer"},
        "outer": {"file"},
    }


def test_a_mutant_keeps_its_lines_and_its_syntax() -> None:
    points = points_of(TEXT, fields_of({"a.h": STRUCTS}))
    assert len({point.name + point.text.decode() for point in points}) == len(points)
    for point in points:
        text = point.applied(TEXT)
        assert text.count(b"\n") == TEXT.count(b"\n")
        assert not parse(text).has_error


@pytest.mark.parametrize(
    ("functions", "wanted"), [((), True), (("compat*",), True), (("do_mmap", "vma_*"), False)]
)
def test_only_points_of_the_wished_functions_are_wanted(
    functions: tuple[str, ...], wanted: bool
) -> None:
    point = Point(Slip.DROPPED, "compat_vma_mmap", 7, 0, 1, b";")
    assert Wish(("mm/util.c",), 4, "1", functions).wants(point) is wanted
