# SPDX-License-Identifier: GPL-2.0
"""`testbed boot`: a guest that runs until Ctrl-C."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from testbed.cli.invocation import booted, opened
from testbed.cli.options import kernel_options, share_option
from testbed.errors import GuestLost
from testbed.lab.login import ssh_argv
from testbed.vm.phase import Phase
from testbed.vm.qemu import command_by_hand


@click.command()
@kernel_options
@share_option
@click.option(
    "--print", "only_print", is_flag=True, help="Print QEMU's command line, and do not boot."
)
def boot(only_print: bool, share: Path | None, **options: Any) -> None:
    """Boot a kernel, print how to log in, and wait for Ctrl-C.

    \b
    Examples:
      testbed boot --arch arm64
      testbed boot --arch x86_64 --print
    """
    with opened(options) as invocation:
        prepared = invocation.first_kernel(share)
        if only_print:
            invocation.show([command_by_hand(prepared.vm_spec(Path(".")))])
            return
        with booted(invocation, prepared) as guest:
            log_dir = guest.vm.spec.log_dir
            invocation.show(
                (
                    f"up: {prepared.kernel.release}",
                    f"log in: {shlex.join(ssh_argv(guest))}",
                    f"console: {log_dir}",
                )
            )
            reason = guest.vm.wait_until_gone()
            if reason != Phase.POWERED_OFF:
                raise GuestLost(reason, logs=(log_dir / "console.log",))
