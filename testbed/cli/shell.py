# SPDX-License-Identifier: GPL-2.0
"""`testbed shell`: a shell in a guest."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from testbed.cli.invocation import booted, opened
from testbed.cli.options import kernel_options, share_option
from testbed.lab.login import ssh_argv
from testbed.process import interact
from testbed.vm.qemu import argv_by_hand


@click.command()
@kernel_options
@share_option
@click.option(
    "--console", "on_console", is_flag=True, help="Use the serial console instead of SSH."
)
@click.argument("command", nargs=-1)
def shell(command: tuple[str, ...], on_console: bool, share: Path | None, **options: Any) -> None:
    """Boot a kernel and open a shell in it, or run one command.

    Over SSH the test modules are loaded. On the console, which also shows the kernel's messages,
    load them from /lib/testbed; Ctrl-A x ends the VM.

    Exit status: the shell's or the command's.

    \b
    Examples:
      testbed shell --arch arm64
      testbed shell --arch x86_64 --share ~/driver -- insmod /mnt/driver.ko
      testbed shell --arch x86_64 --console
    """
    if on_console and command:
        raise click.UsageError("--console does not run a command")
    with opened(options) as invocation:
        prepared = invocation.first_kernel(share)
        if on_console:
            status = interact(argv_by_hand(prepared.vm_spec(Path("."))))
        else:
            with booted(invocation, prepared) as guest:
                words = [shlex.join(command)] if command else []
                status = interact([*ssh_argv(guest), *words])
    sys.exit(status)
