# SPDX-License-Identifier: GPL-2.0
"""Boots each architecture many times and calls the probe many times in each boot.

It prints one line per architecture. The exit status is 1 if a call was lost.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from testbed.cli.exit import end_with
from testbed.context import Context
from testbed.deadline import Deadline
from testbed.errors import TestbedError
from testbed.kernel.series import load_series
from testbed.lab.guest import guest_up
from testbed.lab.lab import Lab
from testbed.mmap.path import MODULE, HookPath
from testbed.settings import load_settings
from testbed.terminal import make_progress, plain


@dataclass
class Tally:
    """The results of the calls on one architecture. All times are in seconds."""

    opens: list[float] = field(default_factory=list)  # from the start of QEMU to the first answer
    calls: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.calls:
            return f"no call was answered; {len(self.lost)} lost"
        p99 = sorted(self.calls)[int(len(self.calls) * 0.99)]
        return (
            f"{len(self.opens)} boots, {len(self.calls)} calls answered, {len(self.lost)} lost; "
            f"call median {1000 * statistics.median(self.calls):.1f} ms, p99 {1000 * p99:.1f} ms, "
            f"max {1000 * max(self.calls):.1f} ms; "
            f"boot to first answer median {statistics.median(self.opens):.2f} s"
        )


def soak(lab: Lab, arch: str, boots: int, calls: int) -> Tally:
    """Boot and call. Each call maps four pages through a stack and reads them back."""
    tally = Tally()
    prepared = lab.prepared(arch)
    with lab.ctx.progress.step(f"soak {arch}", total=boots) as step:
        for boot in range(boots):
            began = time.monotonic()
            deadline = Deadline.after(lab.ctx.settings.boot_seconds)
            try:
                with guest_up(prepared, lab.log_dir(arch), deadline) as guest:
                    guest.session.hello()
                    tally.opens.append(time.monotonic() - began)
                    guest.load(MODULE)
                    for _ in range(calls):
                        began = time.monotonic()
                        mapped = guest.prober.map(HookPath.STACK)
                        tally.calls.append(time.monotonic() - began)
                        guest.prober.observations.clear()
                        if mapped.made.errno:
                            tally.lost.append(f"boot {boot}: the mapping failed: {mapped.made}")
            except TestbedError as error:
                done = len(tally.calls) % calls
                tally.lost.append(f"boot {boot}, after {done} calls: {error}")
            step.update(boot + 1, note=str(tally))
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument(
        "--arch", help="boot these architectures, separated by commas (default: all)"
    )
    parser.add_argument(
        "--kernel",
        help="boot this kernel: debian, debian:X.Y, tree:PATH or tarball:PATH (default: debian)",
    )
    parser.add_argument(
        "--boots",
        type=int,
        default=20,
        metavar="N",
        help="boot each architecture N times (default: %(default)s)",
    )
    parser.add_argument(
        "--calls",
        type=int,
        default=500,
        metavar="N",
        help="call the probe N times in each boot (default: %(default)s)",
    )
    parser.add_argument(
        "--settings",
        type=Path,
        help="read settings from a TOML file (default: the user's settings)",
    )
    options = parser.parse_args()
    console = Console()
    settings = load_settings(options.settings, {"arch": options.arch, "kernel": options.kernel})
    lab = Lab(Context.of(settings, make_progress(console)), load_series(settings.series))
    tallies = {arch: soak(lab, arch, options.boots, options.calls) for arch in settings.arch}
    for arch, tally in tallies.items():
        plain(console, f"{arch}: {tally}")
        for loss in tally.lost:
            plain(console, f"  lost: {loss}")
    return 1 if any(tally.lost for tally in tallies.values()) else 0


if __name__ == "__main__":
    end_with("soak", main)
