# SPDX-License-Identifier: GPL-2.0
"""`testbed cluster`."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import click

from testbed.cli.options import settings_option
from testbed.errors import SetupError
from testbed.nightly.certs import write_certificates
from testbed.nightly.cluster import (
    PORT,
    SCHEDULER_ENV,
    require_dask,
    scheduler_argv,
    worker_argv,
)
from testbed.nightly.executor import QEMU
from testbed.nightly.local import host_resources
from testbed.settings import load_settings

_TLS = click.option(
    "--tls", type=click.Path(path_type=Path), required=True, metavar="DIR",
    help="Use the certificates in DIR, which `testbed cluster certs` made.",
)  # fmt: skip


@click.group()
def cluster() -> None:
    """Run the cells of a nightly on several hosts.

    One host runs the scheduler, and each host that runs cells a worker. All have the certificates.
    `testbed nightly --executor dask` then uses them.

    \b
    Examples:
      testbed cluster certs --tls ~/certs
      testbed cluster scheduler --tls ~/certs
      testbed cluster worker tls://server:8786 --tls ~/certs
    """


@cluster.command()
@click.option(
    "--tls", type=click.Path(path_type=Path), required=True, metavar="DIR",
    help="Write the certificates to DIR. Copy it to each host.",
)  # fmt: skip
@click.option(
    "--days", type=click.IntRange(1), default=825, show_default=True, metavar="N",
    help="Make them valid for N days.",
)  # fmt: skip
def certs(tls: Path, days: int) -> None:
    """Make the certificates by which hosts prove that they belong to the cluster.

    Whoever has them runs code on all hosts.
    """
    for file in write_certificates(tls, days):
        click.echo(file)


@cluster.command()
@click.option(
    "--host", default="", metavar="ADDRESS",
    help="Listen on this address. Default: on all.",
)  # fmt: skip
@click.option("--port", type=int, default=PORT, show_default=True, help="Listen on this port.")
@_TLS
def scheduler(host: str, port: int, tls: Path) -> None:
    """Run the scheduler, to which workers and nightlies connect. It ends with Ctrl-C."""
    require_dask()
    _become(scheduler_argv(host or "0.0.0.0", port, tls), SCHEDULER_ENV)


@cluster.command()
@click.argument("address", metavar="SCHEDULER")
@click.option(
    "--name", default="", metavar="NAME",
    help="Call the host NAME, always the same. Default: its host name.",
)  # fmt: skip
@click.option(
    "--slots", type=click.IntRange(1), metavar="N",
    help="Run up to N tests at a time. Default: one per CPU that memory allows.",
)  # fmt: skip
@click.option(
    "--host", default="", metavar="ADDRESS",
    help="Listen on this address. Default: the one that reaches the scheduler.",
)  # fmt: skip
@_TLS
@settings_option
def worker(
    address: str, name: str, slots: int | None, host: str, tls: Path, settings_file: Path | None
) -> None:
    """Run cells on this host for the scheduler at SCHEDULER, tls://HOST:PORT.

    It ends a minute after the scheduler has gone; a unit of systemd with Restart=always starts it
    again.
    """
    require_dask()
    if not address.startswith("tls://"):
        raise SetupError(f"{address} is not the address of a scheduler", hint="tls://HOST:PORT")
    resources = host_resources(load_settings(settings_file))
    resources |= {QEMU: slots} if slots else {}
    scratch = Path(tempfile.gettempdir(), f"testbed-{os.getuid()}-worker")
    argv = worker_argv(address, name or socket.gethostname(), resources, scratch, tls, host)
    _become(argv, {})


def _become(argv: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """Replace this process by another program, which gets its signals. The user's `env` counts."""
    os.execve(argv[0], list(argv), {**env, **os.environ})
