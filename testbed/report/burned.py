# SPDX-License-Identifier: GPL-2.0
"""The burn-down of hooks in the folder of a run, for the page that shows it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.files import DAMAGED, write_whole
from testbed.inventory.burndown import BurnDown, Change, Changed, Progress

BURN_DOWN_FILE = "burn-down.json"


def write_burn_down(folder: Path, burned: BurnDown) -> None:
    write_whole(folder / BURN_DOWN_FILE, json.dumps(dataclasses.asdict(burned), indent=1) + "\n")


def read_burn_down(folder: Path) -> BurnDown | None:
    """Return the burn-down in a run's folder; None if there is none that can be read."""
    try:
        values = json.loads((folder / BURN_DOWN_FILE).read_text())
        return BurnDown(
            before=values["before"],
            after=values["after"],
            changed=tuple(_changed(each) for each in values["changed"]),
            progress=tuple(_progress(each) for each in values["progress"]),
        )
    except DAMAGED:
        return None


def _changed(values: Mapping[str, Any]) -> Changed:
    return Changed(**{**values, "change": Change(values["change"])})


def _progress(values: Mapping[str, Any]) -> Progress:
    before, after = (tuple(values[side]) for side in ("before", "after"))
    return Progress(struct=values["struct"], before=before, after=after)
