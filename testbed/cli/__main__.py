# SPDX-License-Identifier: GPL-2.0
"""`python -m testbed.cli`: the command `testbed`, for a process that has no PATH to it."""

from testbed.cli import main

main()
