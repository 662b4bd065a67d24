# SPDX-License-Identifier: GPL-2.0
"""Saving a VM's state to a file, and loading it: QEMU's migration, without the memory.

Memory that is shared with a file stays in that file (x-ignore-shared). Clones start from the
file that was the memory of the template's guest.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from testbed.deadline import Deadline
from testbed.errors import QmpError
from testbed.vm.notifier import Notifier
from testbed.vm.qmp import Qmp

_CAPABILITIES = [
    {"capability": "x-ignore-shared", "state": True},
    {"capability": "events", "state": True},
]

# QEMU receives an open file under this name: in its sandbox it opens none itself.
_FILE = "state"
_URI = f"fd:{_FILE}"

# QEMU's MigrationStatus.
_DONE = "completed"
_ENDS = frozenset({_DONE, "failed"})


def save_state(qmp: Qmp, path: Path, notifier: Notifier, deadline: Deadline) -> None:
    """Stop the VM, and write all of its state except the memory to `path`.

    Raises:
        QmpError: QEMU fails, or does not finish in time.
    """
    qmp.execute("stop", deadline=deadline)
    _prepare(qmp, path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, deadline)
    qmp.execute("migrate", {"uri": _URI}, deadline=deadline)
    _await(qmp, "saving the VM", notifier, deadline)


def load_state(qmp: Qmp, path: Path, notifier: Notifier, deadline: Deadline) -> None:
    """Load a file of `save_state` into a VM that waits for it, and let the VM run.

    Raises:
        QmpError: QEMU fails, or does not finish in time.
    """
    _prepare(qmp, path, os.O_RDONLY, deadline)
    qmp.execute("migrate-incoming", {"uri": _URI}, deadline=deadline)
    _await(qmp, "loading the template", notifier, deadline)
    # The VM was saved in the stopped state.
    qmp.execute("cont", deadline=deadline)


def _prepare(qmp: Qmp, path: Path, flags: int, deadline: Deadline) -> None:
    qmp.execute("migrate-set-capabilities", {"capabilities": _CAPABILITIES}, deadline=deadline)
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        qmp.send_file(_FILE, fd, deadline)
    finally:
        os.close(fd)


def _await(qmp: Qmp, what: str, notifier: Notifier, deadline: Deadline) -> None:
    status = notifier.wait_for(partial(_end, qmp), deadline)
    if status is None:
        raise QmpError(f"{what} did not end within {deadline}")
    if status != _DONE:
        raise QmpError(f"{what} failed: {status}")


def _end(qmp: Qmp) -> str | None:
    """Return how the migration ended; None while it runs."""
    for event in qmp.events:
        if event.name == "MIGRATION" and (status := str(event.data.get("status"))) in _ENDS:
            return status
    return "QEMU hung up" if qmp.closed else None
