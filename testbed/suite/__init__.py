# SPDX-License-Identifier: GPL-2.0
"""A session of tests: the pytest plugin, and what it makes of each test."""
