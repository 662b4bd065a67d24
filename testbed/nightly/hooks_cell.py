# SPDX-License-Identifier: GPL-2.0
"""Cells of the kind `hooks`: the mmap hooks of a kernel's text, and what became of each.

Nothing is compiled and nothing boots. Each hook is a case that passes, and its only fact is whether
it is converted: the history shows a conversion as a changed fact. Each rule for what may go wrong
(testbed/inventory/findings.py) is a case as well, and fails with the places that break it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from testbed.context import Context
from testbed.inventory.burndown import burn_down
from testbed.inventory.findings import Grade, Rule, findings
from testbed.inventory.hook import Hook
from testbed.inventory.inventory import Inventory, inventory_code, inventory_of
from testbed.kernel.series import Series
from testbed.kernel.source import Source, resolve
from testbed.nightly.cell import RUN_FOLDER, Cell, Found
from testbed.report.burned import write_burn_down
from testbed.results.model import Case, Environment, Run, Status
from testbed.results.store import append_facts, write_run

# The parameter that names the kernel to compare with.
AGAINST = "against"

# The paths of cases. The history counts cases by path, so it knows the burn-down of all nights.
CONVERTED, NOT_CONVERTED = "converted", "not converted"

# Seconds for two kernels whose text must be unpacked and read.
_SECONDS = 180.0


def run_hooks(cell: Cell, ctx: Context, out: Path) -> Found:
    """List the hooks of the cell's kernel, and write what changed since the kernel before it.

    That is the kernel of `against`, or else the same kernel without its series.

    Raises:
        SetupError: a kernel does not exist, or its text is not a kernel's.
        TreeError: the series does not apply.
        InfraError: the host failed.
    """
    folder = out / RUN_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    source = resolve(cell.kernel, ctx)
    inventory = inventory_of(source, cell.load_series(out / "series"), ctx)
    before = inventory_of(_before(cell, source, ctx), Series(), ctx)
    write_burn_down(folder, burn_down(before, inventory))
    for hook in inventory.real:
        append_facts(folder, _test_of(hook), {"hook": {"converted": str(hook.converted)}})
    run = Run(
        name=out.name,
        command=_command(cell),
        started=started,
        seconds=round(time.monotonic() - began, 1),
        environments=(_environment(cell, source),),
        cases=tuple(cases_of(inventory, cell.arch)),
    )
    write_run(folder, run)
    return Found(run)


def _before(cell: Cell, source: Source, ctx: Context) -> Source:
    return resolve(cell.params[AGAINST], ctx) if AGAINST in cell.params else source


def cases_of(inventory: Inventory, arch: str) -> Iterator[Case]:
    """Yield a case for each hook, whose path says whether it is converted, and for each rule."""
    for test, hooks in _by_test(inventory.real).items():
        path = CONVERTED if any(hook.converted for hook in hooks) else NOT_CONVERTED
        yield Case(test=test, arch=arch, path=path, status=Status.PASS)
    wrong = [each for each in findings(inventory) if each.grade is Grade.ERROR]
    for rule in Rule:
        lines = [each.line for each in wrong if each.rule is rule]
        yield Case(
            test=f"hooks::{rule}",
            arch=arch,
            path="rules",
            status=Status.FAIL if lines else Status.PASS,
            reason=lines[0] if lines else "",
            evidence="\n".join(lines),
        )


def _by_test(hooks: Iterable[Hook]) -> dict[str, list[Hook]]:
    """Return the hooks of each object: the branches of an `#if` give one several."""
    found: dict[str, list[Hook]] = {}
    for hook in hooks:
        found.setdefault(_test_of(hook), []).append(hook)
    return found


def _test_of(hook: Hook) -> str:
    return f"hooks::{hook.key}"


def _environment(cell: Cell, source: Source) -> Environment:
    return Environment(
        arch=cell.arch,
        kernel=source.version,
        source=source.description,
        series=tuple(patch.name for patch in cell.patches),
        flavour=cell.flavour,
        isolation=cell.isolation,
        accel=cell.accel,
        accel_reason="nothing boots",
        qemu="",
        commit=cell.commit,
    )


def _command(cell: Cell) -> str:
    against = f" --against {cell.params[AGAINST]}" if AGAINST in cell.params else ""
    series = f" --series {cell.series}" if cell.patches else ""
    return f"testbed hooks --kernel {cell.kernel}{series}{against}"


def hooks_identity(cell: Cell, ctx: Context) -> tuple[str, ...]:
    """Return what a result depends on besides the kernel: the other kernel, and the reader."""
    against = cell.params.get(AGAINST)
    return (inventory_code(), resolve(against, ctx).identity if against else "")


def hooks_seconds(cell: Cell) -> float:
    return _SECONDS
