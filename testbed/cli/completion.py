# SPDX-License-Identifier: GPL-2.0
"""`testbed completion`: scripts by which shells complete commands, options and their values."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

# The shells for which click has a script.
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a completion script for bash, zsh or fish.

    \b
    Examples:
      testbed completion bash >~/.local/share/bash-completion/completions/testbed
      testbed completion zsh >~/.zfunc/_testbed
      testbed completion fish >~/.config/fish/completions/testbed.fish
    """
    writer = get_completion_class(shell)
    assert writer is not None  # click knows all of SHELLS
    click.echo(writer(ctx.find_root().command, {}, "testbed", "_TESTBED_COMPLETE").source())
