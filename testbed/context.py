# SPDX-License-Identifier: GPL-2.0
"""The settings, the cache and the progress, which most functions need together."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.cache import Cache
from testbed.progress import Progress
from testbed.settings import Settings


@dataclass(frozen=True)
class Context:
    """The user's settings, the cache of finished work, and the receiver of progress."""

    settings: Settings
    cache: Cache
    progress: Progress

    @classmethod
    def of(cls, settings: Settings, progress: Progress) -> Context:
        """Return a context whose cache is the one that the settings name."""
        return cls(settings, Cache(settings.cache_dir, settings.cache_limit, progress), progress)
