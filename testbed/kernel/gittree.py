# SPDX-License-Identifier: GPL-2.0
"""The text of a git working tree: tracked, modified, and untracked files that are not ignored.

git writes only to a private repository in the cache. That starts from a copy of the user's index,
so git does not read unchanged files. It uses the user's objects as alternates only for an export,
which reads. If git wrote an object that already exists in an alternate, it would update the time
of the user's object (git calls this "freshen").

A partial clone lacks the files of older commits. git fetches them into the private repository, from
the user's remote ("promisor remote" in git's technical/partial-clone).
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
from testbed.process import check_output, run

# The user's settings by which git reaches a remote, as a regular expression of git-config(1).
_REACHING = r"^(remote|url|http|credential|protocol)\.|^core\.sshcommand$"
_PROMISOR = r"^remote\..*\.promisor$"

_OPTIONS = ("core.bare=false", "core.fsmonitor=false", "core.splitIndex=false")


@dataclass(frozen=True)
class Repository:
    """The paths of the files that are read from the user's repository."""

    index: Path
    objects: Path
    exclude: Path
    format: str  # sha1 or sha256


@dataclass(frozen=True)
class GitTree:
    """A working tree, and the private repository that reads it."""

    path: Path
    root: Path
    repository: Repository

    @property
    def text(self) -> Path:
        """The directory that export() fills."""
        return self.root / "text"

    @property
    def private(self) -> Path:
        return self.root / "git"

    def look(self) -> Content:
        """Return the identity of the text: the id of the git tree with exactly this text."""
        self._prepare()
        self._git(self.path, "add", "--all")
        # --missing-ok: only the user's repository has the objects of unchanged files.
        tree = self._git(self.path, "write-tree", "--missing-ok").strip()
        return Content(
            f"git {tree}", listed_kconfig(self._git(self.path, "ls-files", "--stage", "-z"))
        )

    def export(self, content: str) -> None:
        """Make `text` exactly that content. Replace only files that differ.

        Raises:
            InfraError: neither the private repository nor the user's has that content.
        """
        self._prepare()
        under_way = self.root / "export-under-way"
        if under_way.exists():
            # git relies on its index, which an interrupted export has not updated.
            shutil.rmtree(self.text, ignore_errors=True)
            (self.private / "index.export").unlink(missing_ok=True)
        under_way.touch()
        self.text.mkdir(exist_ok=True)
        # A hard link to an exported file changes its ctime. Then git would consider it changed.
        remote = self._remote()
        words = [*remote, "-c", "core.trustctime=false", "read-tree", "--reset", "-u"]
        words.append(content.removeprefix("git "))
        try:
            self._git(self.text, *words, index="index.export", lender=self.repository.objects)
        except CommandError as exc:
            hint = "it is a partial clone: check that its remote can be reached" if remote else ""
            message = f"cannot export {self.path}"
            raise InfraError(message, hint=hint, evidence=exc.evidence) from exc
        under_way.unlink()

    def _remote(self) -> list[str]:
        """Return options with which git fetches what a partial clone lacks; none for another.

        They name a file, because settings may contain passwords.
        """
        if not self._settings(_PROMISOR):
            return []
        file = self.private / "config.remote"
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        for setting in self._settings(_REACHING):
            key, _, value = setting.partition("\n")
            check_output(["git", "config", "--file", file, "--add", key, value])
        return ["-c", f"include.path={file}"]

    def _settings(self, pattern: str) -> list[str]:
        """Return the settings of the user's repository of that pattern: `KEY\\nVALUE` each."""
        argv = [*FOREIGN_ENV, "git", "-C", str(self.path), "config", "--local", "-z"]
        found = run([*argv, "--get-regexp", pattern], ok=(0, 1)).stdout
        return [setting for setting in found.split("\0") if setting]

    def _prepare(self) -> None:
        if not (self.private / "HEAD").exists():
            form = f"--object-format={self.repository.format}"
            check_output([*FOREIGN_ENV, "git", "init", "--quiet", "--bare", form, self.private])
        (self.private / "info").mkdir(exist_ok=True)
        _copy(self.repository.exclude, self.private / "info/exclude")
        self._copy_index()

    def _copy_index(self) -> None:
        """Copy the user's index, unless the private index is already based on it."""
        index = self.repository.index
        stamp = self.private / "index.stamp"
        current = _stamp(index)
        if stamp.exists() and stamp.read_text() == current:
            return
        # With core.splitIndex, the index is in two files.
        for shared in index.parent.glob("sharedindex.*"):
            _copy(shared, self.private / shared.name)
        _copy(index, self.private / "index")
        stamp.write_text(current)

    def _git(
        self, worktree: Path, *words: str, index: str = "index", lender: Path | None = None
    ) -> str:
        argv = [*FOREIGN_ENV, f"GIT_INDEX_FILE={self.private / index}"]
        if lender is not None:
            # Quoted, because colons separate paths.
            quoted = json.dumps(str(lender), ensure_ascii=False)
            argv.append(f"GIT_ALTERNATE_OBJECT_DIRECTORIES={quoted}")
        argv += ["git", f"--git-dir={self.private}", f"--work-tree={worktree}"]
        for option in _OPTIONS:
            argv += ["-c", option]
        return check_output([*argv, *words], cwd=worktree)


def find_repository(path: Path) -> Repository | None:
    """Return the repository whose working tree has its top at `path`, if any.

    Raises:
        SetupError: git cannot read it, for example because it does not trust the owner.
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
    """Return a digest of the entries whose files Kconfig may read.

    The entries are separated by NUL, and the name follows a tab.
    """
    entries = (entry for entry in listing.split("\0") if entry)
    return f"git {digest(*(each for each in entries if shapes_configuration(_name(each))))}"


def _name(entry: str) -> str:
    return entry.partition("\t")[2]


def _copy(origin: Path, target: Path) -> None:
    """Copy a file with its time: if an entry is as new as the index, git reads the file again."""
    target.unlink(missing_ok=True)
    if origin.exists():
        shutil.copy2(origin, target)


def _stamp(path: Path) -> str:
    if not path.exists():
        return ""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
