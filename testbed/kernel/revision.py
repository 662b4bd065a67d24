# SPDX-License-Identifier: GPL-2.0
"""Commits of the user's own git tree: read, never written."""

from __future__ import annotations

import tempfile
from pathlib import Path

from testbed.errors import CommandError, SetupError
from testbed.kernel.content import Content
from testbed.kernel.gitenv import FOREIGN_ENV
from testbed.kernel.gittree import find_repository, listed_kconfig
from testbed.kernel.patch import NAME_LENGTH, Patch, make_patch
from testbed.process import check_output

_TREE = "tree:"

# `tree:PATH@base` is PATH at the commit that the series names.
BASE = "base"


def split_revision(wanted: str) -> tuple[Path, str]:
    """PATH and REV of `PATH@REV`; a directory that is called so is a path alone."""
    whole = Path(wanted).expanduser()
    name, at, revision = wanted.rpartition("@")
    if not at or whole.exists():
        return whole, ""
    return Path(name).expanduser(), revision


def tree_of(kernel: str) -> Path | None:
    """The directory of a kernel that is given as a tree."""
    return split_revision(kernel.removeprefix(_TREE))[0] if kernel.startswith(_TREE) else None


def at_base(kernel: str, base: str) -> str:
    """The kernel, where it is `tree:PATH@base`, at the commit that the series is made for.

    Raises:
        SetupError: the series names none.
    """
    if not kernel.startswith(_TREE) or split_revision(kernel)[1] != BASE:
        return kernel
    if not base:
        raise SetupError(f"{kernel}: the series names no base-commit")
    return f"{kernel.removesuffix(BASE)}{base}"


def commit_of(path: Path, revision: str) -> str:
    """The id of the commit that a revision means.

    Raises:
        SetupError: there is no repository, or no such commit in it.
    """
    if find_repository(path) is None:
        raise SetupError(f"{path} is not the top of a git tree: it has no revisions")
    try:
        return git(path, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip()
    except CommandError as exc:
        raise SetupError(f"{path} has no commit {revision}") from exc


def content_of(path: Path, commit: str) -> Content:
    """What the text of a commit is."""
    tree = git(path, "rev-parse", f"{commit}^{{tree}}").strip()
    # As ls-files shows it.
    form = "--format=%(objectmode) %(objectname) 0%x09%(path)"
    return Content(f"git {tree}", listed_kconfig(git(path, "ls-tree", "-rz", form, tree)))


def makefile_of(path: Path, commit: str) -> str:
    """The top Makefile of a commit; empty where there is none."""
    try:
        return git(path, "cat-file", "blob", f"{commit}:Makefile")
    except CommandError:
        return ""


def read_range(path: Path, wanted: str) -> list[Patch]:
    """The commits of `A..B` as patches, the oldest first.

    Raises:
        SetupError: it is no range, it is empty, or a merge is in it.
    """
    first, _, last = wanted.partition("..")
    if last.startswith("."):
        raise SetupError(f"{wanted} is no line of commits", hint="give A..B")
    between = "..".join(commit_of(path, end or "HEAD") for end in (first, last))
    commits = git(path, "rev-list", "--reverse", "--topo-order", between).split()
    if merges := git(path, "rev-list", "--merges", between).split():
        raise SetupError(
            f"{wanted} has {len(merges)} merges, such as {merges[0][:12]}: that is no series",
            hint=f"build its end instead: --kernel tree:{path}@{last or 'HEAD'}",
        )
    patches = (_patch(path, commit, number) for number, commit in enumerate(commits, 1))
    return [patch for patch in patches if patch is not None]


def base_note(kernel: str, base: str) -> str:
    """What is to be said of the commit that a series is made for; empty when all is well."""
    path = tree_of(kernel)
    if not base:
        return ""
    named = f"the series is made for commit {base[:12]}"
    if path is None or find_repository(path) is None:
        return f"{named}: whether this text is that cannot be told, it has no history"
    revision = split_revision(kernel.removeprefix(_TREE))[1]
    here = commit_of(path, revision or "HEAD")
    try:
        there = commit_of(path, base)
    except SetupError:
        return f"{named}, which {path} does not have"
    if here == there:
        return ""
    hint = f"build on it with --kernel tree:{path}@{BASE}"
    try:
        git(path, "merge-base", "--is-ancestor", there, here)
    except CommandError:
        return f"{named}, which is not in the tree's history: {hint}"
    ahead = git(path, "rev-list", "--count", f"{there}..{here}").strip()
    return f"{named}, and the tree is {ahead} commits further: {hint}"


def _patch(path: Path, commit: str, number: int) -> Patch | None:
    """A commit as a patch, by git's plumbing: what the user has configured does not alter it.

    None for a commit that changes nothing.
    """
    title = git(path, "log", "-1", "--format=%f", commit).strip()
    with tempfile.TemporaryDirectory(prefix="commit-") as scratch:
        # Not from its standard output: some files of the kernel are not UTF-8.
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
    """What git says of the repository at `path`, which is only read."""
    return check_output([*FOREIGN_ENV, "GIT_OPTIONAL_LOCKS=0", "git", "-C", path, *words])
