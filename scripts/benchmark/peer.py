# SPDX-License-Identifier: GPL-2.0
"""virtme-ng, in a separate Python environment."""

from __future__ import annotations

import os
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmark.cycles import PATIENCE
from benchmark.figures import Samples
from benchmark.quantities import (
    PEER,
)
from testbed.cache import Cache
from testbed.deadline import Deadline
from testbed.errors import InfraError
from testbed.lab.prepared import PreparedKernel
from testbed.process import run
from testbed.settings import KERNEL_CONFIG

# virtme-ng runs only x86_64 guests if the guest's root is the host's own userland.
PEER_ARCH = "x86_64"

# Options that it needs in a kernel. The kernel of both sides then has them.
PEER_FRAGMENT = KERNEL_CONFIG / "peer.config"


@dataclass(frozen=True)
class Peer:
    """virtme-ng's cycle on a prepared kernel's kernel, under the same accelerator."""

    program: Path
    prepared: PreparedKernel
    samples: Samples

    def cycle(self) -> None:
        """Measure one command from start to end, because virtme-ng lacks sessions."""
        command = shlex.join(self._words())
        # It needs a terminal, and finds its other programs in PATH.
        argv = ["script", "--quiet", "--return", "--command", command, "/dev/null"]
        env = {"PATH": f"{self.program.parent}:{os.environ['PATH']}"}
        began = time.monotonic()
        # If the host lacks udev, the status is 255 although the command ran.
        shown = run(argv, env=env, deadline=Deadline.after(PATIENCE), ok=range(256)).stdout
        seconds = time.monotonic() - began
        if "42000006" not in shown:
            raise InfraError("virtme-ng did not run its command", evidence=command)
        self.samples.add(self.prepared.arch.name, PEER, seconds)

    def _words(self) -> list[str]:
        prepared = self.prepared
        words = [self.program, "--run", prepared.kernel.image, "--cpus", "1"]
        words += ["--memory", f"{prepared.memory_mib}M"]
        words += ["--disable-kvm"] if prepared.accel.accel == "tcg" else []
        # The result shows on the console. The command itself does not contain it.
        words += ["--verbose", "--exec", r"expr 6 \* 7000001"]
        return [str(word) for word in words]


def install_peer(cache: Cache) -> Path:
    """Return virtme-ng's program. Install it into the cache first if it is missing."""
    with cache.work("virtme-ng") as folder:
        program = folder / "bin" / "vng"
        if not program.exists():
            run([sys.executable, "-m", "venv", folder])
            run([folder / "bin" / "pip", "install", "--quiet", "virtme-ng"])
    return program
