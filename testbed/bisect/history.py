# SPDX-License-Identifier: GPL-2.0
"""The commits that are searched, in a repository of the testbed's own, and git's bisection of them.

A user's repository lends its objects and is only read: no commit is checked out there, no ref is
written. A series becomes a history as well, one commit per patch, so that git searches both.
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

# git ends `git bisect` with these: only skipped commits are left; a merge base is bad.
_ONLY_SKIPPED = 2
_MERGE_BASE_BAD = 3


@dataclass(frozen=True)
class Terms:
    """What the two sides of the search are called, the older one first."""

    old: str
    new: str


BREAKAGE = Terms("good", "bad")
FIX = Terms("broken", "fixed")


@dataclass(frozen=True)
class History:
    """A repository of our own, with the two ends of a search."""

    path: Path
    old: str  # commit ids
    new: str
    numbers: Mapping[str, int] = field(default_factory=dict)  # of a series: patches, by commit

    def git(self, *words: str, ok: Sequence[int] = (0,)) -> Completed:
        argv = [*FOREIGN_ENV, "git", "-C", str(self.path), "-c", "gc.auto=0"]
        return run([*argv, *words], env=NOBODY, ok=ok)

    def label(self, commit: str) -> str:
        """What people call it."""
        if commit not in self.numbers:
            return commit[:12]
        return f"patch {self.numbers[commit]}" if self.numbers[commit] else "base"

    def title(self, commit: str) -> str:
        """The first line of its message."""
        return self.git("show", "--no-patch", "--format=%s", commit).stdout.strip()

    def parents(self, commit: str) -> tuple[str, ...]:
        return tuple(self.git("show", "--no-patch", "--format=%P", commit).stdout.split())

    def summary(self, commit: str) -> str:
        """Its author, date and message, and the files that it changes."""
        return self.git("show", "--stat", "--format=medium", commit).stdout.rstrip()

    def file(self, commit: str, name: str) -> str:
        """The text of a file as a commit has it; empty where there is none."""
        return self.git("show", f"{commit}:{name}", ok=(0, 128)).stdout

    def is_ancestor(self, one: str, other: str) -> bool:
        return self.git("merge-base", "--is-ancestor", one, other, ok=(0, 1)).status == 0

    def check_out(self, commit: str) -> None:
        """Make the files those of a commit; one that does not differ is not touched."""
        under_way = self.path / ".git/checkout-under-way"
        if under_way.exists():
            # What an interrupted checkout has written git does not know of.
            (self.path / ".git/index.lock").unlink(missing_ok=True)
            self.git("clean", "-ffdxq")
        under_way.touch()
        self.git("checkout", "--quiet", "--force", "--detach", commit)
        under_way.unlink()


@dataclass(frozen=True)
class Stop:
    """A commit at which git's search has stopped, to be tried."""

    commit: str
    title: str
    remaining: str  # in git's own words


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a search came to."""

    first: str = ""  # the first commit on the newer side
    possible: tuple[str, ...] = ()  # where that is not known: one of these
    trouble: str = ""  # why nothing could be searched for
    log: str = ""  # git's own


@dataclass(frozen=True)
class Search:
    """git's bisection of a history."""

    history: History
    terms: Terms

    def start(self) -> Stop | None:
        """Forget an earlier search, and name the ends; None when it has ended.

        Raises:
            SetupError: git cannot search between them.
        """
        history = self.history
        # git wants a HEAD before it starts; the files stay those of the commit tried last.
        history.git("update-ref", "--no-deref", "HEAD", history.new)
        terms = (f"--term-old={self.terms.old}", f"--term-new={self.terms.new}")
        # --no-checkout: what has been tried before need not be checked out to be said again.
        return self._bisect("start", "--no-checkout", *terms, history.new, history.old)

    def say(self, word: str, commit: str) -> Stop | None:
        """Tell what a commit is: one of the terms, or `skip`. None when the search has ended.

        Raises:
            SetupError: git cannot go on.
        """
        return self._bisect(word, commit)

    def answer(self) -> Answer:
        """What the search that has ended came to."""
        log = self.history.git("bisect", "log").stdout
        first = _FIRST.search(log)
        return Answer(
            first=first[1] if first else "", possible=tuple(_POSSIBLE.findall(log)), log=log
        )

    def _bisect(self, *words: str) -> Stop | None:
        try:
            said = self.history.git("bisect", *words, ok=(0, _ONLY_SKIPPED)).stdout
        except CommandError as exc:
            if exc.status == _MERGE_BASE_BAD:
                message = f"the merge base of both ends is {self.terms.new}"
                hint = f"give an older commit that is {self.terms.old}"
            else:
                message, hint = "git cannot search between these ends", ""
            raise SetupError(message, evidence=exc.evidence, hint=hint) from exc
        found = _STOP.search(said)
        return Stop(found["commit"], found["title"], found["remaining"]) if found else None


def borrow(tree: Path, path: Path, old: str, new: str) -> History:
    """A repository at `path` that has all commits of the user's, by reading his objects.

    It is the one that is there, if there is one. Nothing is copied but the ids at which a
    shallow clone ends.

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
    # In quotes, for a name may begin with a character that means something there.
    lender = json.dumps(str(repository.objects), ensure_ascii=False)
    (path / ".git/objects/info/alternates").write_text(f"{lender}\n")
    own = path / ".git/shallow"
    own.unlink(missing_ok=True)
    if Path(shallow).exists():
        shutil.copyfile(shallow, own)
    return history


def commit_series(series: Series, path: Path) -> History:
    """A history of empty commits: the base, and one for each patch in their order."""
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
