# SPDX-License-Identifier: GPL-2.0
"""Parts that the tests of kernel text share."""

from __future__ import annotations

from pathlib import Path

from testbed.context import Context

# git without the user's configuration.
GIT_ALONE = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "A. Developer",
    "GIT_AUTHOR_EMAIL": "developer@example.org",
    "GIT_COMMITTER_NAME": "A. Developer",
    "GIT_COMMITTER_EMAIL": "developer@example.org",
}


class Unused:
    """A text whose tree is already unpacked."""

    identity = family = configuration = version = description = commit = ""
    in_place = False

    def unpack(self, ctx: Context) -> Path:
        raise AssertionError("a tree that exists was unpacked again")
