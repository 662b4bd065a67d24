# SPDX-License-Identifier: GPL-2.0
"""The user's kernel tree, which is never written.

A clean tree is built with O= and without a copy. kbuild refuses that for a tree with an in-tree
build, and for one with a blank in its path. The text of such a tree is exported to the cache,
without the output of a build.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.arch import ARCHES
from testbed.cache import Cache, Verify, digest
from testbed.context import Context
from testbed.errors import SetupError
from testbed.kernel.content import Content
from testbed.kernel.gittree import GitTree, find_repository
from testbed.kernel.make import is_awkward
from testbed.kernel.plaintree import PlainTree
from testbed.kernel.revision import commit_of, content_of, makefile_of, split_revision
from testbed.kernel.version import require_supported, version_of_makefile
from testbed.process import run

# 1.8 GB of text, and twice 25 MB for the directories of a tree of hard links.
_ROOM = 2_000_000_000  # bytes


@dataclass(frozen=True, kw_only=True)
class TreeText:
    """The text of a local tree at the time of find_text()."""

    path: Path
    content: Content
    version: str
    in_place: bool  # it is built without a copy
    commit: str = ""  # the commit with this text; empty for the working tree

    @property
    def identity(self) -> str:
        return f"tree {self.content.whole}"

    @property
    def family(self) -> str:
        return f"tree {self.path}"

    @property
    def configuration(self) -> str:
        return f"tree {self.content.kconfig}"

    @property
    def description(self) -> str:
        if self.commit:
            return f"{self.version} from {self.path} (commit {self.commit})"
        how = "" if self.in_place else f", exported because {_why_exported(self.path)}"
        return f"{self.version} from {self.path} ({self.content.whole}{how})"

    def unpack(self, ctx: Context) -> Path:
        """Return the tree itself, or its export in the cache.

        Raises:
            SetupError: the tree has changed since find_text(), or `make mrproper` fails in it.
            InfraError: the disk lacks space.
        """
        if self.in_place:
            return self.path

        def make(scratch: Path) -> None:
            with (
                _open_tree(self.path, ctx.cache) as tree,
                ctx.progress.step(f"export {self.path}"),
            ):
                if not tree.text.exists():
                    ctx.cache.require_space(_ROOM, f"a copy of {self.path}")
                tree.export(self.content.whole)
                # Hard links are safe: the next export replaces files and never writes into them.
                run(["cp", "--archive", "--link", tree.text, scratch / "tree"])

        return ctx.cache.get("source", digest(self.identity), make, verify=Verify.STAT) / "tree"


def find_text(wanted: str, ctx: Context) -> TreeText:
    """Return the current text of the tree at that path, or with `PATH@REV` the text of a commit.

    Raises:
        SetupError: it is not a kernel tree, or too old, or lacks that commit.
    """
    path, revision = split_revision(wanted)
    path = path.resolve()
    if revision:
        return _text_of_commit(path, revision)
    version = tree_version(path)
    require_supported(version, str(path))
    with _open_tree(path, ctx.cache) as tree, ctx.progress.step(f"look at {path}"):
        content = tree.look()
    return TreeText(path=path, content=content, version=version, in_place=not _why_exported(path))


def _text_of_commit(path: Path, revision: str) -> TreeText:
    commit = commit_of(path, revision)
    version = version_of_makefile(makefile_of(path, commit))
    if version is None:
        message = f"{revision} of {path} is not a kernel tree: it has no Makefile with a VERSION"
        raise SetupError(message)
    require_supported(version, f"{path}@{revision}")
    content = content_of(path, commit)
    return TreeText(path=path, content=content, version=version, in_place=False, commit=commit)


def tree_version(path: Path) -> str:
    """Return the version of the kernel tree at `path`.

    Raises:
        SetupError: it is not a kernel tree. It names the missing part.
    """
    if not path.is_dir():
        raise SetupError(f"there is no directory {path}")
    for name in ("Makefile", "Kconfig", "mm"):
        if not (path / name).exists():
            raise SetupError(f"{path} is not a kernel tree: it has no {name}")
    version = version_of_makefile((path / "Makefile").read_text(errors="replace"))
    if version is None:
        message = f"{path} is not a kernel tree: its Makefile has no VERSION and PATCHLEVEL"
        raise SetupError(message)
    return version


def built_in_place(path: Path) -> bool:
    """Whether kbuild would refuse the tree for O= ("source tree is not clean")."""
    # The paths that the target outputmakefile of the top Makefile checks.
    traces = [".config", "include/config"]
    traces += [f"arch/{arch.srcarch}/include/generated" for arch in ARCHES.values()]
    return any((path / trace).exists() for trace in traces)


def _why_exported(path: Path) -> str:
    """Return why the tree cannot be built without a copy, or ""."""
    if is_awkward(path):
        return "make cannot handle its name"
    return "it has an in-tree build" if built_in_place(path) else ""


@contextmanager
def _open_tree(path: Path, cache: Cache) -> Iterator[GitTree | PlainTree]:
    """Open the tree with its work directory in the cache, which one process at a time holds."""
    repository = find_repository(path) if shutil.which("git") else None
    kind = "git" if repository else "plain"
    with cache.work(f"tree-{kind}-{digest(str(path))}") as root:
        yield GitTree(path, root, repository) if repository else PlainTree(path, root)
