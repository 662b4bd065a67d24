# SPDX-License-Identifier: GPL-2.0
"""The command `testbed` with sham cells: `python -m sham_nightly nightly MATRIX`."""

from __future__ import annotations

from sham_cells import register

from testbed.cli import main

register()
main()
