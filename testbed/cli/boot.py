"""`testbed boot` and `testbed shell`: a guest to look around in."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from testbed.cli.options import Invocation, booted, kernel_options, opened
from testbed.errors import GuestLost
from testbed.lab.login import ssh_argv
from testbed.lab.prepared import PreparedKernel
from testbed.process import interact
from testbed.terminal import plain
from testbed.vm.phase import Phase
from testbed.vm.qemu import argv_by_hand, command_by_hand


def share_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option of every command that leaves a guest to the user."""
    return click.option(
        "--share",
        type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
        metavar="DIR",
        help="The guest has this folder at /mnt, read-only.",
    )(command)


def chosen_kernel(invocation: Invocation, share: Path | None) -> PreparedKernel:
    """The prepared kernel that the options name, with the user's folder."""
    return dataclasses.replace(invocation.first_kernel(), user_dir=share)


@click.command()
@kernel_options
@share_option
@click.option("--print", "only_print", is_flag=True, help="Print the QEMU command line only.")
def boot(only_print: bool, share: Path | None, **options: Any) -> None:
    """Boot a kernel and keep it until Ctrl-C; tells how to log in.

    \b
    testbed boot --arch arm64
    testbed boot --arch x86_64 --print
    """
    with opened(options) as invocation:
        prepared = chosen_kernel(invocation, share)
        if only_print:
            command = command_by_hand(prepared.vm_spec(Path(".")))
            plain(invocation.console, command)
            return
        with booted(invocation, prepared) as guest:
            login = shlex.join(ssh_argv(guest))
            invocation.console.print(f"up: {prepared.kernel.release}", highlight=False)
            plain(invocation.console, f"log in: {login}")
            invocation.console.print(f"console: {guest.vm.spec.log_dir}", highlight=False)
            reason = guest.vm.wait_until_gone()
            if reason != Phase.POWERED_OFF:
                raise GuestLost(reason, logs=(guest.vm.spec.log_dir / "console.log",))


@click.command()
@kernel_options
@share_option
@click.option("--console", "on_console", is_flag=True, help="On the serial console, without SSH.")
@click.argument("command", nargs=-1)
def shell(command: tuple[str, ...], on_console: bool, share: Path | None, **options: Any) -> None:
    """Boot a kernel and open a shell in it, or run one command there.

    The test modules are loaded; on the console, where all that the kernel prints is seen, they
    are in /lib/testbed. Ctrl-A x ends a VM on the console.

    \b
    testbed shell --arch arm64
    testbed shell --arch x86_64 --share ~/driver -- insmod /mnt/driver.ko
    testbed shell --arch x86_64 --console
    """
    if on_console and command:
        raise click.UsageError("--console runs no command")
    with opened(options) as invocation:
        prepared = chosen_kernel(invocation, share)
        if on_console:
            status = interact(argv_by_hand(prepared.vm_spec(Path("."))))
        else:
            with booted(invocation, prepared) as guest:
                words = [shlex.join(command)] if command else []
                status = interact([*ssh_argv(guest), *words])
    sys.exit(status)
