# SPDX-License-Identifier: GPL-2.0
"""A progress that keeps its notes."""

from __future__ import annotations

from testbed.progress import SilentProgress


class Notes(SilentProgress):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str, *, once: bool = False) -> None:
        if not (once and text in self.texts):
            self.texts.append(text)
