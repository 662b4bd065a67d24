# SPDX-License-Identifier: GPL-2.0
"""What the tests of kernel text share."""

from __future__ import annotations

from pathlib import Path

from testbed.context import Context

# git without what the user has set.
GIT_ALONE = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "A. Developer",
    "GIT_AUTHOR_EMAIL": "developer@example.org",
    "GIT_COMMITTER_NAME": "A. Developer",
    "GIT_COMMITTER_EMAIL": "developer@example.org",
}


class Unused:
    """A text whose tree is there already: nobody asks where it comes from."""

    identity = family = configuration = version = description = ""
    in_place = False

    def unpack(self, ctx: Context) -> Path:
        raise AssertionError("not asked for")
