# SPDX-License-Identifier: GPL-2.0
"""The hooks of the kernel that a session tests."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.errors import TestbedError
from testbed.inventory.hook import Hook
from testbed.inventory.inventory import inventory_of
from testbed.kernel.source import resolve
from testbed.lab.lab import Lab


def hooks_of(lab: Lab) -> Sequence[Hook]:
    """Return the hooks; empty, with a note, if they cannot be listed."""
    try:
        prepared = next(iter(lab.all_prepared()), None)
        source = prepared.source if prepared else resolve(lab.ctx.settings.kernel, lab.ctx)
        return inventory_of(source, lab.series, lab.ctx).real
    except TestbedError as error:
        # The results are right without the table.
        lab.ctx.progress.note(f"the kernel's hooks cannot be listed: {error.message}")
        return ()
