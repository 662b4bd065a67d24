# SPDX-License-Identifier: GPL-2.0
"""What a worker of dask loads before it runs sham cells."""

from __future__ import annotations

from sham_cells import register

register()
