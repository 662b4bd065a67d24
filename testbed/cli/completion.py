# SPDX-License-Identifier: GPL-2.0
"""`testbed completion`: the shell completes commands, options and their values."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

# The shells that click can write a script for.
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that makes a shell complete testbed's commands and options.

    \b
    testbed completion bash >~/.local/share/bash-completion/completions/testbed
    testbed completion zsh >~/.zfunc/_testbed
    testbed completion fish >~/.config/fish/completions/testbed.fish
    """
    writer = get_completion_class(shell)
    assert writer is not None  # click knows all of SHELLS
    click.echo(writer(ctx.find_root().command, {}, "testbed", "_TESTBED_COMPLETE").source())
