# SPDX-License-Identifier: GPL-2.0
"""Tries the testbed on whole hosts: Debian 12 and 13, x86_64 and arm64, each in a VM.

QEMU emulates the processor with its virtualization, so that the host's own KVM works. An ordinary
user of the host's group kvm sets the testbed up, and runs its commands. A host's disk is kept in
the cache; another round needs minutes. The output of each check goes to a folder, which is named
at the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from hosting.checks import Check, checks
from hosting.hostmachine import HostMachine, started
from hosting.hosttable import HOSTS, Host, find_host
from hosting.poor import poor_checks
from hosting.rootimage import make_root_image
from hosting.roundimage import make_round_image
from hosting.rounds import Round
from hosting.seeds import make_seeds
from rich.console import Console

from testbed.cli.exit import end_with
from testbed.context import Context
from testbed.settings import load_settings
from testbed.terminal import make_progress, plain

_FOLLOW = 86400.0  # seconds for a command of the user


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/hosts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--host", action="append", help=f"try this host: {', '.join(HOSTS)} (default: each)"
    )
    parser.add_argument(
        "--arch", help="bring kernels of these architectures, separated by commas (default: all)"
    )
    parser.add_argument("--only", help="perform these checks, separated by commas (default: all)")
    parser.add_argument(
        "--prepare", action="store_true", help="make the disks of the hosts, and boot none"
    )
    parser.add_argument(
        "--commands",
        action="store_true",
        help="run the lines of standard input in the host, after the checks",
    )
    return parser.parse_args()


def chosen(host: Host, arches: Sequence[str], only: str | None) -> Iterator[Check]:
    names = only.split(",") if only is not None else None
    every = (*checks(host, arches), *poor_checks(host))
    return (check for check in every if names is None or check.name in names)


def serve(machine: HostMachine, console: Console) -> None:
    """Run each line of standard input in the host; a line that begins with # as root."""
    for line in sys.stdin:
        user = {"user": "root"} if line.startswith("#") else {}
        show = partial(plain, console)
        outcome = machine.run(line.lstrip("#"), _FOLLOW, on_line=show, **user)
        plain(console, f"status {outcome.status}")


def main() -> int:
    options = parse_options()
    console = Console()
    settings = load_settings(None, {"arch": options.arch})
    ctx = Context.of(settings, make_progress(console))
    hosts = [find_host(name) for name in options.host or HOSTS]
    log_dir = settings.results_dir / f"hosts-{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}"
    log_dir.mkdir(parents=True)
    done = Round(log_dir, ctx.progress, partial(plain, console))
    seeds = [] if options.prepare else make_seeds(ctx)
    for host in hosts:
        root = make_root_image(host, ctx)
        if options.prepare:
            continue
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hosts-")))
            disk = make_round_image(host, seeds, scratch)
            with ctx.progress.step(f"{host}: boot"):
                machine = stack.enter_context(started(host, root, disk, log_dir))
            done.perform(machine, chosen(host, settings.arch, options.only))
            if options.commands:
                serve(machine, console)
    for verdict in done.verdicts:
        plain(console, str(verdict))
    plain(console, f"{len(done.verdicts) - len(done.failed)} passed, {len(done.failed)} failed")
    plain(console, f"output: {log_dir}")
    return 1 if done.failed else 0


if __name__ == "__main__":
    end_with("hosts", main)
