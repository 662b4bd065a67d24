# SPDX-License-Identifier: GPL-2.0
"""What one kernel changes against another, by their text alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from testbed.check.subjects import Subjects, find_subjects
from testbed.context import Context
from testbed.intree.recipe import Recipe
from testbed.inventory.definitions import Definition, changed_definitions
from testbed.inventory.inventory import Inventory, inventory_of
from testbed.inventory.treefiles import opened_files, patched
from testbed.kernel.series import Series
from testbed.kernel.source import Source


@dataclass(frozen=True)
class KernelText:
    """The text of a kernel: a source with a series on top."""

    source: Source
    series: Series

    @property
    def title(self) -> str:
        patches = len(self.series.patches)
        count = "1 patch" if patches == 1 else f"{patches} patches"
        return f"{self.source.description} with {count}" if patches else self.source.description


@dataclass(frozen=True)
class KernelChange:
    """The hooks of two kernels, and the definitions that differ between them."""

    title: str
    before: Inventory
    after: Inventory
    changed: tuple[Definition, ...]

    def subjects(self, recipes: Iterable[Recipe]) -> Subjects:
        """Return what the change touches, and which of the recipes reach it."""
        return find_subjects(self.before, self.after, self.changed, recipes)


def read_change(before: KernelText, after: KernelText, ctx: Context) -> KernelChange:
    """Compare the text of two kernels.

    Of one source with and without a series, the files of the series are compared; of two sources,
    the files that hold hooks.

    Raises:
        SetupError: a text is not a kernel's.
        PatchError: a patch does not apply.
    """
    old, new = (inventory_of(text.source, text.series, ctx) for text in (before, after))
    files = {*before.series.files, *after.series.files}
    if before.source.identity != after.source.identity:
        files |= {hook.file for inventory in (old, new) for hook in inventory.hooks}
    with (
        opened_files(before.source, ctx) as first,
        opened_files(after.source, ctx) as second,
        patched(first, before.series) as was,
        patched(second, after.series) as now,
    ):
        changed = changed_definitions(was, now, sorted(files))
    return KernelChange(f"{after.title}, against {before.title}", old, new, changed)
