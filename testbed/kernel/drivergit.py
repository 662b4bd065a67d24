# SPDX-License-Identifier: GPL-2.0
"""The repository that holds a user's driver, for Makefiles that call git, as for a version.

The copy of the driver gets a clone that borrows the user's objects. The user's repository is only
read.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from testbed.errors import CommandError
from testbed.kernel.gitenv import FOREIGN_ENV
from testbed.kernel.revision import git
from testbed.process import run


def repository_of(folder: Path) -> Path | None:
    """Return the top of the working tree that holds a folder, or None without a readable one."""
    if not shutil.which("git"):
        return None
    try:
        return Path(git(folder, "rev-parse", "--show-toplevel").removesuffix("\n")).resolve()
    except CommandError:
        return None


def described(top: Path) -> str:
    """Return what git reports about a repository, as far as a Makefile may print it."""
    with suppress(CommandError):
        words = ("log", "-1", "--format=%H %D %cI", "HEAD")
        return "".join((git(top, *words), *sorted(_changed(top))))
    return ""


def lend(top: Path, copy: Path) -> None:
    """Make an empty folder `copy` a clone of the repository at `top`, without its files."""
    clone = ("git", "clone", "--quiet", "--shared", "--no-checkout", "--template=", top, copy)
    with suppress(CommandError):
        run([*FOREIGN_ENV, *clone])
        index = git(top, "rev-parse", "--path-format=absolute", "--git-path", "index")
        shutil.copyfile(index.removesuffix("\n"), copy / ".git/index")


def hide_absent(top: Path, copy: Path) -> None:
    """Let git believe that the unchanged files that were not copied are there.

    Otherwise the version would be marked as dirty.
    """
    with suppress(CommandError):
        absent = set(git(copy, "ls-files", "--deleted", "-z").split("\0")) - {""}
        names = "\0".join(sorted(absent - _changed(top)))
        words = ("update-index", "-z", "--skip-worktree", "--stdin")
        run([*FOREIGN_ENV, "git", "-C", copy, *words], stdin=names.encode())


def _changed(top: Path) -> set[str]:
    """Return the names of tracked files that differ from the commit."""
    words = ("status", "--porcelain", "--no-renames", "--untracked-files=no", "-z")
    return {line[3:] for line in git(top, *words).split("\0") if line}
