# SPDX-License-Identifier: GPL-2.0
"""The command line. Only this package and suite/plugin.py print or exit."""

from __future__ import annotations

import importlib
import logging
from typing import NoReturn

import click

from testbed.cli.exit import end_with
from testbed.suggest import suggest

# Each command is in a file of its own, which has its name.
COMMANDS = (
    *("run", "build", "series", "compare", "check", "report", "drivers"),
    *("cluster", "nightly", "history", "run-cell"),
    *("bisect", "bisect-step", "mutants", "fuzz", "coverage", "hooks"),
    *("boot", "shell", "gdb", "doctor", "cache", "completion"),
)


class _Commands(click.Group):
    """Imports a command when it is needed: all together take a second, some need a database."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        found = getattr(importlib.import_module(f"testbed.cli.{name}"), name)
        assert isinstance(found, click.Command), cmd_name
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            ctx.fail(f"there is no command {args[0]!r}: {suggest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mmap-testbed", prog_name="testbed")
@click.option("-v", "--verbose", is_flag=True, help="Log each external command before it runs.")
def cli(verbose: bool) -> None:
    """Build Linux kernels, boot them in QEMU, and test their mmap hooks on every stack.

    `testbed COMMAND --help` describes the options of a command, with examples.
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING, format="%(name)s: %(message)s"
    )
    # At debug level these libraries log their own internals.
    for library in ("paramiko", "qemu", "asyncio"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def main() -> NoReturn:
    """The entry point."""
    end_with("testbed", lambda: cli.main(prog_name="testbed", standalone_mode=False) or 0)
