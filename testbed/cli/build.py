# SPDX-License-Identifier: GPL-2.0
"""`testbed build`."""

from __future__ import annotations

from typing import Any

import click

from testbed.cli.invocation import opened
from testbed.cli.options import kernel_options


@click.command()
@kernel_options
def build(**options: Any) -> None:
    """Build kernels with their modules, guest programs and images.

    It prints the release and the files of each kernel.

    \b
    Example:
      testbed build --kernel tree:~/linux --arch x86_64
    """
    with opened(options) as invocation:
        for prepared in invocation.prepared_kernels():
            kernel = prepared.kernel
            files = (kernel.image, kernel.vmlinux, kernel.config, kernel.log, prepared.image.path)
            invocation.show(
                (f"{prepared.arch}: {kernel.release}", *(f"  {path}" for path in files))
            )
