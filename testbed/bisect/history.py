# SPDX-License-Identifier: GPL-2.0
"""The commits to search, in a repository of the testbed's own, and `git bisect` on them.

The repository borrows the objects of the user's, which is only read: no commit is checked out
there, and no ref is written. A series becomes a history with one commit per patch, so that git
searches it too.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed.errors import CommandError, SetupError
from testbed.kernel.gitenv import FOREIGN_ENV, NOBODY
from testbed.kernel.gittree import find_repository
from testbed.kernel.revision import git as git_of_the_user
from testbed.kernel.series import Series
from testbed.process import Completed, run

# "Bisecting: 3 revisions left to test after this (roughly 2 steps)", "[SHA] title"
_STOP = re.compile(r"^(?P<remaining>Bisecting: .*)\n\[(?P<commit>\w+)\] (?P<title>.*)$", re.M)

# In git's log: "# first bad commit: [SHA] title" and "# possible first bad commit: [SHA] title"
_FIRST = re.compile(r"^# first \S+ commit: \[(\w+)\]", re.M)
_POSSIBLE = re.compile(r"^# possible first \S+ commit: \[(\w+)\]", re.M)

# Exit statuses of `git bisect`: only skipped commits are left; a merge base is bad.
_ONLY_SKIPPED = 2
_MERGE_BASE_BAD = 3


@dataclass(frozen=True)
class Terms:
    """Names for the two sides of a search, the older side first."""

    old: str
    new: str


BREAKAGE = Terms("good", "bad")
FIX = Terms("broken", "fixed")


@dataclass(frozen=True)
class History:
    """A repository of the testbed's own, with the two ends of a search."""

    path: Path
    old: str  # commit ids
    new: str
    numbers: Mapping[str, int] = field(default_factory=dict)  # patches of a series, by commit

    def git(self, *words: str, ok: Sequence[int] = (0,)) -> Completed:
        argv = [*FOREIGN_ENV, "git", "-C", str(self.path), "-c", "gc.auto=0"]
        return run([*argv, *words], env=NOBODY, ok=ok)

    def label(self, commit: str) -> str:
        """Return a short name of a commit for people."""
        if commit not in self.numbers:
            return commit[:12]
        return f"patch {self.numbers[commit]}" if self.numbers[commit] else "base"

    def title(self, commit: str) -> str:
        """Return the first line of a commit's message."""
        return self.git("show", "--no-patch", "--format=%s", commit).stdout.strip()

    def parents(self, commit: str) -> tuple[str, ...]:
        return tuple(self.git("show", "--no-patch", "--format=%P", commit).stdout.split())

    def summary(self, commit: str) -> str:
        """Return a commit's author, date and message, and the files that it changes."""
        return self.git("show", "--stat", "--format=medium", commit).stdout.rstrip()

    def file(self, commit: str, name: str) -> str:
        """Return the text of a file at a commit; empty if the file does not exist."""
        return self.git("show", f"{commit}:{name}", ok=(0, 128)).stdout

    def is_ancestor(self, one: str, other: str) -> bool:
        return self.git("merge-base", "--is-ancestor", one, other, ok=(0, 1)).status == 0

    def check_out(self, commit: str) -> None:
        """Check out a commit. Files that do not differ are not touched."""
        under_way = self.path / ".git/checkout-under-way"
        if under_way.exists():
            # git does not know the files that an interrupted checkout wrote.
            (self.path / ".git/index.lock").unlink(missing_ok=True)
            self.git("clean", "-ffdxq")
        under_way.touch()
        self.git("checkout", "--quiet", "--force", "--detach", commit)
        under_way.unlink()


@dataclass(frozen=True)
class Stop:
    """The commit that git's search wants to have tested next."""

    commit: str
    title: str
    remaining: str  # in git's own words


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The result of a search."""

    first: str = ""  # the first commit on the newer side
    possible: tuple[str, ...] = ()  # if that is not known: the candidates
    trouble: str = ""  # why there was no search
    log: str = ""  # of git bisect


@dataclass(frozen=True)
class Search:
    """`git bisect` on a history."""

    history: History
    terms: Terms

    def start(self) -> Stop | None:
        """Start a new search between the ends; return None if it is complete at once.

        Raises:
            SetupError: git cannot search between the ends.
        """
        history = self.history
        # git bisect needs a HEAD. The files stay at the commit that was tried last.
        history.git("update-ref", "--no-deref", "HEAD", history.new)
        terms = (f"--term-old={self.terms.old}", f"--term-new={self.terms.new}")
        # --no-checkout: commits with a recorded verdict need no checkout.
        return self._bisect("start", "--no-checkout", *terms, history.new, history.old)

    def say(self, word: str, commit: str) -> Stop | None:
        """Give git the verdict on a commit: one of the terms, or `skip`.

        Returns:
            The next commit to test; None if the search is complete.

        Raises:
            SetupError: git cannot continue.
        """
        return self._bisect(word, commit)

    def answer(self) -> Answer:
        """Return the result of a complete search."""
        log = self.history.git("bisect", "log").stdout
        first = _FIRST.search(log)
        return Answer(
            first=first[1] if first else "", possible=tuple(_POSSIBLE.findall(log)), log=log
        )

    def _bisect(self, *words: str) -> Stop | None:
        try:
            output = self.history.git("bisect", *words, ok=(0, _ONLY_SKIPPED)).stdout
        except CommandError as exc:
            if exc.status == _MERGE_BASE_BAD:
                message = f"the merge base of both ends is {self.terms.new}"
                hint = f"give an older commit that is {self.terms.old}"
            else:
                message, hint = "git cannot search between these ends", ""
            raise SetupError(message, evidence=exc.evidence, hint=hint) from exc
        found = _STOP.search(output)
        return Stop(found["commit"], found["title"], found["remaining"]) if found else None


def borrow(tree: Path, path: Path, old: str, new: str) -> History:
    """Return a repository at `path` that borrows all objects of the user's repository `tree`.

    An existing repository at `path` is reused. Only the list of commits at which a shallow clone
    ends is copied (gitrepository-layout(5): objects/info/alternates, shallow).

    Raises:
        SetupError: `tree` is not the top of a repository.
    """
    repository = find_repository(tree)
    if repository is None:
        raise SetupError(f"{tree} is not the top of a git tree: it has no history")
    words = ("rev-parse", "--path-format=absolute", "--git-path", "shallow")
    shallow = git_of_the_user(tree, *words).strip()
    history = History(path, old, new)
    _init(history, repository.format)
    # Quoted: a path may begin with a character that is special in this file.
    lender = json.dumps(str(repository.objects), ensure_ascii=False)
    (path / ".git/objects/info/alternates").write_text(f"{lender}\n")
    own = path / ".git/shallow"
    own.unlink(missing_ok=True)
    if Path(shallow).exists():
        shutil.copyfile(shallow, own)
    return history


def commit_series(series: Series, path: Path) -> History:
    """Return a history of empty commits: the base, and one for each patch, in order."""
    history = History(path, "", "")
    _init(history, "sha1")
    empty = history.git("mktree").stdout.strip()
    identities = series.identity.split()
    commits = [_commit(history, empty, "no patch", ())]
    for name, identity in zip(series.names, identities, strict=True):
        message = f"{name}\n\n{identity}"
        commits.append(_commit(history, empty, message, ("-p", commits[-1])))
    numbers = {commit: number for number, commit in enumerate(commits)}
    return History(path, commits[0], commits[-1], numbers)


def _init(history: History, form: str) -> None:
    history.path.mkdir(parents=True, exist_ok=True)
    if not (history.path / ".git/HEAD").exists():
        history.git("init", "--quiet", f"--object-format={form}")


def _commit(history: History, tree: str, message: str, parent: Sequence[str]) -> str:
    return history.git("commit-tree", tree, *parent, "-m", message).stdout.strip()
