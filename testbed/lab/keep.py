# SPDX-License-Identifier: GPL-2.0
"""`--keep`: keep the VM of a failed test for inspection until the user ends it."""

from __future__ import annotations

import shlex
from pathlib import Path

from testbed.errors import SetupError
from testbed.lab.guest import Guest
from testbed.lab.login import ssh_argv
from testbed.progress import Progress

# The user's terminal: pytest redirects stdin.
_TERMINAL = Path("/dev/tty")


def refuse_without_terminal() -> None:
    """Raise SetupError if there is no terminal on which the user can end a kept VM."""
    try:
        with _TERMINAL.open():
            pass
    except OSError as error:
        raise SetupError("--keep needs a terminal to wait for Enter", hint="omit --keep") from error


def keep(guest: Guest, reason: str, progress: Progress) -> None:
    """Print why a guest is kept and how to log in, and wait for Enter."""
    progress.note(reason)
    progress.note(f"logs: {guest.vm.spec.log_dir}")
    if (dead := guest.vm.why_dead()) is not None:
        progress.note(f"the VM cannot be kept: {dead}")
        return
    progress.note(f"the VM is kept; log in: {shlex.join(ssh_argv(guest))}")
    progress.note("press Enter to end it")
    with _TERMINAL.open() as terminal:
        terminal.readline()
