# SPDX-License-Identifier: GPL-2.0
"""The end of a program of the testbed: errors become exit statuses, signals clean up first."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import click

from testbed.errors import GuestError, SetupError, TestbedError, TreeError
from testbed.results.model import EXIT_FINDINGS, EXIT_INFRA, EXIT_SETUP

# As in shells: 128 plus the number of the signal.
_EXIT_INTERRUPT = 128 + signal.SIGINT


def end_with(name: str, command: Callable[[], int]) -> NoReturn:
    """Run a command, and exit with its status or the status of its error (docs/running.md)."""
    # Clean up after both. A shell makes a background process ignore SIGINT: undo that.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(command())
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_SETUP)
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"{name}: interrupted", err=True)
        sys.exit(_EXIT_INTERRUPT)
    except TestbedError as error:
        click.echo(f"{name}: {type(error).__name__}: {error}", err=True)
        sys.exit(_exit_status(error))
    except OSError as error:
        click.echo(f"{name}: host error: {error}", err=True)
        sys.exit(EXIT_INFRA)
    except Exception:
        # A bug in the testbed must not look like a finding about the kernel.
        traceback.print_exc()
        sys.exit(EXIT_INFRA)


def _exit_status(error: TestbedError) -> int:
    if isinstance(error, SetupError):
        return EXIT_SETUP
    return EXIT_FINDINGS if isinstance(error, TreeError | GuestError) else EXIT_INFRA
