# SPDX-License-Identifier: GPL-2.0
"""All that runs on a kernel that counts: the tests, trials of drivers, and generated programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from testbed.arch import find_arch
from testbed.check.drivers import DriverChecks
from testbed.check.kernelchange import KernelText, read_change
from testbed.context import Context
from testbed.coverage.collect import Collector
from testbed.coverage.counted import Subject, keep_notes
from testbed.coverage.gcov import Reader, require_gcov
from testbed.coverage.hunks import HunkRun, hunk_runs
from testbed.coverage.hunktable import hunks_by_test
from testbed.errors import SetupError
from testbed.fuzz.extra import require_extra
from testbed.intree.recipe import load_recipes
from testbed.kernel.series import Series
from testbed.kernel.source import resolve
from testbed.kernel.toolchain import find_compiler
from testbed.lab.lab import Lab
from testbed.mutants.trial import BUILD_DIR
from testbed.settings import Toolchain
from testbed.suite.plugin import GUEST
from testbed.suite.runner import run_suite


@dataclass(frozen=True)
class Covered:
    """What ran on one architecture."""

    runs: list[HunkRun]
    tests: Mapping[str, list[str]]  # the hunks that each test ran


@dataclass(frozen=True, kw_only=True)
class Covering:
    """What to run on the kernels of a series."""

    ctx: Context
    plain: Series  # without counters
    subject: Subject
    folder: Path  # for the results
    expression: str | None = None  # the tests to run, as pytest -k; None: all
    drivers: bool = True
    trials: tuple[str, ...] = ()  # patterns of the drivers' trials; empty: all
    fuzz_seconds: float = 60.0

    def run(self, arch: str, keep: Callable[[Covered], None]) -> None:
        """Run all on one architecture. `keep` gets what has run so far, again and again.

        Raises:
            SetupError: gcov is missing, or of another version than the compiler.
            TreeError: the kernel does not build.
        """
        gcov = self._gcov(arch)
        notes = keep_notes(self.subject, arch, self.folder / f"notes-{arch}", self.ctx)
        reader = Reader(gcov, notes, self.subject.files)
        collector = Collector(reader, lambda item: item.stash.get(GUEST, None))
        for name, stage in self._stages():
            # A session of tests ends the VMs of its lab.
            with closing(self._lab(arch, self.folder / f"{name}-{arch}")) as lab:
                stage(lab, collector)
            if collector.trouble is not None:
                raise collector.trouble
            keep(self._covered(collector))

    def _stages(self) -> Iterator[tuple[str, Callable[[Lab, Collector], None]]]:
        yield "tests", self._run_tests
        if self.drivers:
            yield "drivers", self._try_drivers
        if self.fuzz_seconds:
            yield "fuzz", self._fuzz

    def _lab(self, arch: str, results: Path) -> Lab:
        series = self.subject.series
        return Lab.for_kernel(self.ctx, series, arch, results, build_dir_name=BUILD_DIR)

    def _covered(self, collector: Collector) -> Covered:
        executable = {file: frozenset(lines) for file, lines in collector.executable.items()}
        runs = [*hunk_runs(self.subject.hunks, executable, collector.seen)]
        return Covered(runs, hunks_by_test(collector.seen, self.subject.hunks))

    def _gcov(self, arch: str) -> str:
        """Return the program that reads the counters, before anything is built."""
        compiler = find_compiler(self.ctx.settings.toolchain, find_arch(arch))
        if compiler.kind is not Toolchain.GCC:
            raise SetupError("only kernels that GCC compiles count", hint="leave out --toolchain")
        require_gcov(compiler.gcov)
        return compiler.gcov

    def _run_tests(self, lab: Lab, collector: Collector) -> None:
        run_suite(lab, self.expression, lists_hooks=False, plugins=[collector], workers=1)

    def _try_drivers(self, lab: Lab, collector: Collector) -> None:
        """Perform the trials of the drivers that the series touches, as far as this kernel can."""
        source = resolve(self.ctx.settings.kernel, self.ctx)
        change = read_change(KernelText(source, Series()), KernelText(source, self.plain), self.ctx)
        subjects = change.subjects(load_recipes().values())
        newer = {name: (names, names) for name, (_, names) in subjects.renamed.items()}
        lab.watch = collector.trial
        checks = DriverChecks(
            [lab],
            lenient=True,
            renamed=newer,
            converted=subjects.converted,
            trials=self.trials,
        )
        checks.run(subjects.recipes)
        for name, why in checks.left_out.items():
            self.ctx.progress.note(f"the driver {name} is left out: {why}")

    def _fuzz(self, lab: Lab, collector: Collector) -> None:
        try:
            require_extra()
        except SetupError as error:
            self.ctx.progress.note(f"no generated programs: {error.message}")
            return
        from testbed.fuzz.fuzzing import Fuzzing

        lab.watch = collector.fuzz
        fuzzing = Fuzzing.of(
            lab, "smoke", seconds=self.fuzz_seconds, seed=0, corpus=None, forget=()
        )
        fuzzing.run()
        for found in fuzzing.found:
            self.ctx.progress.note(f"the programs found: {found.deviation.title}")
