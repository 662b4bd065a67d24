# SPDX-License-Identifier: GPL-2.0
"""The page of a check of a driver: does everything hold, and what differs between two versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.check.alike import Alike, alike_changes, alike_complaints, telling
from testbed.check.result import Checked, Conversion, TrialResult, TrialStatus, exit_status
from testbed.pages.site import INDEX, Page, write_pages

# Of a complaint's evidence, which has all facts of a trial.
_EVIDENCE = 20_000  # characters


@dataclass(frozen=True)
class Complaint:
    """Equal complaints of several trials, and the evidence of the first one."""

    text: str
    where: str
    evidence: str


@dataclass(frozen=True)
class Side:
    """One version of a driver on one architecture."""

    title: str  # before, after, or empty
    checked: Checked
    complaints: tuple[Complaint, ...]

    @property
    def table(self) -> dict[str, Counter[TrialStatus]]:
        """The number of trials by path and status."""
        counts: dict[str, Counter[TrialStatus]] = {}
        for outcome in self.checked.outcomes:
            counts.setdefault(outcome.path, Counter())[outcome.status] += 1
        return counts

    @property
    def skipped(self) -> dict[str, list[str]]:
        """The trials that were skipped, by reason."""
        found: dict[str, list[str]] = {}
        for outcome in self.checked.outcomes:
            if outcome.skipped and outcome.trial not in found.setdefault(outcome.skipped, []):
                found[outcome.skipped].append(outcome.trial)
        return found


@dataclass(frozen=True)
class Part:
    """The result on one architecture: one version, or two and their differences."""

    sides: tuple[Side, ...]
    differences: tuple[Alike, ...] = ()
    compared: int = 0  # trials


def write_check_site(folder: Path, found: Sequence[Checked | Conversion]) -> Path:
    """Write the page of a check into its folder, and return it.

    Raises:
        InfraError: the host cannot write, for example because the disk is full.
    """
    write_pages(folder, pages(found))
    return folder / INDEX


def pages(found: Sequence[Checked | Conversion]) -> Iterator[Page]:
    parts = [part_of(each) for each in found]
    values = {
        "parts": parts,
        "headline": headline(parts),
        "todo": list(todo(parts)),
        "good": exit_status(found) == 0,
        "statuses": list(TrialStatus),
    }
    yield Page(INDEX, "check.html", headline(parts), values)


def part_of(found: Checked | Conversion) -> Part:
    """Return what the page shows of a result."""
    if isinstance(found, Checked):
        return Part((_side("", found),))
    differences = alike_changes(
        (change, (each.trial, each.path))
        for each in found.differences
        for change in telling(each.changes)
    )
    sides = (_side("before", found.before), _side("after", found.after))
    return Part(sides, tuple(differences), len(found.after.outcomes))


def headline(parts: Sequence[Part]) -> str:
    """Return one line that says whether there is something to do."""
    failed = sum(len(part.sides[-1].checked.failed) for part in parts)
    differing = sum(len(each.places) for part in parts for each in part.differences)
    listed = [f"{failed} {'trial fails' if failed == 1 else 'trials fail'}"] if failed else []
    noun = "difference" if differing == 1 else "differences"
    listed += [f"{differing} {noun}"] if differing else []
    return " and ".join(listed) or "everything holds"


def todo(parts: Sequence[Part]) -> Iterator[str]:
    """Yield what a person should do, the most urgent first."""
    failed = any(part.sides[-1].checked.failed for part in parts)
    if failed:
        yield "An invariant does not hold that is true of every correct driver."
    if any(part.differences for part in parts):
        yield "Programs can see a difference between both versions: is it meant?"
    elif not failed and len(parts[0].sides) == 2:
        yield "There is nothing to do: no program can see a difference."
    elif not failed:
        yield "There is nothing to do."


def _side(title: str, checked: Checked) -> Side:
    groups = alike_complaints(
        (complaint, (outcome.trial, outcome.path))
        for outcome in checked.failed
        for complaint in outcome.complaints
    )
    complaints = (
        Complaint(str(group.example), group.where, _evidence(checked.failed, group))
        for group in groups
    )
    return Side(title, checked, tuple(complaints))


def _evidence(failed: Sequence[TrialResult], group: Alike) -> str:
    """Return the evidence of the first trial of a group."""
    first = next(each for each in failed if (each.trial, each.path) == group.places[0])
    return first.evidence[:_EVIDENCE]
