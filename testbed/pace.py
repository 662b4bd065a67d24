# SPDX-License-Identifier: GPL-2.0
"""How long work took the last time on this host: figures that are kept from run to run."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import TestbedError
from testbed.files import make_folder, write_whole
from testbed.settings import Settings

_FILE = "pace.json"


@dataclass(frozen=True)
class Pace:
    """One figure, such as the seconds that a build takes on one processor."""

    file: Path
    work: str  # the kind of work, which names the figure in the file
    shipped: float  # the figure of a host that has none of its own

    @classmethod
    def of(cls, settings: Settings, work: str, shipped: float) -> Pace:
        """Return the figure of some work on this host."""
        return cls(settings.state_dir / _FILE, work, shipped)

    def read(self) -> float:
        """Return the figure of the last time, else the shipped one."""
        return self._known().get(self.work, self.shipped)

    def keep(self, figure: float) -> None:
        """Keep a figure for the next time. It is only an estimate: no error ends the work."""
        with contextlib.suppress(TestbedError):
            make_folder(self.file.parent, "state_dir")
            content = {**self._known(), self.work: round(figure, 3)}
            write_whole(self.file, json.dumps(content, indent=1) + "\n")

    def _known(self) -> dict[str, float]:
        # An unreadable file counts as empty.
        try:
            content = json.loads(self.file.read_text())
            return {str(work): float(figure) for work, figure in content.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
