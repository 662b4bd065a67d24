# SPDX-License-Identifier: GPL-2.0
"""`testbed series`."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from testbed.cli.invocation import opened
from testbed.cli.options import json_option, kernel_options
from testbed.errors import SetupError
from testbed.kernel.fit import refuse_conflicts


@click.command()
@kernel_options
@json_option
def series(**options: Any) -> None:
    """Show how each patch of a series applies to a kernel.

    Nothing is built.

    Exit status: 0 no patch conflicts, 1 one conflicts; 2, 3 and 130 as for `testbed run`.

    \b
    Examples:
      testbed series --series fixes.mbox --kernel debian:7.2
      testbed series --series v7.3..topic --kernel tree:~/linux@v7.3
    """
    with opened(options) as invocation:
        if not invocation.series.patches:
            raise SetupError("there is no series to show", hint="give --series")
        fitted = invocation.fit_series()
        invocation.report(fitted.lines, dataclasses.asdict(fitted))
        refuse_conflicts(fitted.fits)
