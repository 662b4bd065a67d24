# SPDX-License-Identifier: GPL-2.0
"""From a VM to a session that runs commands and notices trouble."""
