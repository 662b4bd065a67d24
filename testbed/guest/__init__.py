# SPDX-License-Identifier: GPL-2.0
"""A VM to a session that runs things and notices trouble."""
