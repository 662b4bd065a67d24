# SPDX-License-Identifier: GPL-2.0
"""The measurements as values: figures with their spread, and their reference values."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.quantities import QUANTITIES, Against, Quantity, Unit


@dataclass(frozen=True)
class Figure:
    """All samples of one quantity."""

    arch: str
    quantity: Quantity
    at_once: int  # how many VMs ran at a time
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def low(self) -> float:
        return min(self.samples)

    @property
    def high(self) -> float:
        return max(self.samples)

    @property
    def label(self) -> str:
        """The quantity, and how many VMs ran at a time."""
        times = f", {self.at_once} at a time" if self.at_once > 1 else ""
        return self.quantity.what + times

    @property
    def reached(self) -> bool | None:
        """Whether the limit is reached; None without a limit."""
        limit = self.quantity.limit
        return None if limit is None else self.median <= limit


@dataclass(frozen=True)
class RelativeValue:
    """A figure's median, relative to the median of another figure."""

    how: Against
    value: float
    unit: Unit
    other: str

    def __str__(self) -> str:
        if self.how is Against.RATIO:
            return f"{self.value:.2f} times {self.other}"
        sign = "+" if self.value >= 0 else "-"
        return f"{sign}{self.unit.show(abs(self.value))} vs {self.other}"

    def as_json(self) -> dict[str, Any]:
        return {"how": self.how.value, "value": self.value, "other": self.other}


class Samples:
    """The measurements so far."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, Quantity, int], list[float]] = {}

    def add(self, arch: str, quantity: Quantity, *values: float, at_once: int = 1) -> None:
        self._samples.setdefault((arch, quantity, at_once), []).extend(values)

    def figures(self) -> list[Figure]:
        """Return the figures by architecture, and then in the order of `QUANTITIES`."""
        found = [Figure(*key, tuple(values)) for key, values in self._samples.items()]
        arches = list(dict.fromkeys(figure.arch for figure in found))
        return sorted(
            found,
            key=lambda each: (
                arches.index(each.arch),
                QUANTITIES.index(each.quantity),
                each.at_once,
            ),
        )


def compare(figure: Figure, figures: Iterable[Figure]) -> RelativeValue | None:
    """Compare a figure with the one that its quantity names, or several at a time with one.

    None if that one was not measured on the same architecture.
    """
    quantity = figure.quantity
    how, what, shown = quantity.how, quantity.against, quantity.against
    if figure.at_once > 1:
        how, what, shown = Against.RATIO, quantity.what, "one at a time"
    for other in figures:
        if (other.arch, other.quantity.what, other.at_once) == (figure.arch, what, 1):
            return RelativeValue(
                how, how.value_of(figure.median, other.median), quantity.unit, shown
            )
    return None


def table_lines(figures: Sequence[Figure]) -> Iterator[str]:
    """Yield a table for each architecture, with a line for each figure."""
    rows = {figure: _row(figure, figures) for figure in figures}
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows.values(), strict=True)]
    for arch in dict.fromkeys(figure.arch for figure in figures):
        yield _line((arch, *_COLUMNS[1:]), widths)
        for figure in figures:
            if figure.arch == arch:
                yield _line(rows[figure], widths)


def missed_line(figures: Iterable[Figure]) -> str:
    """Return one line on the limits of these figures."""
    limited = [figure for figure in figures if figure.reached is not None]
    missed = [f"{figure.label} ({figure.arch})" for figure in limited if not figure.reached]
    words = f"{len(limited) - len(missed)} of {len(limited)} limits are reached"
    return f"{words}; missed: {', '.join(missed)}" if missed else words


def limit_words(figure: Figure) -> str:
    """Return what a reader must know of a figure's limit; empty without one."""
    limit = figure.quantity.limit
    if limit is None:
        return ""
    times = f"{figure.median / limit:.2f} times the " if limit else ""
    shown = figure.quantity.unit.show(limit)
    return f"{times}limit of {shown}: {'reached' if figure.reached else 'missed'}"


_COLUMNS = ("", "median", "min", "max", "samples", "")


def _row(figure: Figure, figures: Sequence[Figure]) -> tuple[str, ...]:
    shown = (figure.quantity.unit.show(v) for v in (figure.median, figure.low, figure.high))
    words = (str(compare(figure, figures) or ""), limit_words(figure))
    compared = "; ".join(filter(None, words))
    return (f"  {figure.label}", *shown, str(len(figure.samples)), compared)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """Return a line of the table. The name is left-aligned, the numbers are right-aligned."""
    numbers = (f"{cell:>{width}}" for cell, width in zip(row[1:-1], widths[1:-1], strict=True))
    return "  ".join((f"{row[0]:{widths[0]}}", *numbers, row[-1])).rstrip()


def as_json(figures: Sequence[Figure], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures for programs, in the base of their units."""
    return {**about, "figures": [_figure_json(figure, figures) for figure in figures]}


def _figure_json(figure: Figure, figures: Sequence[Figure]) -> dict[str, Any]:
    relative = compare(figure, figures)
    return {
        "arch": figure.arch,
        "group": figure.quantity.group,
        "what": figure.quantity.what,
        "at_once": figure.at_once,
        "unit": figure.quantity.unit.base,
        "median": figure.median,
        "min": figure.low,
        "max": figure.high,
        "samples": figure.samples,
        "against": relative and relative.as_json(),
        "limit": figure.quantity.limit,
        "reached": figure.reached,
    }
