# SPDX-License-Identifier: GPL-2.0
"""The text of a tree without git: all files except the output of a build.

Changed files are detected by size, times and inode, as in git's index. The time of an inode's
change (ctime) cannot be set back. So a second look reads only directories with changed files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from testbed.arch import ARCHES
from testbed.errors import CommandError, SetupError
from testbed.files import write_whole
from testbed.kernel.content import Content, shapes_configuration
from testbed.process import run

# Output of in-tree builds. It is never part of the text, and several times larger.
_BUILT = (".o", ".a", ".ko", ".cmd", ".mod", ".order", ".symvers")

# A file may change twice within one tick of the file system's clock. So a file that was younger
# than this when it was read will be read again.
_RACY = 2_000_000_000  # nanoseconds

_Records = dict[str, list[str]]


@dataclass(frozen=True)
class PlainTree:
    """A tree, and the directory in the cache with its digests."""

    path: Path
    root: Path

    @property
    def text(self) -> Path:
        """The directory that export() fills."""
        return self.root / "text"

    def look(self) -> Content:
        """Return the identity of the text: digests of the names, modes and bytes of its files."""
        known = self._read("digests.json")
        settled = time.time_ns() - _RACY
        whole, kconfig = hashlib.sha256(), hashlib.sha256()
        kept: _Records = {}
        for folder in _folders(self.path):
            statuses = [file.stat(follow_symlinks=False) for file in folder.files]
            stamp = _stamp_all(folder, statuses)
            found = known.get(folder.name)
            if found is None or found[0] != stamp:
                found = [stamp, *_digests(folder)]
            if all(status.st_ctime_ns < settled for status in statuses):
                kept[folder.name] = found
            whole.update(found[1].encode())
            kconfig.update(found[2].encode())
        self._write("digests.json", kept)
        return Content(f"sha256 {whole.hexdigest()}", f"sha256 {kconfig.hexdigest()}")

    def export(self, content: str) -> None:
        """Make `text` equal to the tree, whose identity must be `content`. Replace changed files.

        Raises:
            SetupError: the tree has changed since look(), or `make mrproper` fails.
        """
        self.text.mkdir(exist_ok=True)
        wanted = dict(_files(self.path))
        for name, _ in list(_files(self.text)):
            if name not in wanted:
                (self.text / name).unlink()
        copied = self._read("copied.json")
        for name, entry in wanted.items():
            stamp = [_stamp(entry.stat(follow_symlinks=False))]
            if copied.get(name) != stamp or not os.path.lexists(self.text / name):
                _replace(Path(entry.path), self.text / name)
                copied[name] = stamp
        self._write("copied.json", copied)
        self._clean()
        if self.look().whole != content:
            raise SetupError(f"{self.path} changed while it was copied", hint="run again")

    def _clean(self) -> None:
        for arch in ARCHES.values():
            try:
                run(["make", "-C", self.text, f"ARCH={arch.kernel_arch}", "mrproper"])
            except CommandError as exc:
                message = f"`make mrproper` fails in a copy of {self.path}"
                raise SetupError(message, evidence=exc.evidence) from exc

    def _read(self, name: str) -> _Records:
        try:
            found: _Records = json.loads((self.root / name).read_text())
        except (OSError, ValueError):
            return {}
        return found

    def _write(self, name: str, value: _Records) -> None:
        write_whole(self.root / name, json.dumps(value))


@dataclass(frozen=True)
class _Folder:
    """A directory with files or symbolic links."""

    name: str  # below the top of the tree, with a final slash; empty for the top
    files: list[os.DirEntry[str]]  # sorted by name


def _folders(top: Path) -> Iterator[_Folder]:
    """Yield the directories of the whole tree, in order."""
    waiting = [""]
    while waiting:
        name = waiting.pop()
        files, below = [], []
        with os.scandir(os.path.join(top, name)) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below.append(f"{name}{entry.name}/")
                elif not entry.name.endswith(_BUILT) and (entry.is_file() or entry.is_symlink()):
                    files.append(entry)
        waiting += sorted(below, reverse=True)
        if files:
            yield _Folder(name, sorted(files, key=attrgetter("name")))


def _files(top: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield files and symbolic links with their names below `top`."""
    for folder in _folders(top):
        for file in folder.files:
            yield folder.name + file.name, file


def _stamp_all(folder: _Folder, statuses: list[os.stat_result]) -> str:
    """Return a stamp that changes with any file of the folder."""
    pairs = zip(folder.files, statuses, strict=True)
    text = "\0".join(f"{file.name} {_stamp(status)}" for file, status in pairs)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _digests(folder: _Folder) -> tuple[str, str]:
    """Return a digest of all files of the folder, and one of the files that Kconfig may read.

    Without such files a digest is empty.
    """
    lines = {folder.name + file.name: _digest(file) for file in folder.files}
    return _over(lines), _over({name: lines[name] for name in lines if shapes_configuration(name)})


def _over(lines: dict[str, str]) -> str:
    text = "".join(f"{name}\0{digest}\n" for name, digest in lines.items())
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest() if lines else ""


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _digest(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return f"-> {os.readlink(entry.path)}"
    mode = "x" if entry.stat().st_mode & 0o100 else "-"
    with open(entry.path, "rb") as file:
        return f"{mode} {hashlib.file_digest(file, 'sha256').hexdigest()}"


def _replace(origin: Path, target: Path) -> None:
    """Create a new file at `target`. Hard links to the old file keep the old content."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copy(origin, target, follow_symlinks=False)
