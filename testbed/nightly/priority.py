# SPDX-License-Identifier: GPL-2.0
"""The order of a night's cells: what finds most comes first.

1. confirmations of what failed tonight
2. tests before mutants and other kinds
3. kernels that no night has run, before those of which only some cells are missing
4. whole cells before samples; of each, the base flavour before the others
5. in the order of the matrix
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from testbed.flavour import BASE
from testbed.nightly.cell import Cell
from testbed.nightly.kinds import KINDS


def by_worth(cells: Sequence[Cell], seen: Collection[str]) -> list[Cell]:
    """Return the cells in their order. `seen` are the texts of kernels that ran in some night."""
    kinds = list(KINDS)

    def worth(cell: Cell) -> tuple[object, ...]:
        base = cell.flavour == BASE
        kind = kinds.index(cell.kind)
        return not cell.confirms, kind, text_of(cell) in seen, cell.partial, not base

    return sorted(cells, key=worth)


def text_of(cell: Cell) -> str:
    """Return what stands for the text of a cell's kernel: its source, and its series."""
    return "\n".join([cell.identity, *(patch.text for patch in cell.patches)])
