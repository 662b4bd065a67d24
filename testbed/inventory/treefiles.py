# SPDX-License-Identifier: GPL-2.0
"""The files of a kernel tree: on disk, in a commit without a checkout, or with a series on top."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from testbed.context import Context
from testbed.errors import SetupError
from testbed.kernel.fit import apply_series, refuse_conflicts
from testbed.kernel.gitenv import FOREIGN_ENV
from testbed.kernel.localtree import TreeText
from testbed.kernel.revision import git
from testbed.kernel.series import Series
from testbed.kernel.source import Source, unpack
from testbed.process import run

# Folders without text of a kernel, and what a build or an editor leaves behind.
_SKIPPED = frozenset({"Documentation", "tools", "scripts", ".git", "LICENSES"})

_SUFFIXES = (".c", ".h", ".rs")
_BUILD_FILES = ("Makefile", "Kbuild", "Kconfig")


class TreeFiles(Protocol):
    """The interface of a tree's text."""

    @property
    def names(self) -> Sequence[str]: ...
    def read(self, name: str) -> bytes: ...
    def having(
        self, needles: Collection[bytes], names: Iterable[str]
    ) -> Iterator[tuple[str, bytes]]: ...


@dataclass(frozen=True)
class FolderFiles:
    """A tree on this disk."""

    path: Path

    @cached_property
    def names(self) -> list[str]:
        """The names of all files that matter, in order."""
        return sorted(_walk(os.fspath(self.path), ""))

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        # Without a buffer: a tree has 60,000 files.
        handle = os.open(f"{self.path}/{name}", os.O_RDONLY)
        try:
            return os.read(handle, os.fstat(handle).st_size)
        finally:
            os.close(handle)

    def having(
        self, needles: Collection[bytes], names: Iterable[str]
    ) -> Iterator[tuple[str, bytes]]:
        """Yield those of the files that contain one of the needles, with their content."""
        for name in names:
            content = self.read(name)
            if any(needle in content for needle in needles):
                yield name, content


@dataclass(frozen=True)
class CommitFiles:
    """A commit of a git tree, which needs no checkout. git searches the files."""

    path: Path
    commit: str

    @cached_property
    def names(self) -> list[str]:
        listed = git(self.path, "ls-tree", "-rz", "--name-only", self.commit).split("\0")
        return sorted(name for name in listed if _matters(name))

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return dict(self._contents([name]))[name]

    def having(
        self, needles: Collection[bytes], names: Iterable[str]
    ) -> Iterator[tuple[str, bytes]]:
        """Yield those of the files that contain one of the needles, with their content."""
        wanted = set(names)
        words = [word for needle in needles for word in ("-e", needle.decode().strip())]
        argv = [
            *FOREIGN_ENV,
            "git",
            "-C",
            str(self.path),
            "grep",
            "-lzF",
            *words,
            self.commit,
            "--",
        ]
        found = run([*argv, "*.[ch]", "*.rs"], ok=(0, 1)).stdout.split("\0")
        prefix = f"{self.commit}:"
        files = (name.removeprefix(prefix) for name in found)
        yield from self._contents([name for name in files if name in wanted])

    def _contents(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        with tempfile.TemporaryDirectory(prefix="blobs-") as scratch:
            asked, blobs = Path(scratch) / "names", Path(scratch) / "blobs"
            asked.write_text("".join(f"{self.commit}:{name}\n" for name in names))
            # The output of a command is decoded as UTF-8, but some files of the kernel are not.
            script = 'exec git -C "$1" cat-file --batch --buffer <"$2" >"$3"'
            run([*FOREIGN_ENV, "sh", "-c", script, "sh", self.path, asked, blobs])
            with blobs.open("rb") as file:
                for name in names:
                    head = file.readline().split()
                    if len(head) != 3:
                        raise SetupError(f"commit {self.commit[:12]} has no file {name}")
                    if head[1] == b"tree":
                        raise IsADirectoryError(name)
                    yield name, file.read(int(head[2]))
                    file.read(1)


@dataclass(frozen=True)
class PatchedFiles:
    """A tree with a series on top, whose files are in a stage."""

    base: TreeFiles
    stage: Path
    touched: frozenset[str]

    @cached_property
    def names(self) -> list[str]:
        kept = [name for name in self.base.names if name not in self.touched]
        return sorted([*kept, *filter(_matters, self._present)])

    @cached_property
    def _present(self) -> list[str]:
        return [name for name in sorted(self.touched) if (self.stage / name).is_file()]

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        if name in self.touched:
            return (self.stage / name).read_bytes()
        return self.base.read(name)

    def having(
        self, needles: Collection[bytes], names: Iterable[str]
    ) -> Iterator[tuple[str, bytes]]:
        """Yield those of the files that contain one of the needles, with their content."""
        wanted = list(names)
        yield from self.base.having(needles, (name for name in wanted if name not in self.touched))
        own = FolderFiles(self.stage)
        yield from own.having(needles, (name for name in wanted if name in self.touched))


@contextmanager
def opened_files(source: Source, ctx: Context) -> Iterator[TreeFiles]:
    """Yield the files of a source. A commit needs no checkout, and a user's tree no copy.

    Raises:
        SetupError: the text is not available any more, or is damaged.
        InfraError: the download failed, or the disk lacks space.
    """
    text = source.text
    if isinstance(text, TreeText) and not (text.commit and _is_partial(text.path)):
        yield CommitFiles(text.path, text.commit) if text.commit else FolderFiles(text.path)
    else:
        yield FolderFiles(unpack(source, ctx).path)


def _is_partial(path: Path) -> bool:
    """Whether the repository lacks files: git would fetch them into it, and it is only read."""
    pattern = r"^remote\..*\.promisor$"
    argv = [*FOREIGN_ENV, "git", "-C", str(path), "config", "--local", "--get-regexp", pattern]
    return run(argv, ok=(0, 1)).status == 0


@contextmanager
def patched(base: TreeFiles, series: Series) -> Iterator[TreeFiles]:
    """Yield the text of a tree with a series on top.

    Raises:
        PatchError: a patch does not apply.
    """
    if not series.patches:
        yield base
        return
    with tempfile.TemporaryDirectory(prefix="stage-") as scratch:
        pristine, stage = Path(scratch) / "pristine", Path(scratch) / "stage"
        stage.mkdir()
        _bring(base, series.files, pristine)
        refuse_conflicts(apply_series(series, pristine, stage))
        yield PatchedFiles(base, stage, frozenset(series.files))


def _bring(base: TreeFiles, names: Iterable[str], folder: Path) -> None:
    """Copy those of the files that the tree has into a folder.

    Raises:
        SetupError: a name is that of a directory, or leads through a file.
    """
    folder.mkdir()
    for name in names:
        try:
            content = base.read(name)
        except (SetupError, FileNotFoundError):
            continue  # the series makes it
        except (IsADirectoryError, NotADirectoryError) as exc:
            what = "a directory" if isinstance(exc, IsADirectoryError) else "below a file"
            raise SetupError(f"the series is refused: {name} is {what}") from exc
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _walk(folder: str, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                if prefix or entry.name not in _SKIPPED:
                    yield from _walk(entry.path, f"{name}/")
            elif _matters(name) and entry.is_file(follow_symlinks=False):
                yield name


def _matters(name: str) -> bool:
    first, _, _ = name.partition("/")
    base = name.rpartition("/")[2]
    return first not in _SKIPPED and (name.endswith(_SUFFIXES) or base.startswith(_BUILD_FILES))
