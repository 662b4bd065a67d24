# SPDX-License-Identifier: GPL-2.0
"""The tree's own userland tests of VMAs, tools/testing/vma, as a first sieve of mutations.

They compile mm/vma.c and its neighbours into a program of the host. They contain copies and stubs
of mm/util.c and mm/memory.c, so they are blind to mutations there.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.cache import Cache, digest
from testbed.context import Context
from testbed.deadline import Deadline
from testbed.errors import CommandError
from testbed.kernel.patch import read_patch
from testbed.kernel.series import Series
from testbed.kernel.source import SourceTree
from testbed.kernel.toolchain import have_ccache
from testbed.kernel.worktree import prepare_worktree
from testbed.mutants.mutation import Sieve
from testbed.process import run

_FOLDER = "tools/testing/vma"

_SKIPPED = "no userland tests of mutations"

# The tests take five seconds, but a mutation may cause an endless loop.
_LIMIT = 120.0  # seconds

_PASSED = re.compile(r"^([1-9]\d*) tests run, \1 passed, 0 failed\.$", re.M)


@dataclass(frozen=True)
class VmaTests:
    """The tests of a tree with a series. They pass without a mutation."""

    tree: SourceTree
    base: Series
    cache: Cache
    files: frozenset[str]  # files of the tree that the tests compile

    def judge(self, patch: Path) -> Sieve:
        """Run the tests on the tree with `patch`, which must apply."""
        mutant = read_patch(patch, exact=True)
        if self.files.isdisjoint(mutant.files):
            return Sieve.BLIND
        with _work_tree(self.tree, Series((*self.base.patches, mutant)), self.cache) as src:
            return Sieve.MISSED if _pass(src, self.cache) else Sieve.CAUGHT


def find_vma_tests(tree: SourceTree, base: Series, ctx: Context) -> VmaTests | None:
    """Return the tests of a tree with a series; None, with a note, if they are unusable."""
    if not (tree.path / _FOLDER).is_dir():
        ctx.progress.note(f"{tree.source.version} has no {_FOLDER}: {_SKIPPED}")
        return None
    if tree.in_place and not base.patches:
        # The build would write into the user's own tree.
        ctx.progress.note(f"{_FOLDER} is not built in {tree.path}: {_SKIPPED}")
        return None
    with (
        _work_tree(tree, base, ctx.cache) as src,
        ctx.progress.step(f"{_FOLDER} without a mutation"),
    ):
        if _pass(src, ctx.cache):
            return VmaTests(tree, base, ctx.cache, _compiled_from(src))
    ctx.progress.note(f"{_FOLDER} does not pass (is liburcu-dev installed?): {_SKIPPED}")
    return None


@contextmanager
def _work_tree(tree: SourceTree, series: Series, cache: Cache) -> Iterator[Path]:
    with cache.work(f"vma-tests-{digest(tree.source.family)}") as root:
        yield prepare_worktree(root, tree, series).src


def _pass(src: Path, cache: Cache) -> bool:
    """Whether the tests pass. A mutation changes few of their objects: ccache has the others."""
    folder = src / _FOLDER
    compiler = ["CC=ccache gcc"] if have_ccache() else []
    env = {"CCACHE_DIR": str(cache.ccache), "CCACHE_DEPEND": "1"}
    try:
        deadline = Deadline.after(_LIMIT)
        run(["make", "-C", folder, "clean"], deadline=deadline)
        # -MMD writes dependency files, which name the compiled files.
        make = ["make", "-C", str(folder), "EXTRA_CFLAGS=-MMD", *compiler]
        run(make, env=env, deadline=deadline)
        output = run([folder / "vma"], cwd=folder, deadline=deadline).stdout
    except CommandError:
        return False
    return _PASSED.search(output) is not None


def _compiled_from(src: Path) -> frozenset[str]:
    """Return the files below `src` that the dependency files of the tests name."""
    folder = src / _FOLDER
    names = set()
    for file in folder.glob("*.d"):
        for word in shlex.split(file.read_text().replace("\\\n", " ")):
            names.add(os.path.normpath(os.path.join(_FOLDER, word)))
    return frozenset(names)
