# SPDX-License-Identifier: GPL-2.0
"""What goes from hand to hand wherever something is made."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.cache import Cache
from testbed.progress import Progress
from testbed.settings import Settings


@dataclass(frozen=True)
class Context:
    """What is wanted, what there is already, and who is told."""

    settings: Settings
    cache: Cache
    progress: Progress

    @classmethod
    def of(cls, settings: Settings, progress: Progress) -> Context:
        """With the cache of the settings."""
        return cls(settings, Cache(settings.cache_dir, settings.cache_limit, progress), progress)
