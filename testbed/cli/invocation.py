# SPDX-License-Identifier: GPL-2.0
"""The environment of a command: its settings, its series, and its output."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from testbed.context import Context
from testbed.deadline import Deadline
from testbed.kernel.fit import PatchFit, fit_lines, refuse_conflicts
from testbed.kernel.fit import examine as examine_series
from testbed.kernel.revision import at_base, base_note
from testbed.kernel.series import Series, load_series
from testbed.kernel.source import resolve, unpack
from testbed.kernel.thread import LeftOut, left_out_lines
from testbed.lab.guest import Guest, guest_up
from testbed.lab.prepared import PreparedKernel, prepare_kernel
from testbed.mmap.path import MODULE, RING_MODULE
from testbed.results.store import kept_dir
from testbed.settings import load_settings
from testbed.terminal import make_progress, open_console, plain

# The modules in a guest that a user explores, as far as its kernel supports them.
_MODULES = (MODULE, RING_MODULE)


@dataclass(frozen=True)
class FittedSeries:
    """The way in which each patch of a series applies to one source."""

    source: str
    fits: tuple[PatchFit, ...]
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def lines(self) -> Iterator[str]:
        yield f"series for {self.source}:"
        yield from fit_lines(self.fits)
        yield from (f"note: {note}" for note in self.notes)
        yield from left_out_lines(self.left_out)


@dataclass
class Invocation:
    """One call of a command."""

    ctx: Context
    series: Series
    console: Console  # for people; stderr if a program reads stdout
    as_json: bool = False

    def show(self, lines: Iterable[str]) -> None:
        """Print lines for people."""
        for line in lines:
            plain(self.console, line)

    def report(self, lines: Iterable[str], content: object) -> None:
        """Print the result of a command: lines for people, or with --json its content."""
        if self.as_json:
            click.echo(json.dumps(content, indent=1, default=str))
        else:
            self.show(lines)

    def fit_series(self) -> FittedSeries:
        """Try each patch of the series on the source. Print a note if the base differs."""
        kernel = self.ctx.settings.kernel
        source = resolve(kernel, self.ctx)
        fits = examine_series(self.series, unpack(source, self.ctx).path)
        if note := base_note(kernel, self.series.base):
            self.ctx.progress.note(note)
        return FittedSeries(
            source.description, tuple(fits), self.series.notes, self.series.left_out
        )

    def show_series(self) -> None:
        """Show how each patch applies, before anything is built.

        Raises:
            PatchError: a patch conflicts.
        """
        if self.series.patches:
            fitted = self.fit_series()
            self.show(fitted.lines)
            refuse_conflicts(fitted.fits)

    def prepared_kernels(self) -> Iterator[PreparedKernel]:
        """Yield a prepared kernel for each architecture, in the requested order."""
        self.show_series()
        for arch in self.ctx.settings.arch:
            yield prepare_kernel(arch, self.series, self.ctx)

    def first_kernel(self, share: Path | None = None) -> PreparedKernel:
        """Return the prepared kernel of the first architecture, for a command with one VM.

        Its guest has the folder `share` at /mnt.
        """
        settings = self.ctx.settings
        first = dataclasses.replace(settings, arch=settings.arch[:1])
        ctx = dataclasses.replace(self.ctx, settings=first)
        prepared = next(dataclasses.replace(self, ctx=ctx).prepared_kernels())
        return dataclasses.replace(prepared, user_dir=share)


@contextmanager
def opened(options: dict[str, Any]) -> Iterator[Invocation]:
    """Open the invocation that a command's options describe. The block closes its cache.

    With the option `as_json` only the result goes to stdout.
    """
    file, as_json = options.pop("settings_file"), options.pop("as_json", False)
    settings = load_settings(file, options)
    series = load_series(settings.series, settings.kernel)
    settings = dataclasses.replace(settings, kernel=at_base(settings.kernel, series.base))
    console = open_console(stderr=as_json)
    ctx = Context.of(settings, make_progress(console))
    with closing(ctx.cache):
        yield Invocation(ctx, series, console, as_json)


@contextmanager
def booted(invocation: Invocation, prepared: PreparedKernel) -> Iterator[Guest]:
    """Boot a guest of that kernel, and load the test modules. It ends with the block."""
    with ExitStack() as stack:
        log_dir = stack.enter_context(kept_dir(invocation.ctx.settings.results_dir))
        with invocation.ctx.progress.step(f"boot {prepared.arch} {prepared.kernel.release}"):
            deadline = Deadline.after(invocation.ctx.settings.boot_seconds)
            guest = stack.enter_context(guest_up(prepared, log_dir, deadline))
            for module in _MODULES:
                if module not in prepared.guest_side.absent:
                    guest.load(module)
        yield guest
