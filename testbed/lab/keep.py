# SPDX-License-Identifier: GPL-2.0
"""`--keep`: the VM of a test that failed stays for a look, as long as the user wants it."""

from __future__ import annotations

import shlex
from pathlib import Path

from testbed.errors import SetupError
from testbed.lab.guest import Guest
from testbed.lab.login import ssh_argv
from testbed.progress import Progress

# The user, wherever pytest has put stdin.
_TERMINAL = Path("/dev/tty")


def refuse_without_terminal() -> None:
    """Raises SetupError: nobody is there to say that a VM is needed no more."""
    try:
        with _TERMINAL.open():
            pass
    except OSError as error:
        raise SetupError(
            "--keep waits at a terminal, and there is none", hint="leave out --keep"
        ) from error


def keep(guest: Guest, reason: str, progress: Progress) -> None:
    """Tell why a guest is kept and how to get at it, and wait until Enter is pressed."""
    progress.note(reason)
    progress.note(f"its logs: {guest.vm.spec.log_dir}")
    if (dead := guest.vm.why_dead()) is not None:
        progress.note(f"its VM cannot be kept: {dead}")
        return
    progress.note(f"its VM is kept; log in: {shlex.join(ssh_argv(guest))}")
    progress.note("Enter ends it")
    with _TERMINAL.open() as terminal:
        terminal.readline()
