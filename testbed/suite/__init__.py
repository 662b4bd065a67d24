# SPDX-License-Identifier: GPL-2.0
"""The pytest plugin, and the verdict on each test of a session."""
