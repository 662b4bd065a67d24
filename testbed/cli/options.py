# SPDX-License-Identifier: GPL-2.0
"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from testbed.arch import ARCHES
from testbed.flavour import FLAVOURS
from testbed.settings import AccelChoice, Isolation, Toolchain


def kernel_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that needs a kernel."""
    for option in reversed(_KERNEL_OPTIONS):
        command = option(command)
    return command


def _one_of(words: Iterable[str]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """A completion in the shell: those of `words` that go on from what was typed."""

    def complete(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
        return [word for word in words if word.startswith(typed)]

    return complete


def settings_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option of every command."""
    return click.option(
        "--settings",
        "settings_file",
        type=click.Path(path_type=Path),
        help="A TOML file; keys are those of `testbed doctor`'s list.",
    )(command)


_KERNEL_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option(
        "--arch",
        metavar="A[,B]",
        shell_complete=_one_of((*ARCHES, ",".join(ARCHES))),
        help="Architectures: x86_64, arm64. Default both.",
    ),
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
    click.option(
        "--flavour",
        metavar="NAME",
        shell_complete=_one_of(FLAVOURS),
        help=f"{', '.join(FLAVOURS)}. Default base.",
    ),
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


def share_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option of every command that leaves a guest to the user."""
    return click.option(
        "--share",
        type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
        metavar="DIR",
        help="The guest has this folder at /mnt, read-only.",
    )(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option of every command that prints a table."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON on stdout; all else goes to stderr."
    )(command)


def expression_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option of every command that runs some of the tests."""
    return click.option(
        "-k", "expression", metavar="EXPR", help="Only tests that match, as pytest -k."
    )(command)


def question_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What is asked of each kernel."""
    for option in reversed(_QUESTION):
        command = option(command)
    return command


_QUESTION: tuple[Callable[..., Any], ...] = (
    click.argument("tests", nargs=-1, required=True, metavar="TEST..."),
    click.option(
        "--symptom", "pattern", metavar="REGEX", default="",
        help="What the symptom is: searched in what each bad case prints.",
    ),
    click.option(
        "--repeat", type=click.IntRange(1), default=1, metavar="N",
        help="Run the tests up to N times: for symptoms that come and go.",
    ),
    click.option(
        "--find-fix", is_flag=True, help="Look for what took the symptom away: bad is older."
    ),
)  # fmt: skip
