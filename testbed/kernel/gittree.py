# SPDX-License-Identifier: GPL-2.0
"""The text of a git working tree: tracked, modified, and untracked files that are not ignored.

All that git writes goes to a repository of the testbed's own in the cache. It starts from a copy
of the user's index, so that git need not read files that have not changed. The user's objects
are lent to it for an export only, which reads: whoever writes an object that is there already
makes git give the old one a new time ("freshens" it), also in a repository that only lends.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from testbed.cache import digest
from testbed.errors import CommandError, InfraError, SetupError
from testbed.kernel.content import Content, shapes_configuration
from testbed.kernel.gitenv import FOREIGN_ENV
from testbed.process import check_output

_OPTIONS = ("core.bare=false", "core.fsmonitor=false", "core.splitIndex=false")


@dataclass(frozen=True)
class Repository:
    """Where the user's repository has what is read of it."""

    index: Path
    objects: Path
    exclude: Path
    format: str  # sha1 or sha256


@dataclass(frozen=True)
class GitTree:
    """A working tree, and a private repository that looks at it."""

    path: Path
    root: Path
    repository: Repository

    @property
    def text(self) -> Path:
        """Where `export` puts the text."""
        return self.root / "text"

    @property
    def private(self) -> Path:
        return self.root / "git"

    def look(self) -> Content:
        """What the text is: the id of the git tree that holds exactly it."""
        self._prepare()
        self._git(self.path, "add", "--all")
        # --missing-ok: the objects of what did not change are in the user's repository alone.
        tree = self._git(self.path, "write-tree", "--missing-ok").strip()
        return Content(
            f"git {tree}", listed_kconfig(self._git(self.path, "ls-files", "--stage", "-z"))
        )

    def export(self, content: str) -> None:
        """Make `text` exactly that content. A file is replaced only when it differs.

        Raises:
            InfraError: neither the private repository nor the user's has that content.
        """
        self._prepare()
        under_way = self.root / "export-under-way"
        if under_way.exists():
            # git judges by its index, which an interrupted export has not brought up to date.
            shutil.rmtree(self.text, ignore_errors=True)
            (self.private / "index.export").unlink(missing_ok=True)
        under_way.touch()
        self.text.mkdir(exist_ok=True)
        # A hard link to an exported file changes its ctime: git would take it for changed.
        words = ["-c", "core.trustctime=false", "read-tree", "--reset", "-u"]
        words.append(content.removeprefix("git "))
        try:
            self._git(self.text, *words, index="index.export", lender=self.repository.objects)
        except CommandError as exc:
            raise InfraError(f"{self.path} cannot be exported", evidence=exc.evidence) from exc
        under_way.unlink()

    def _prepare(self) -> None:
        if not (self.private / "HEAD").exists():
            form = f"--object-format={self.repository.format}"
            check_output([*FOREIGN_ENV, "git", "init", "--quiet", "--bare", form, self.private])
        (self.private / "info").mkdir(exist_ok=True)
        _copy(self.repository.exclude, self.private / "info/exclude")
        self._copy_index()

    def _copy_index(self) -> None:
        """Take the user's index over, unless the one here came from it and knows more by now."""
        index = self.repository.index
        stamp = self.private / "index.stamp"
        current = _stamp(index)
        if stamp.exists() and stamp.read_text() == current:
            return
        # Where core.splitIndex is set the index is in two files.
        for shared in index.parent.glob("sharedindex.*"):
            _copy(shared, self.private / shared.name)
        _copy(index, self.private / "index")
        stamp.write_text(current)

    def _git(
        self, worktree: Path, *words: str, index: str = "index", lender: Path | None = None
    ) -> str:
        argv = [*FOREIGN_ENV, f"GIT_INDEX_FILE={self.private / index}"]
        if lender is not None:
            # In quotes, for colons separate several.
            quoted = json.dumps(str(lender), ensure_ascii=False)
            argv.append(f"GIT_ALTERNATE_OBJECT_DIRECTORIES={quoted}")
        argv += ["git", f"--git-dir={self.private}", f"--work-tree={worktree}"]
        for option in _OPTIONS:
            argv += ["-c", option]
        return check_output([*argv, *words], cwd=worktree)


def find_repository(path: Path) -> Repository | None:
    """The repository whose working tree has its top at `path`; None where there is none.

    Raises:
        SetupError: it cannot be read, for example because git does not trust its owner.
    """
    if not (path / ".git").exists():
        return None
    argv = [
        *FOREIGN_ENV,
        "git",
        "-C",
        str(path),
        "rev-parse",
        "--show-object-format",
        "--path-format=absolute",
    ]
    for name in ("index", "objects", "info/exclude"):
        argv += ["--git-path", name]
    try:
        form, index, objects, exclude = check_output(argv).splitlines()
    except CommandError as exc:
        message = f"git cannot read the repository of {path}"
        raise SetupError(message, evidence=exc.evidence) from exc
    return Repository(Path(index), Path(objects), Path(exclude), form)


def listed_kconfig(listing: str) -> str:
    """A digest over what is listed of the files that Kconfig may read; a tab precedes a name."""
    entries = (entry for entry in listing.split("\0") if entry)
    return f"git {digest(*(each for each in entries if shapes_configuration(_name(each))))}"


def _name(entry: str) -> str:
    return entry.partition("\t")[2]


def _copy(origin: Path, target: Path) -> None:
    """Copy with the time: git takes an entry as young as its index for possibly changed."""
    target.unlink(missing_ok=True)
    if origin.exists():
        shutil.copy2(origin, target)


def _stamp(path: Path) -> str:
    if not path.exists():
        return ""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
