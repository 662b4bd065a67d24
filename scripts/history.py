# SPDX-License-Identifier: GPL-2.0
"""Makes a git repository to bisect, for a host without a clone of Linux.

It has one commit for each of some kernel versions of Debian's archive, and small commits on top of
the newest version: harmless ones, one that does not build, a merge, one with a defect, and one
that fixes the defect:

    scripts/history /tmp/linux
    testbed bisect --tree /tmp/linux --good base --bad broken "descriptor and stack"
    testbed bisect --tree /tmp/linux --bad broken --good main --find-fix "descriptor and stack"
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from testbed.cli.exit import end_with
from testbed.context import Context
from testbed.errors import SetupError
from testbed.kernel.gitenv import NOBODY
from testbed.kernel.source import resolve, unpack
from testbed.mutants.mutation import MUTANTS
from testbed.process import run
from testbed.settings import load_settings
from testbed.terminal import make_progress


@dataclass(frozen=True)
class Repository:
    """The repository, with its work tree."""

    path: Path

    def git(self, *words: str, worktree: Path | None = None) -> None:
        top = worktree or self.path
        argv = ["git", f"--git-dir={self.path / '.git'}", f"--work-tree={top}", "-c", "gc.auto=0"]
        run([*argv, *words], cwd=top, env=NOBODY)

    def commit_tree(self, tree: Path, version: str) -> None:
        """Commit the kernel text in `tree` without a copy, and tag it."""
        # --force adds ignored files: the text of a package does not contain build products.
        self.git("add", "--all", "--force", worktree=tree)
        self.git("commit", "--quiet", "--message", f"Linux {version}", worktree=tree)
        self.git("tag", f"v{version}")

    def commit(self, title: str) -> None:
        self.git("commit", "--quiet", "--all", "--message", title)

    def append(self, name: str, line: str) -> None:
        """Append a line to a file, and commit it."""
        with (self.path / name).open("a") as file:
            file.write(f"{line}\n")
        self.commit(f"{name}: {line}")


def make_history(path: Path, versions: Sequence[tuple[str, Path]], defect: Path) -> None:
    """Make the whole repository, or nothing.

    Its tags are v7.2.12, v7.3.4, ..., base and broken; its branch is main.

    Args:
        versions: kernel versions with the folders of their texts, the oldest first.
        defect: a patch.

    Raises:
        SetupError: `path` exists.
        CommandError: the patch does not apply to the newest version.
    """
    if path.exists():
        raise SetupError(f"{path} exists", hint="give a new path, or remove it")
    with tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as folder:
        made = Repository(Path(folder) / "made")
        run(["git", "init", "--quiet", "--initial-branch=main", made.path])
        for version, tree in versions:
            made.commit_tree(tree, version)
        made.git("reset", "--hard", "--quiet")
        made.git("tag", "base")
        make_stack(made, defect)
        made.path.rename(path)


def make_stack(made: Repository, defect: Path) -> None:
    """Add the small commits. Each one except the merge changes one file; most add a comment."""
    made.append("mm/vma.c", "/* harmless */")
    made.append("mm/vma.c", "#error no kernel")
    made.git("revert", "--no-edit", "HEAD")
    made.git("checkout", "--quiet", "-b", "side", "HEAD~2")
    made.append("mm/memory.c", "/* on the side */")
    made.git("checkout", "--quiet", "main")
    made.git("merge", "--quiet", "--no-edit", "side")
    made.append("mm/vma.c", "/* after the merge */")
    run(["git", "apply", defect], cwd=made.path)
    made.commit(f"{defect.name}: the defect")
    made.append("mm/memory.c", "/* harmless, too */")
    made.append("mm/vma.c", "const int testbed_harmless = 1;")
    made.git("tag", "broken")
    run(["git", "apply", "--reverse", defect], cwd=made.path)
    made.commit(f"{defect.name}: fixed")
    made.append("mm/memory.c", "/* the newest */")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/history",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", type=Path, help="make the repository here")
    parser.add_argument(
        "--kernels",
        default="debian:7.2,debian:7.3",
        help="commit these kernels, oldest first (default: %(default)s)",
    )
    parser.add_argument(
        "--defect",
        type=Path,
        default=MUTANTS / "U8.patch",
        help="take the defect from this patch (default: kernel-config/mutants/U8.patch)",
    )
    parser.add_argument(
        "--settings",
        type=Path,
        help="read settings from a TOML file (default: the user's settings)",
    )
    options = parser.parse_args()
    ctx = Context.of(load_settings(options.settings), make_progress(Console()))
    sources = [resolve(spec, ctx) for spec in options.kernels.split(",")]
    versions = [(source.version, unpack(source, ctx).path) for source in sources]
    with ctx.progress.step(f"make {options.path}"):
        make_history(options.path.absolute(), versions, options.defect.absolute())
    return 0


if __name__ == "__main__":
    end_with("history", main)
