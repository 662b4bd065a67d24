# SPDX-License-Identifier: GPL-2.0
"""Cells of the kind `tests`: the tests of `testbed run`, or a part of them."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from testbed.arch import find_arch
from testbed.context import Context
from testbed.errors import InfraError, SetupError
from testbed.flavour import BASE
from testbed.image.userland import PACKAGES
from testbed.kernel.apt import find_packages
from testbed.lab.lab import Lab
from testbed.nightly.cell import RUN_FOLDER, Cell, Found
from testbed.results.model import Run, Status
from testbed.results.store import IDENTITY_FILE, write_run
from testbed.settings import Isolation
from testbed.suite.continued import Part, begun
from testbed.suite.identity import suite_identity
from testbed.suite.runner import run_suite
from testbed.suite.selection import Sample
from testbed.vm.qemu import qemu_version

# Seconds on two cores under TCG, by flavour: to build the kernel from nothing, and to run all tests
# of one architecture with two workers (docs/bench.md). A history replaces them by its own.
_BUILD = {BASE: 300.0, "debug": 600.0}
_TESTS = {BASE: 200.0, "debug": 1200.0}
_WORKERS = 2

# Of a test that boots a VM of its own.
_BOOT_SECONDS = 15.0


def run_tests(cell: Cell, ctx: Context, out: Path) -> Found:
    """Run the tests of a cell. A run that was interrupted in this folder is continued.

    Raises:
        SetupError: the host lacks something, or no test matches.
        InfraError: the host failed, or no test ran.
    """
    folder = out / RUN_FOLDER
    if (folder / IDENTITY_FILE).exists():
        with suppress(SetupError):  # the host has changed since
            return _some_ran(_run(cell, ctx, folder, earlier=folder))
    shutil.rmtree(folder, ignore_errors=True)
    return _some_ran(_run(cell, ctx, folder))


def _some_ran(found: Run) -> Found:
    if not any(case.status not in (Status.MISS, Status.SKIP) for case in found.cases):
        missed = [case.reason for case in found.cases if case.status is Status.MISS]
        raise InfraError("no test ran", evidence="\n".join(dict.fromkeys(missed[:5])))
    return Found(found)


def _run(cell: Cell, ctx: Context, folder: Path, earlier: Path | None = None) -> Run:
    """Run the tests in a folder, or continue those that `earlier` holds."""
    out = folder.parent
    series = cell.load_series(out / "series")
    isolation = Isolation(cell.isolation)
    selection = {"-k": cell.expression, "only": " ".join(cell.only), "part": f"{cell.part:g}"}
    lab = Lab.for_kernel(ctx, series, cell.arch, out, isolation=isolation)
    with closing(lab):
        if earlier is None:
            folder.mkdir()
            lab.run_dir = folder
        command = command_of(cell)
        with begun(lab, selection, command, earlier) as part:
            return _tested(cell, lab, part, command)


def _tested(cell: Cell, lab: Lab, part: Part, command: Sequence[str]) -> Run:
    found = run_suite(
        lab,
        cell.expression or None,
        seed=cell.seed,
        sample=Sample(cell.only, cell.part, str(cell.seed)),
        done={case.test for case in part.cases},
        before=part.cases,
    )
    found = part.whole(lab.run_dir, dataclasses.replace(found, command=shlex.join(command)))
    write_run(lab.run_dir, found)
    return found


def command_of(cell: Cell) -> list[str]:
    """Return the command with which a person repeats the tests of a cell."""
    if cell.only or cell.part < 1:
        return ["testbed", "run-cell", "cell.json", "--out", "again"]
    words = ["testbed", "run", "--kernel", cell.kernel, "--arch", cell.arch]
    words += ["--series", cell.series] if cell.patches else []
    words += ["--flavour", cell.flavour, "--isolation", cell.isolation]
    words += ["-k", cell.expression] if cell.expression else []
    return words


def tests_identity(cell: Cell, ctx: Context) -> tuple[str, ...]:
    """Return what the verdicts depend on besides the kernel: tests, guest's programs and QEMU."""
    arch = find_arch(cell.arch)
    packages = find_packages(PACKAGES, arch.debian, ctx)
    return (
        suite_identity(),
        *(f"{package.name} {package.version}" for package in packages),
        qemu_version(arch),
    )


def tests_seconds(cell: Cell) -> float:
    """Return the seconds that a cell takes, as far as figures from elsewhere show it."""
    build = _BUILD.get(cell.flavour, _BUILD[BASE])
    share = cell.part * _WORKERS / cell.workers
    tests = _TESTS.get(cell.flavour, _TESTS[BASE]) * share
    if cell.only:
        tests = len(cell.only) * _BOOT_SECONDS / cell.workers
    return build + tests
