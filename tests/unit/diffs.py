# SPDX-License-Identifier: GPL-2.0
"""Patches made by hand, for the tests of patches, series and mails."""

from __future__ import annotations

import difflib


def diff(name: str, old: str, new: str, *, context: int = 3) -> str:
    """Return the diff from `old` to `new`, in git's format."""
    lines = difflib.unified_diff(
        old.splitlines(keepends=True),
        new.splitlines(keepends=True),
        f"a/{name}",
        f"b/{name}",
        n=context,
    )
    return f"diff --git a/{name} b/{name}\n{''.join(lines)}"


def mail(subject: str, body: str, *headers: str) -> str:
    """Return a mail in the format of git format-patch. `body` is message, `---` and diff."""
    head = ["From: A. Developer <developer@example.org>", "Date: Mon, 2 Nov 2026 10:00:00 +0000"]
    lines = [*head, f"Subject: {subject}", *headers, "", body]
    return "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\n" + "\n".join(
        lines
    )
