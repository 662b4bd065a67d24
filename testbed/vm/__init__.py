# SPDX-License-Identifier: GPL-2.0
"""From an image to a running VM."""
