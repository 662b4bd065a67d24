# SPDX-License-Identifier: GPL-2.0
"""Cells that follow from the findings of a night: confirmations and searches. Pure: no I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from testbed.history.records import BAD, Finding
from testbed.kernel.revision import tree_of
from testbed.nightly.bisect_cell import BAD as BAD_END
from testbed.nightly.bisect_cell import GOOD as GOOD_END
from testbed.nightly.cell import Cell
from testbed.nightly.kinds import BISECT, KINDS
from testbed.nightly.planner import derived
from testbed.settings import Isolation

# Returns the cell of the night that a finding is about.
CellOf = Callable[[Finding], Cell | None]


def confirmations(findings: Sequence[Finding], cell_of: CellOf, most: int) -> Iterator[Cell]:
    """Yield a cell for each cell of the night with new failures: it tries them again, alone.

    Of many failures, `most` are tried: first one of each cause.
    """
    failed: dict[str, list[Finding]] = defaultdict(list)
    cells: dict[str, Cell] = {}
    for finding in findings:
        cell = cell_of(finding) if finding.kind.wants_attention and finding.status in BAD else None
        if cell is not None and not cell.confirms and KINDS[cell.kind].repeatable:
            cells[cell.content] = cell
            failed[cell.content].append(finding)
    for content, cell in cells.items():
        yield derived(
            cell,
            expression="",
            part=1.0,
            only=tuple(finding.test for finding in _varied(failed[content])[:most]),
            isolation=Isolation.BOOT,
            confirms=content,
        )


def _varied(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings with the first of each cause first, then the second of each."""
    places: dict[str, int] = defaultdict(int)
    ranked = []
    for finding in findings:
        cause = _cause(finding)
        ranked.append((places[cause], finding))
        places[cause] += 1
    return [finding for _, finding in sorted(ranked, key=lambda pair: pair[0])]


def bisections(findings: Sequence[Finding], cell_of: CellOf) -> Iterator[Cell]:
    """Yield a cell for each new failure of a git stream: it searches the commit.

    Failures with one cause between the same commits are searched once.
    """
    searched = set()
    for finding in findings:
        if not finding.kind.wants_attention or not (finding.last_good and finding.first_bad):
            continue
        ends = finding.last_good.commit, finding.first_bad.commit
        cell = cell_of(finding)
        if cell is None or not _has_history(cell) or not all(ends) or ends[0] == ends[1]:
            continue
        if (ends, _cause(finding)) not in searched:
            searched.add((ends, _cause(finding)))
            params = {GOOD_END: ends[0], BAD_END: ends[1]}
            yield derived(cell, kind=BISECT, only=(finding.test,), params=params)


def _cause(finding: Finding) -> str:
    return finding.signature.cause if finding.signature else finding.test


def _has_history(cell: Cell) -> bool:
    return tree_of(cell.kernel) is not None and bool(cell.commit) and not cell.patches
