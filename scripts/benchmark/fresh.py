# SPDX-License-Identifier: GPL-2.0
"""From nothing: a script in a fresh clone of the checkout, with folders of its own.

Only the system packages, and what HOME has beside the XDG folders, are those of the host.
"""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmark.commands import spent
from benchmark.cycles import scratch
from benchmark.figures import Samples
from benchmark.quantities import FRESH_CI, FRESH_RUN, Quantity
from testbed.deadline import Deadline
from testbed.process import run
from testbed.settings import APP, CHECKOUT, Settings, settings_text

_PATIENCE = 6 * 3600.0  # seconds for one script


@dataclass(frozen=True)
class Fresh:
    """Scripts that find nothing of an earlier call."""

    settings: Settings
    samples: Samples

    def run(self) -> None:
        """Measure the setup, the builds, and all tests."""
        self._measure("scripts/run", FRESH_RUN)

    def ci(self) -> None:
        """Measure what continuous integration runs."""
        self._measure(".ci/run", FRESH_CI)

    def _measure(self, script: str, quantity: Quantity) -> None:
        """Measure a script from start to end. Its output stays, in the folder of the results.

        Raises:
            CommandError: the script failed, so that the time would mean something else.
        """
        log = self.settings.results_dir / f"bench-{script.strip('.').replace('/', '-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        shm = self.settings.template_dir.parent
        with scratch() as home, tempfile.TemporaryDirectory(prefix="bench-", dir=shm) as templates:
            checkout = home / "checkout"
            run(["git", "clone", "--quiet", CHECKOUT, checkout])
            env = prepare_home(home, Path(templates), self.settings)
            deadline = Deadline.after(_PATIENCE)
            found = spent([checkout / script], cwd=checkout, env=env, log=log, deadline=deadline)
        self.samples.add(",".join(self.settings.arch), quantity, found.wall)


def prepare_home(home: Path, templates: Path, settings: Settings) -> dict[str, str]:
    """Make the XDG folders below `home`, and a settings file. Return the variables that name them.

    The settings are the user's, except for the folders.
    """
    names = ("cache", "config", "data", "state")
    folders = {name: home / name / APP for name in names}
    own = dataclasses.replace(
        settings,
        cache_dir=folders["cache"],
        data_dir=folders["data"],
        state_dir=folders["state"],
        template_dir=templates,
        results_dir=home / "results",
    )
    folders["config"].mkdir(parents=True)
    (folders["config"] / "testbed.toml").write_text(settings_text(own))
    return {f"XDG_{name.upper()}_HOME": str(home / name) for name in names}
