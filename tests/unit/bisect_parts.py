# SPDX-License-Identifier: GPL-2.0
"""Shared parts of the tests of bisection: small trees with a real git, and a fake oracle."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tree_parts import GIT_ALONE

from testbed.bisect.history import Answer, History, borrow
from testbed.bisect.journal import Journal
from testbed.bisect.search import Bisection, Built
from testbed.bisect.symptom import Presence
from testbed.cache import digest
from testbed.errors import BuildError
from testbed.process import run
from testbed.progress import SilentProgress
from testbed.results.model import Case, Run, Status

TEST = "tests/vm/contract/test_a.py::test_layer[x86_64]"

GOOD = "int layer;\n"
BAD = "int layer_is_broken;\n"
NO_BUILD = "int layer\n"
OTHER = "int layer_fails_otherwise;\n"
LOST = "int layer_panics;\n"


def case(status: Status, reason: str = "", error: str = "") -> Case:
    return Case(test=TEST, status=status, reason=reason, error=error, evidence=f"seen: {reason}")


CASES = {
    GOOD: case(Status.PASS),
    BAD: case(Status.FAIL, "vm_pgoff is 0x7f00, not 9", "AssertionError"),
    OTHER: case(Status.FAIL, "no such device", "AssertionError"),
    LOST: case(Status.MISS, "the kernel panicked at boot", "BootPanic"),
}


@dataclass
class Reader:
    """An oracle that reads a commit's mm/util.c, and records its calls."""

    history: History
    built: list[str] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    rounds: Callable[[int], bool] = lambda number: True  # whether the symptom shows in a run

    def build(self, commit: str) -> Built:
        self.built.append(commit)
        text = self.source(commit)
        if text == NO_BUILD:
            raise BuildError("mm/util.c:1: expected ';'")
        return Built("7.3.4-testbed", digest(text))

    def run(self, commit: str) -> Run:
        self.ran.append(commit)
        found = CASES[self.source(commit)]
        if found is CASES[BAD] and not self.rounds(len(self.ran)):
            found = CASES[GOOD]
        return Run(name="", command="", started="", cases=(found,))

    def source(self, commit: str) -> str:
        """Return mm/util.c without comments, as the compiler sees it."""
        text = self.history.file(commit, "mm/util.c")
        return "".join(line for line in text.splitlines(True) if not line.startswith("//"))


@dataclass
class Tree:
    """A user's tree. A comment with its number makes each commit distinct."""

    path: Path
    commits: list[str] = field(default_factory=list)

    def git(self, *words: str) -> str:
        return run(["git", "-C", self.path, *words], env=GIT_ALONE).stdout.strip()

    def commit(self, text: str, name: str = "") -> str:
        title = name or f"commit {len(self.commits)}"
        (self.path / "mm/util.c").write_text(f"// {title}\n{text}")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", title)
        self.commits.append(self.git("rev-parse", "HEAD"))
        return self.commits[-1]

    def commit_all(self, *texts: str) -> None:
        """Commit many texts at once, on main."""
        lines = ["reset refs/heads/main", "from refs/heads/main^0"] if self.commits else []
        for text in texts:
            title = f"commit {len(self.commits) + lines.count('deleteall')}"
            source = f"// {title}\n{text}"
            lines += ["commit refs/heads/main", "committer A. Developer <a@example.org> 0 +0000"]
            lines += [f"data {len(title)}", title, "deleteall", "M 644 inline mm/util.c"]
            lines += [f"data {len(source)}", source]
        stream = "\n".join(lines).encode() + b"\n"
        run(["git", "-C", self.path, "fast-import", "--quiet"], stdin=stream)
        words = ("rev-list", "--reverse", "--first-parent", f"--max-count={len(texts)}", "main")
        self.commits += self.git(*words).split()
        self.git("reset", "--hard", "--quiet")


def new_tree(top: Path) -> Tree:
    """Return an empty repository."""
    path = top / "linux"
    (path / "mm").mkdir(parents=True)
    run(["git", "init", "--quiet", "--initial-branch", "main", path])
    return Tree(path)


@dataclass
class Searched:
    """A search and its result."""

    bisection: Bisection
    reader: Reader
    answer: Answer

    def verdicts(self) -> dict[str, Presence]:
        return {step.commit: step.verdict for step in self.bisection.journal.steps}


def search(
    tree: Tree,
    old: str = "",
    new: str = "",
    *,
    reader: Reader | None = None,
    rounds: Callable[[int], bool] = lambda number: True,
    **question: object,
) -> Searched:
    """Search between two commits; by default the first and the last of the tree."""
    copy = tree.path.parent / "copy"
    history = borrow(tree.path, copy, old or tree.commits[0], new or tree.commits[-1])
    oracle = reader or Reader(history, rounds=rounds)
    journal = Journal.open(tree.path.parent / "journal.json")
    bisection = Bisection(history, oracle, journal, SilentProgress(), **question)  # type: ignore[arg-type]
    return Searched(bisection, oracle, bisection.run())


def snapshot(top: Path) -> dict[str, tuple[int, int, int]]:
    """Return the size, mtime and ctime of all files and folders."""
    found = {}
    for folder, folders, names in os.walk(top):
        for name in [".", *folders, *names]:
            status = os.lstat(os.path.join(folder, name))
            found[os.path.join(folder, name)] = (
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
            )
    return found
