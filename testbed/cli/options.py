"""What every command has: its options, and what stands behind them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from testbed.context import Context
from testbed.deadline import Deadline
from testbed.flavour import FLAVOURS
from testbed.kernel.fit import examine as examine_series
from testbed.kernel.fit import fit_lines, refuse_conflicts
from testbed.kernel.revision import at_base, base_note
from testbed.kernel.series import Series, load_series
from testbed.kernel.source import resolve, unpack
from testbed.lab.guest import Guest, guest_up
from testbed.lab.prepared import PreparedKernel, prepare_kernel
from testbed.mmap.path import MODULE, RING_MODULE
from testbed.results.store import new_run_dir
from testbed.settings import AccelChoice, Isolation, Toolchain, load_settings
from testbed.terminal import make_progress, plain

# What a guest that a user looks around in has loaded, as far as its kernel allows.
_MODULES = (MODULE, RING_MODULE)


@dataclass
class Invocation:
    """What every command stands on."""

    ctx: Context
    series: Series
    console: Console

    def show_series(self) -> None:
        """Tell how each patch fits, before anything is built from it.

        Raises:
            PatchError: one conflicts.
        """
        if not self.series.patches:
            return
        kernel = self.ctx.settings.kernel
        source = resolve(kernel, self.ctx)
        tree = unpack(source, self.ctx)
        fits = examine_series(self.series, tree.path)
        for line in (f"series for {source.description}:", *fit_lines(fits)):
            plain(self.console, line)
        if note := base_note(kernel, self.series.base):
            self.ctx.progress.note(note)
        refuse_conflicts(fits)

    def prepared_kernels(self) -> Iterator[PreparedKernel]:
        """One prepared kernel after the other, in the order asked for."""
        self.show_series()
        for arch in self.ctx.settings.arch:
            yield prepare_kernel(arch, self.series, self.ctx)

    def first_kernel(self) -> PreparedKernel:
        """The only kernel of a command that is about one VM; the first when none was chosen."""
        settings = self.ctx.settings
        first = dataclasses.replace(settings, arch=settings.arch[:1])
        ctx = dataclasses.replace(self.ctx, settings=first)
        return next(dataclasses.replace(self, ctx=ctx).prepared_kernels())


def kernel_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that needs a kernel."""
    for option in reversed(_KERNEL_OPTIONS):
        command = option(command)
    return command


def settings_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option of every command."""
    return click.option(
        "--settings",
        "settings_file",
        type=click.Path(path_type=Path),
        help="A TOML file; keys are those of `testbed doctor`'s list.",
    )(command)


_KERNEL_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option("--arch", metavar="A[,B]", help="Architectures: x86_64, arm64. Default both."),
    click.option(
        "--kernel",
        metavar="SOURCE",
        help="debian (the newest), debian:7.2, tree:PATH, tree:PATH@COMMIT or tarball:PATH.",
    ),
    click.option(
        "--series",
        metavar="SERIES",
        help="Patches to apply on top: a patch, a folder of them, an mbox, a maildir, A..B of "
        "the git tree that --kernel names, or a message-id.",
    ),
    click.option("--flavour", metavar="NAME", help=f"{', '.join(FLAVOURS)}. Default base."),
    click.option(
        "--isolation",
        type=click.Choice([choice.value for choice in Isolation]),
        help="Whose kernel a test has. Default clone.",
    ),
    click.option(
        "--accel", type=click.Choice([choice.value for choice in AccelChoice]), help="Default auto."
    ),
    click.option(
        "--toolchain",
        type=click.Choice([choice.value for choice in Toolchain]),
        help="Default gcc.",
    ),
    click.option(
        "--results", "results_dir", metavar="DIR", help="Where runs are written. Default results/."
    ),
    click.option("-j", "--jobs", type=int, help="Compiler jobs. Default: one per CPU."),
    settings_option,
)


@contextmanager
def opened(options: dict[str, Any]) -> Iterator[Invocation]:
    """What one command stands on."""
    file = options.pop("settings_file")
    settings = load_settings(file, options)
    series = load_series(settings.series, settings.kernel)
    settings = dataclasses.replace(settings, kernel=at_base(settings.kernel, series.base))
    console = Console()
    ctx = Context.of(settings, make_progress(console))
    with closing(ctx.cache):
        yield Invocation(ctx, series, console)


@contextmanager
def booted(invocation: Invocation, prepared: PreparedKernel) -> Iterator[Guest]:
    """A guest of that kernel with the test modules loaded; it is gone when the block ends."""
    log_dir = new_run_dir(invocation.ctx.settings.results_dir, latest=False)
    with ExitStack() as stack:
        with invocation.ctx.progress.step(f"boot {prepared.arch} {prepared.kernel.release}"):
            deadline = Deadline.after(invocation.ctx.settings.boot_seconds)
            guest = stack.enter_context(guest_up(prepared, log_dir, deadline))
            for module in _MODULES:
                if module not in prepared.guest_side.absent:
                    guest.load(module)
        yield guest
