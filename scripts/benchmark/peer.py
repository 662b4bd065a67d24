# SPDX-License-Identifier: GPL-2.0
"""virtme-ng, in an environment of its own."""

from __future__ import annotations

import os
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmark.cycles import PATIENCE
from benchmark.figures import PEER, Samples
from testbed.cache import Cache
from testbed.deadline import Deadline
from testbed.errors import InfraError
from testbed.lab.prepared import PreparedKernel
from testbed.process import run
from testbed.settings import KERNEL_CONFIG

# virtme-ng runs x86_64 guests only where the host's own userland is the guest's root.
PEER_ARCH = "x86_64"

# What it needs of a kernel, which then both have.
PEER_FRAGMENT = KERNEL_CONFIG / "peer.config"


@dataclass(frozen=True)
class Peer:
    """virtme-ng's cycle on a prepared kernel's kernel, under the same accelerator."""

    program: Path
    prepared: PreparedKernel
    samples: Samples

    def cycle(self) -> None:
        """One command from start to end: it has no session."""
        command = shlex.join(self._words())
        # It wants a terminal, and calls its other programs by name.
        argv = ["script", "--quiet", "--return", "--command", command, "/dev/null"]
        env = {"PATH": f"{self.program.parent}:{os.environ['PATH']}"}
        began = time.monotonic()
        # Its status is 255 where the host has no udev, although the command has run.
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
        # The console tells the result, which does not stand in the command itself.
        words += ["--verbose", "--exec", r"expr 6 \* 7000001"]
        return [str(word) for word in words]


def install_peer(cache: Cache) -> Path:
    """virtme-ng's program; installed into the cache when it is not there."""
    with cache.work("virtme-ng") as folder:
        program = folder / "bin" / "vng"
        if not program.exists():
            run([sys.executable, "-m", "venv", folder])
            run([folder / "bin" / "pip", "install", "--quiet", "virtme-ng"])
    return program
