# SPDX-License-Identifier: GPL-2.0
"""`testbed coverage`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from testbed.cli.invocation import Invocation, opened
from testbed.cli.options import expression_option, json_option, kernel_options
from testbed.coverage.collect import Collector
from testbed.coverage.counted import BUILD_DIR, Subject, counted_context, keep_notes, subject_of
from testbed.coverage.gcov import Reader
from testbed.coverage.hunks import HunkRun, hunk_runs
from testbed.coverage.hunktable import content_of, idle, lines_of
from testbed.kernel.toolchain import find_compiler
from testbed.lab.lab import Lab
from testbed.results.model import EXIT_EXPECTED, EXIT_FINDINGS
from testbed.results.store import kept_dir
from testbed.suite.plugin import GUEST
from testbed.suite.runner import run_suite


@click.command()
@kernel_options
@json_option
@expression_option
def coverage(expression: str | None, **options: Any) -> None:
    """Show which lines of a series the tests run, and what runs them.

    It builds a kernel with counters (gcov) in the files that the series changes, and runs the
    tests.

    Exit status: 0 each hunk with code ran, 1 one never ran; 2, 3 and 130 as for `testbed run`.

    \b
    Examples:
      testbed coverage --series fixes/
      testbed coverage --series v7.3..topic --kernel tree:~/linux --arch x86_64 -k "not ksm"
    """
    with opened(options) as invocation, kept_dir(invocation.ctx.settings.results_dir) as folder:
        subject = subject_of(invocation.series, invocation.ctx)
        found = dict(_covered(invocation, subject, expression, folder))
        lines = [*lines_of(found)]
        (folder / "coverage.md").write_text("\n".join(lines) + "\n")
        (folder / "coverage.json").write_text(json.dumps(content_of(found), indent=1) + "\n")
        invocation.report((*lines, f"results: {folder}"), content_of(found))
    sys.exit(EXIT_FINDINGS if idle(found) else EXIT_EXPECTED)


def _covered(
    invocation: Invocation, subject: Subject, expression: str | None, folder: Path
) -> Iterator[tuple[str, list[HunkRun]]]:
    ctx = counted_context(invocation.ctx)
    for arch in ctx.settings.arch:
        notes = keep_notes(subject, arch, folder / f"notes-{arch}", ctx)
        lab = Lab.for_kernel(
            ctx, subject.series, arch, folder / f"run-{arch}", build_dir_name=BUILD_DIR
        )
        with closing(lab):
            compiler = find_compiler(ctx.settings.toolchain, lab.prepared(arch).arch)
            reader = Reader(compiler.gcov, notes, subject.files)
            collector = Collector(reader, lambda item: item.stash.get(GUEST, None))
            run_suite(lab, expression, lists_hooks=False, plugins=[collector], workers=1)
        executable = {file: frozenset(lines) for file, lines in collector.executable.items()}
        yield arch, list(hunk_runs(subject.hunks, executable, collector.seen))
