# SPDX-License-Identifier: GPL-2.0
"""Read commits of the user's git tree, which is never written."""

from __future__ import annotations

import tempfile
from pathlib import Path

from testbed.errors import CommandError, SetupError
from testbed.files import user_path
from testbed.kernel.content import Content
from testbed.kernel.gitenv import FOREIGN_ENV
from testbed.kernel.gittree import find_repository, listed_kconfig
from testbed.kernel.patch import NAME_LENGTH, Patch, make_patch
from testbed.process import check_output

_TREE = "tree:"

# `tree:PATH@base` stands for PATH at the base commit that the series names.
BASE = "base"


def split_revision(wanted: str) -> tuple[Path, str]:
    """Split `PATH@REV` into PATH and REV. If a directory has the whole name, REV is empty.

    Raises:
        SetupError: PATH is not a path, or REV is missing.
    """
    whole = user_path(wanted)
    name, at, revision = wanted.rpartition("@")
    if not at or whole.exists():
        return whole, ""
    if not revision:
        raise SetupError(f"{wanted} names no revision", hint="give PATH@REV, or PATH alone")
    return user_path(name), revision


def tree_of(kernel: str) -> Path | None:
    """Return PATH of a kernel `tree:PATH` or `tree:PATH@REV`, else None."""
    return split_revision(kernel.removeprefix(_TREE))[0] if kernel.startswith(_TREE) else None


def at_base(kernel: str, base: str) -> str:
    """Replace `base` in `tree:PATH@base` by the base commit of the series.

    Raises:
        SetupError: the series names no base commit.
    """
    if not kernel.startswith(_TREE) or split_revision(kernel)[1] != BASE:
        return kernel
    if not base:
        raise SetupError(f"{kernel}: the series names no base-commit")
    return f"{kernel.removesuffix(BASE)}{base}"


def commit_of(path: Path, revision: str) -> str:
    """Return the id of the commit of a revision.

    Raises:
        SetupError: there is no repository, or it lacks the commit.
    """
    if find_repository(path) is None:
        raise SetupError(f"{path} is not the top of a git tree: it has no revisions")
    try:
        return git(path, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip()
    except CommandError as exc:
        raise SetupError(f"{path} has no commit {revision}") from exc


def content_of(path: Path, commit: str) -> Content:
    """Return the identity of a commit's text."""
    tree = git(path, "rev-parse", f"{commit}^{{tree}}").strip()
    # The format of ls-files --stage.
    form = "--format=%(objectmode) %(objectname) 0%x09%(path)"
    return Content(f"git {tree}", listed_kconfig(git(path, "ls-tree", "-rz", form, tree)))


def makefile_of(path: Path, commit: str) -> str:
    """Return the top Makefile of a commit, or "" without one."""
    try:
        return git(path, "cat-file", "blob", f"{commit}:Makefile")
    except CommandError:
        return ""


def read_range(path: Path, wanted: str) -> list[Patch]:
    """Return the commits of `A..B` as patches, the oldest first.

    Raises:
        SetupError: it is not a range, or contains a merge.
    """
    first, _, last = wanted.partition("..")
    if last.startswith("."):
        raise SetupError(f"{wanted} is not a range of commits", hint="give A..B")
    between = "..".join(commit_of(path, end or "HEAD") for end in (first, last))
    commits = git(path, "rev-list", "--reverse", "--topo-order", between).split()
    if merges := git(path, "rev-list", "--merges", between).split():
        raise SetupError(
            f"{wanted} has {len(merges)} merges, such as {merges[0][:12]}: a series has none",
            hint=f"build the end of the range instead: --kernel tree:{path}@{last or 'HEAD'}",
        )
    patches = (_patch(path, commit, number) for number, commit in enumerate(commits, 1))
    return [patch for patch in patches if patch is not None]


def base_note(kernel: str, base: str) -> str:
    """Return a note if the kernel is not, or may not be, the base commit of a series; else ""."""
    path = tree_of(kernel)
    if not base:
        return ""
    named = f"the series is made for commit {base[:12]}"
    if path is None or find_repository(path) is None:
        return f"{named}, but this source has no history to compare with"
    revision = split_revision(kernel.removeprefix(_TREE))[1]
    here = commit_of(path, revision or "HEAD")
    try:
        there = commit_of(path, base)
    except SetupError:
        return f"{named}, which {path} lacks"
    if here == there:
        return ""
    hint = f"--kernel tree:{path}@{BASE} builds on it"
    try:
        git(path, "merge-base", "--is-ancestor", there, here)
    except CommandError:
        return f"{named}, which is not in the tree's history: {hint}"
    ahead = git(path, "rev-list", "--count", f"{there}..{here}").strip()
    return f"{named}, but the tree is {ahead} commits ahead: {hint}"


def _patch(path: Path, commit: str, number: int) -> Patch | None:
    """Return a commit as a patch, or None if it changes nothing.

    git's plumbing commands ignore the user's settings for diffs.
    """
    title = git(path, "log", "-1", "--format=%f", commit).strip()
    with tempfile.TemporaryDirectory(prefix="commit-") as scratch:
        # Standard output is decoded as UTF-8, but some files of the kernel are not UTF-8.
        file = Path(scratch) / "patch"
        # fmt: off
        git(
            path, "diff-tree", "--patch", "--no-commit-id", "--root", "--full-index", "--no-color",
            "--src-prefix=a/", "--dst-prefix=b/",
            f"--output={file}", commit,
        )
        # fmt: on
        text = file.read_bytes()
    name = f"{number:04}-{title[:NAME_LENGTH]}.patch"
    return make_patch(name, text, origin=f"{path} {commit[:12]}") if text else None


def git(path: Path, *words: str) -> str:
    """Return the output of git in the repository at `path`, which it only reads."""
    return check_output([*FOREIGN_ENV, "GIT_OPTIONAL_LOCKS=0", "git", "-C", path, *words])
