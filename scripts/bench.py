"""Measures how long a boot takes to its first answer over SSH, and beside virtme-ng.

With `--peer`, virtme-ng is installed into an environment of its own (in the cache),
and both boot the same kernel, which then has the file systems that virtme-ng needs.
virtme-ng's cycle is one command from start to end: it has no session.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from testbed.cache import Cache
from testbed.deadline import Deadline
from testbed.errors import InfraError, TestbedError
from testbed.kernel.series import load_series
from testbed.lab.cell import Cell, prepare
from testbed.lab.guest import guest_up
from testbed.run import run
from testbed.settings import CHECKOUT, load_settings
from testbed.terminal import make_progress

# virtme-ng runs x86_64 guests only where the host's own userland is the guest's root.
PEER_ARCH = "x86_64"

_PATIENCE = 120.0  # seconds for one cycle


def boot_to_first_answer(cell: Cell) -> float:
    """Seconds from nothing to the answer of a command."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        began = time.monotonic()
        with guest_up(cell, Path(folder), Deadline.after(_PATIENCE)) as guest:
            guest.session.check(["true"])
            return time.monotonic() - began


def peer_cycle(program: Path, cell: Cell) -> float:
    """Seconds that virtme-ng takes for one command, under the same accelerator."""
    words = [program, "--run", cell.kernel.image, "--memory", "512M", "--cpus", "1"]
    words += ["--disable-kvm"] if cell.accel.accel == "tcg" else []
    # The console tells the result, which does not stand in the command itself.
    words += ["--verbose", "--exec", r"expr 6 \* 7000001"]
    command = shlex.join(map(str, words))
    # It wants a terminal, and calls its other programs by name.
    argv = ["script", "--quiet", "--return", "--command", command, "/dev/null"]
    env = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    began = time.monotonic()
    # Its status is 255 where the host has no udev, although the command has run.
    shown = run(argv, env=env, deadline=Deadline.after(_PATIENCE), ok=range(256)).stdout
    seconds = time.monotonic() - began
    if "42000006" not in shown:
        raise InfraError("virtme-ng did not run its command", evidence=command)
    return seconds


def install_peer(cache: Cache) -> Path:
    """virtme-ng in an environment of its own, in the cache."""
    with cache.work("virtme-ng") as folder:
        program = folder / "bin" / "vng"
        if not program.exists():
            run([sys.executable, "-m", "venv", folder])
            run([folder / "bin" / "pip", "install", "--quiet", "virtme-ng"])
    return program


def bench(arch: str, rounds: int, cell: Cell, peer: Path | None, table: Table) -> None:
    """Measure one architecture into the table's rows."""
    actions = [partial(boot_to_first_answer, cell)]
    if peer is None:
        (ours,) = measure(rounds, *actions)
        return add_row(table, f"{arch}: boot to first answer", ours)
    ours, theirs = measure(rounds, *actions, partial(peer_cycle, peer, cell))
    ratio = statistics.median(ours) / statistics.median(theirs)
    add_row(table, f"{arch}: boot to first answer", ours, f"{ratio:.2f}")
    add_row(table, f"{arch}: virtme-ng, one command", theirs)


def measure(rounds: int, *actions: Callable[[], float]) -> list[list[float]]:
    """The seconds of each action; they take turns, so that a busy host slows all alike."""
    samples = [[action() for action in actions] for _ in range(rounds)]
    return [list(column) for column in zip(*samples, strict=True)]


def add_row(table: Table, what: str, seconds: list[float], ratio: str = "") -> None:
    figures = (statistics.median(seconds), min(seconds), max(seconds))
    table.add_row(what, *(f"{figure:.2f} s" for figure in figures), ratio)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure boots to the first answer.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--arch", help="default: all")
    parser.add_argument("--peer", action="store_true", help="virtme-ng on the same kernel as well")
    arguments = parser.parse_args()
    console = Console()
    progress = make_progress(console)
    settings = load_settings(None, {"arch": arguments.arch})
    cache = Cache(settings.cache_dir, settings.cache_limit, progress)
    table = Table("what", "median", "min", "max", "ratio", box=None)
    for arch in settings.arch:
        with_peer = arguments.peer and arch == PEER_ARCH
        fragments = (CHECKOUT / "kernel-config/peer.config",) if with_peer else ()
        cell = prepare(arch, load_series(""), settings, cache, progress, fragments=fragments)
        bench(arch, arguments.rounds, cell, install_peer(cache) if with_peer else None, table)
    console.print(table)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TestbedError as error:
        sys.exit(f"bench: {error}")
