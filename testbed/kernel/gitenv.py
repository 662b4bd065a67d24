# SPDX-License-Identifier: GPL-2.0
"""The environment of git, which hides the user's configuration."""

from __future__ import annotations

import os

# Variables for testbed.process: git ignores the user's and the host's configuration.
NO_SETTINGS = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}

# git treats files as plain files, even inside a repository.
NO_REPOSITORY = {"GIT_DIR": os.devnull, **NO_SETTINGS}

# With these, equal texts give equal commits, independent of user, host and time.
NOBODY = {
    **NO_SETTINGS,
    "GIT_AUTHOR_NAME": "testbed",
    "GIT_AUTHOR_EMAIL": "testbed@localhost",
    "GIT_AUTHOR_DATE": "1970-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "testbed",
    "GIT_COMMITTER_EMAIL": "testbed@localhost",
    "GIT_COMMITTER_DATE": "1970-01-01T00:00:00Z",
}

# A git hook that calls the testbed sets these. They would direct git to another repository.
_FOREIGN = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
)

# A prefix for commands that removes these variables.
FOREIGN_ENV = ["env", *(word for name in _FOREIGN for word in ("-u", name))]
