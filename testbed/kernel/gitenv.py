# SPDX-License-Identifier: GPL-2.0
"""The environment that git runs in: nothing of the user's decides what it does."""

from __future__ import annotations

import os

# Variables for testbed.process: whatever the user has set for repositories is not for ours.
NO_SETTINGS = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}

# git takes files as plain ones, even where a repository is around them.
NO_REPOSITORY = {"GIT_DIR": os.devnull, **NO_SETTINGS}

# Equal texts give equal commits, whoever makes them, where and when.
NOBODY = {
    **NO_SETTINGS,
    "GIT_AUTHOR_NAME": "testbed",
    "GIT_AUTHOR_EMAIL": "testbed@localhost",
    "GIT_AUTHOR_DATE": "1970-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "testbed",
    "GIT_COMMITTER_EMAIL": "testbed@localhost",
    "GIT_COMMITTER_DATE": "1970-01-01T00:00:00Z",
}

# A hook that calls the testbed has these set; they would send git to another repository.
_FOREIGN = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
)

# In front of a command: without them.
FOREIGN_ENV = ["env", *(word for name in _FOREIGN for word in ("-u", name))]
