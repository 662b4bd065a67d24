# SPDX-License-Identifier: GPL-2.0
"""Results as static HTML pages, which need nothing but a browser (docs/pages.md)."""
