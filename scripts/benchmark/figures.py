# SPDX-License-Identifier: GPL-2.0
"""The measurements as values: figures with their spread, and their reference values."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Unit(Enum):
    """A unit of display: its name, its size in seconds or bytes, the digits after the point."""

    SECONDS = ("s", 1.0, 2)
    MILLISECONDS = ("ms", 1e-3, 1)
    MEGABYTES = ("MB", 1e6, 1)

    def show(self, value: float) -> str:
        name, size, digits = self.value
        return f"{value / size:.{digits}f} {name}"


class Against(Enum):
    """The way in which a figure is compared with another one."""

    RATIO = "ratio"
    DIFFERENCE = "difference"

    def value_of(self, ours: float, theirs: float) -> float:
        return ours / theirs if self is Against.RATIO else ours - theirs


@dataclass(frozen=True)
class Quantity:
    """A measured quantity, in seconds or bytes."""

    group: str  # the quantities of a group are drawn to one scale
    what: str
    unit: Unit = Unit.SECONDS
    against: str = ""  # the quantity to compare it with, if that was measured
    how: Against = Against.RATIO


CYCLE = "From nothing"
PEER = Quantity(CYCLE, "virtme-ng, one command")
BOOT = Quantity(CYCLE, "boot to first answer", against=PEER.what)
BOOT_DISKS = Quantity(CYCLE, "boot to first answer, with disks", against=PEER.what)
CLONE_PROBE = Quantity(CYCLE, "clone to first probe result", against=PEER.what)
POOL_PROBE = Quantity(CYCLE, "prepared clone to first probe result", against=PEER.what)

CLONING = "Clone to running kernel"
CLONE_RUNS = Quantity(CLONING, "clone to running kernel", Unit.MILLISECONDS)
CLONE_QEMU = Quantity(CLONING, "part of it: start of QEMU", Unit.MILLISECONDS)
CLONE_LOAD = Quantity(CLONING, "part of it: loading the state", Unit.MILLISECONDS)
CLONE_RESEED = Quantity(CLONING, "after it: reseeding", Unit.MILLISECONDS)

SESSION = "In a warm session"
PROBE = Quantity(SESSION, "one probe", Unit.MILLISECONDS)
PROBES = Quantity(SESSION, "probes back to back, each", Unit.MILLISECONDS)
EMPTY = Quantity(SESSION, "one empty probe", Unit.MILLISECONDS)
ROUND_TRIP = Quantity(SESSION, "round trip to the agent", Unit.MILLISECONDS)

MEMORY = "Memory of a clone after one probe"
PSS = Quantity(MEMORY, "PSS of a clone", Unit.MEGABYTES)

SUITE = "Tests: time of each further test"
SHARED = Quantity(SUITE, "one VM for all", Unit.MILLISECONDS)
CLONES = Quantity(SUITE, "a clone for each", Unit.MILLISECONDS, SHARED.what, Against.DIFFERENCE)
PARALLEL = dataclasses.replace(CLONES, what="a clone for each, -n auto")
BOOTS = dataclasses.replace(CLONES, what="a boot for each")

COMMAND = "A whole command"
RUN = Quantity(COMMAND, "testbed run, warm")

BUILD = "Building a kernel"
MAKE_ALL = Quantity(BUILD, "make, from nothing")
OUR_ALL = Quantity(BUILD, "testbed, from nothing", against=MAKE_ALL.what)
STEP = "Building a kernel again, one C file changed"
MAKE_STEP = Quantity(STEP, "make, one file changed")
OUR_STEP = Quantity(STEP, "testbed, one file changed", against=MAKE_STEP.what)

# In the order of the table.
QUANTITIES = (
    *(PEER, BOOT, BOOT_DISKS, CLONE_PROBE, POOL_PROBE),
    *(CLONE_RUNS, CLONE_QEMU, CLONE_LOAD, CLONE_RESEED),
    *(PROBE, PROBES, EMPTY, ROUND_TRIP, PSS),
    *(SHARED, CLONES, PARALLEL, BOOTS, RUN),
    *(MAKE_ALL, OUR_ALL, MAKE_STEP, OUR_STEP),
)


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


_COLUMNS = ("", "median", "min", "max", "samples", "")


def _row(figure: Figure, figures: Sequence[Figure]) -> tuple[str, ...]:
    shown = (figure.quantity.unit.show(v) for v in (figure.median, figure.low, figure.high))
    compared = str(compare(figure, figures) or "")
    return (f"  {figure.label}", *shown, str(len(figure.samples)), compared)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """Return a line of the table. The name is left-aligned, the numbers are right-aligned."""
    numbers = (f"{cell:>{width}}" for cell, width in zip(row[1:-1], widths[1:-1], strict=True))
    return "  ".join((f"{row[0]:{widths[0]}}", *numbers, row[-1])).rstrip()


def as_json(figures: Sequence[Figure], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures for programs, in seconds and bytes."""
    return {**about, "figures": [_figure_json(figure, figures) for figure in figures]}


def _figure_json(figure: Figure, figures: Sequence[Figure]) -> dict[str, Any]:
    relative = compare(figure, figures)
    return {
        "arch": figure.arch,
        "group": figure.quantity.group,
        "what": figure.quantity.what,
        "at_once": figure.at_once,
        "unit": "bytes" if figure.quantity.unit is Unit.MEGABYTES else "seconds",
        "median": figure.median,
        "min": figure.low,
        "max": figure.high,
        "samples": figure.samples,
        "against": relative and relative.as_json(),
    }
