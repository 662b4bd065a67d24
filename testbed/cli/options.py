# SPDX-License-Identifier: GPL-2.0
"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from testbed.arch import ARCHES
from testbed.flavour import FLAVOURS
from testbed.settings import AccelChoice, Isolation, Toolchain


class FiniteRange(click.FloatRange):
    """A number in a range. NaN is in each of click's ranges, and infinity in many."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return found


def kernel_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every command that needs a kernel."""
    for option in reversed(_KERNEL_OPTIONS):
        command = option(command)
    return command


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that needs kernel text only."""
    for option in reversed((*_SOURCE_OPTIONS, settings_option)):
        command = option(command)
    return command


def _one_of(words: Iterable[str]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return a shell completion: those of `words` that begin with the typed text."""

    def complete(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
        return [word for word in words if word.startswith(typed)]

    return complete


def settings_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option of every command."""
    return click.option(
        "--settings",
        "settings_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Read settings from a TOML file; `testbed doctor` lists the keys. Options override "
        "settings. Default: ~/.config/mmap-testbed/testbed.toml.",
    )(command)


# The options that name kernel text.
_SOURCE_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option(
        "--kernel",
        metavar="SOURCE",
        help="Use this kernel: debian (the newest), debian:7.2, tree:PATH, tree:PATH@COMMIT or "
        "tarball:PATH. Default: debian.",
    ),
    click.option(
        "--series",
        metavar="SERIES",
        help="Apply patches on top: a patch, a folder of patches, an mbox, a maildir, A..B of the "
        "git tree that --kernel names, or a message-id. Default: none.",
    ),
)

_KERNEL_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option(
        "--arch",
        metavar="A[,B]",
        shell_complete=_one_of((*ARCHES, ",".join(ARCHES))),
        help="Use these architectures, of x86_64 and arm64. Default: both.",
    ),
    *_SOURCE_OPTIONS,
    click.option(
        "--flavour",
        metavar="NAME",
        shell_complete=_one_of(FLAVOURS),
        help=f"Configure the kernel as one of {', '.join(FLAVOURS)}. Default: base.",
    ),
    click.option(
        "--config",
        multiple=True,
        metavar="FILE",
        help="Configure the kernel with this fragment too. It overrides the testbed's own "
        "fragments. Repeatable.",
    ),
    click.option(
        "--cmdline",
        metavar="WORDS",
        help="Append WORDS to the command line of the guest's kernel.",
    ),
    click.option(
        "--qemu",
        multiple=True,
        metavar="ARG",
        help="Append ARG to QEMU's command line: a word, or several in one quoted ARG, such as "
        "'-device edu'. Repeatable.",
    ),
    click.option(
        "--isolation",
        type=click.Choice([choice.value for choice in Isolation]),
        help="Give each batch of tests, or each test, a clone of a booted VM; boot a VM for each "
        "test; or share one VM between all. Default: batch.",
    ),
    click.option(
        "--workers",
        type=int,
        metavar="N",
        help="Run tests in N processes at a time. Default: one per CPU that memory allows.",
    ),
    click.option(
        "--accel",
        type=click.Choice([choice.value for choice in AccelChoice]),
        help="Run VMs with this accelerator; auto is KVM where it works, TCG otherwise. "
        "Default: auto.",
    ),
    click.option(
        "--toolchain",
        type=click.Choice([choice.value for choice in Toolchain]),
        help="Compile with this toolchain. Default: gcc.",
    ),
    click.option(
        "--results",
        "results_dir",
        metavar="DIR",
        help="Write each run to a folder below DIR. Default: results/ in the checkout.",
    ),
    click.option(
        "-j",
        "--jobs",
        type=int,
        metavar="N",
        help="Run N compiler jobs at a time. Default: one per CPU.",
    ),
    settings_option,
)


def share_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option of every command that gives the user a guest."""
    return click.option(
        "--share",
        type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
        metavar="DIR",
        help="Mount DIR at /mnt in the guest, read-only. Default: none.",
    )(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option of every command that prints a table."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the result as JSON; all else goes to stderr."
    )(command)


def expression_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option of every command that runs some of the tests."""
    return click.option(
        "-k",
        "expression",
        metavar="EXPR",
        help="Run only tests that match EXPR, as pytest -k. Default: all.",
    )(command)


def question_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the tests to run on each kernel, and the options that define the symptom."""
    for option in reversed(_QUESTION):
        command = option(command)
    return command


_QUESTION: tuple[Callable[..., Any], ...] = (
    click.argument("tests", nargs=-1, required=True, metavar="TEST..."),
    click.option(
        "--symptom", "pattern", metavar="REGEX", default="",
        help="Define the symptom: REGEX matches a test that did not pass, or its evidence. "
        "Default: see above.",
    ),
    click.option(
        "--repeat", type=click.IntRange(1), default=1, metavar="N",
        help="Run the tests up to N times, for intermittent symptoms. Default: 1.",
    ),
    click.option(
        "--find-fix", is_flag=True,
        help="Look for the commit that removed the symptom: bad is the older end.",
    ),
)  # fmt: skip
