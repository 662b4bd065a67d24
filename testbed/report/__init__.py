# SPDX-License-Identifier: GPL-2.0
"""What people look at: tables of a run, and of what differs between two."""
