# SPDX-License-Identifier: GPL-2.0
"""The command lines of a cluster's programs: pure functions. docs/nightly.md has the reasons."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

from testbed.errors import SetupError
from testbed.nightly.certs import require_certificates
from testbed.nightly.executor import QEMU, Resources

PORT = 8786

# Settings of the scheduler, as variables of its environment.
#
# The first death of a worker ends its cells: the coordinator queues them again. Otherwise a cell
# that kills its workers would take its neighbours with it, and cells that never started.
SCHEDULER_ENV: Mapping[str, str] = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    # A host that hangs is given up after about a minute.
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "60s",
    # A cell for a worker that has just left is an error, and does not wait for ever.
    "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT": "30s",
    # Cells stay where the coordinator put them.
    "DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING": "False",
}

# Seconds without a scheduler after which a worker ends. Its unit starts it again.
_DEATH_TIMEOUT = 60


def scheduler_argv(host: str, port: int, tls: Path) -> list[str]:
    """Return the command line of the scheduler.

    Raises:
        SetupError: the certificates are missing.
    """
    # fmt: off
    return [
        *_dask("scheduler"), "--host", host, "--port", str(port), "--protocol", "tls",
        *_tls(tls), "--no-dashboard", "--no-show",
    ]
    # fmt: on


def worker_argv(
    scheduler: str, name: str, resources: Resources, scratch: Path, tls: Path, host: str = ""
) -> list[str]:
    """Return the command line of the worker of a host: one process, with a thread for each slot.

    Args:
        scheduler: its address, tls://HOST:PORT.
        name: of the host, the same after each restart.
        scratch: for the worker's own files.
        host: the address that the worker listens on; empty: as it reaches the scheduler.

    Raises:
        SetupError: the certificates are missing.
    """
    words = " ".join(f"{key}={amount:g}" for key, amount in resources.items())
    # fmt: off
    return [
        *_dask("worker"), scheduler, "--name", name, "--nworkers", "1",
        "--nthreads", str(max(1, int(resources[QEMU]))), "--resources", words,
        # The testbed counts memory itself; dask would pause or kill the worker of a large VM.
        "--memory-limit", "0",
        "--death-timeout", str(_DEATH_TIMEOUT), "--local-directory", str(scratch),
        *_tls(tls), "--no-dashboard", *(["--host", host] if host else []),
    ]
    # fmt: on


def require_dask() -> None:
    """Raise SetupError unless the extra `cluster` is installed."""
    if importlib.util.find_spec("distributed") is None:
        hint = "install the extra: pip install 'mmap-testbed[cluster]'"
        raise SetupError("dask.distributed is not installed", hint=hint)


def _dask(command: str) -> list[str]:
    return [sys.executable, "-P", "-m", "dask", command]


def _tls(folder: Path) -> list[str]:
    ca, certificate, key = require_certificates(folder)
    return ["--tls-ca-file", str(ca), "--tls-cert", str(certificate), "--tls-key", str(key)]
