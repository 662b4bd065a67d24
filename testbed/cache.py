# SPDX-License-Identifier: GPL-2.0
"""The cache: entries that are made once, complete or absent, and bounded in size.

    ROOT/KIND/KEY/        an entry, renamed into place when it was complete
    ROOT/work/NAME/       a work directory: changes in place, survives an interrupt
    ROOT/scratch/         entries in the making; what a dead run left is removed
    ROOT/locks/           flock(2) files; it dies with its process: a crash leaves no lock behind
    ROOT/manifests/       what each entry held when it was complete; what a work directory takes
    ROOT/ccache/          the compiler cache's own

An entry has two locks. `KIND-KEY` is shared by those who use it and exclusive to remove it;
`KIND-KEY.make` is held by the one who makes it, so that another run that wants the same waits
for the making and not for the end of the run that made it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO

from testbed.errors import InfraError
from testbed.files import write_whole
from testbed.progress import Progress, SilentProgress

_WORK = "work"
_SCRATCH = "scratch"
_CCACHE = "ccache"
_PRIVATE = frozenset({"scratch", "locks", "manifests", _CCACHE})
_MAKE = ".make"

# A work directory is measured once in this time: it has 90,000 names, and takes seconds.
_MEASURE = 600.0


class Verify(StrEnum):
    """How an entry is checked before it is used."""

    DIGEST = "digest"  # every file's SHA-256
    STAT = "stat"  # every file's size and time of change: for trees too large to read each time


@dataclass(frozen=True)
class CacheEntry:
    """One entry or work directory as `testbed cache list` shows it."""

    kind: str
    key: str
    path: Path
    size: int  # bytes on disk; its part of those files that other entries share
    used: float  # seconds since the epoch


@dataclass
class Cache:
    """Entries that this object handed out are held (never pruned) until `close`."""

    root: Path
    limit: int  # bytes
    progress: Progress = field(default_factory=SilentProgress)
    _held: dict[tuple[str, str], IO[bytes]] = field(default_factory=dict)
    _made: list[tuple[str, str]] = field(default_factory=list)

    def get(
        self,
        kind: str,
        key: str,
        make: Callable[[Path], None],
        *,
        verify: Verify = Verify.DIGEST,
    ) -> Path:
        """The entry, made by `make(scratch)` when it is absent or damaged.

        Two processes that ask for the same entry make it once: the second waits.
        An exception in `make` leaves nothing behind.
        """
        found = self.find(kind, key)
        if found is not None:
            return found
        with self._locked(kind, f"{key}{_MAKE}"):
            found = self.find(kind, key)  # another run may have made it meanwhile
            if found is not None:
                return found
            with self._shared(kind, key) as keep:
                self._make(kind, key, make, verify)
                self._made.append((kind, key))
                keep()
        self.prune()
        return self.root / kind / key

    def find(self, kind: str, key: str) -> Path | None:
        """The entry if it is there and intact; one that is damaged is removed, with a note."""
        path = self.root / kind / key
        if (kind, key) in self._held:
            return path
        if not path.exists():
            return None
        with self._shared(kind, key) as keep:
            if self._intact(kind, key):
                os.utime(self._manifest(kind, key))
                keep()
                return path
        self._discard(kind, key)
        return None

    @contextmanager
    def work(self, name: str) -> Iterator[Path]:
        """A directory that keeps its content from run to run; one process at a time has it."""
        with self._locked(_WORK, name):
            path = self.root / _WORK / name
            path.mkdir(parents=True, exist_ok=True)
            os.utime(path)
            try:
                yield path
            finally:
                self._measure_work(path)

    @contextmanager
    def passing(self, *kinds: str) -> Iterator[None]:
        """Entries of these kinds that are made in the block are gone when it ends.

        One that another run has taken up meanwhile stays.
        """
        before = len(self._made)
        try:
            yield
        finally:
            for kind, key in self._made[before:]:
                if kind in kinds and (lock := self._held.pop((kind, key), None)):
                    lock.close()
                    self._remove_unused(kind, key)

    def drop(self, kind: str, key: str) -> None:
        """Remove an entry that does not do; it stays where another run has it in use."""
        if (lock := self._held.pop((kind, key), None)) is not None:
            lock.close()
        self._remove_unused(kind, key)

    @property
    def ccache(self) -> Path:
        """Where ccache keeps its objects. It bounds itself, and counts within the limit."""
        return self.root / _CCACHE

    def entries(self) -> list[CacheEntry]:
        """All entries and work directories, the least recently used first."""
        found = [
            self._entry(kind.name, path)
            for kind in _directories(self.root)
            if kind.name not in _PRIVATE
            for path in _directories(kind)
        ]
        return sorted(found, key=lambda entry: entry.used)

    def ccache_size(self) -> int:
        """Bytes of ccache's objects, which count into the limit as well."""
        return _disk_usage(self.ccache)

    def prune(self, limit: int | None = None) -> list[CacheEntry]:
        """Remove the least recently used until `limit` bytes hold; what is in use stays."""
        self._tidy_scratch()
        bound = self.limit if limit is None else limit
        entries = self.entries()
        total = sum(entry.size for entry in entries) + self.ccache_size()
        removed = []
        for entry in entries:
            if total <= bound:
                break
            if self._remove_unused(entry.kind, entry.key):
                removed.append(entry)
                total -= entry.size
        return removed

    def require_space(self, size: int, what: str) -> None:
        """Refuse work for which the disk has no room.

        Raises:
            InfraError: fewer than `size` bytes are free; names both figures.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if free < size:
            raise InfraError(
                f"{what} needs {size / 1e9:.1f} GB in {self.root}, {free / 1e9:.1f} GB are free",
                hint="free some space, run `testbed cache prune`, or set cache_dir to another disk",
            )

    def close(self) -> None:
        """Let go of every entry; they may be pruned from now on."""
        while self._held:
            self._held.popitem()[1].close()

    def _make(self, kind: str, key: str, make: Callable[[Path], None], verify: Verify) -> None:
        """Make an absent entry; the caller has its making to itself and shares its use."""
        scratch = self.root / _SCRATCH / f"{kind}-{key}"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            make(scratch)
            path = self.root / kind / key
            manifest = self._manifest(kind, key)
            for parent in (path.parent, manifest.parent):
                parent.mkdir(parents=True, exist_ok=True)
            head = json.dumps({"verify": verify, "disk": _disk_usage(scratch)})
            write_whole(manifest, f"{head}\n{json.dumps(_survey(scratch, verify))}")
            scratch.rename(path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _discard(self, kind: str, key: str) -> None:
        """Remove a damaged entry once nobody uses it."""
        with self._locked(kind, key):
            if (self.root / kind / key).exists() and not self._intact(kind, key):
                self.progress.note(f"cache entry {kind}/{key} is damaged and was removed")
                self._remove(kind, key)

    def _intact(self, kind: str, key: str) -> bool:
        try:
            head, files = self._manifest(kind, key).read_text().split("\n", 1)
            survey = _survey(self.root / kind / key, Verify(json.loads(head)["verify"]))
            return bool(json.loads(files) == survey)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _remove(self, kind: str, key: str) -> None:
        """Remove an entry; the manifest goes first, so that a half-removed one is no entry."""
        self._manifest(kind, key).unlink(missing_ok=True)
        shutil.rmtree(self.root / kind / key, ignore_errors=True)

    def _remove_unused(self, kind: str, key: str) -> bool:
        with self._free(kind, key) as free:
            if free:
                self._remove(kind, key)
            return free

    @contextmanager
    def _shared(self, kind: str, key: str) -> Iterator[Callable[[], None]]:
        """Share the use of an entry; until `close` when the yielded function is called."""
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context(self._lock_file(kind, key))
            fcntl.flock(lock, fcntl.LOCK_SH)

            def keep() -> None:
                stack.pop_all()
                self._held[kind, key] = lock

            yield keep

    @contextmanager
    def _free(self, kind: str, key: str) -> Iterator[bool]:
        """Whether nobody has the lock; if so it is had until the block ends."""
        with self._lock_file(kind, key) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    @contextmanager
    def _locked(self, kind: str, key: str) -> Iterator[None]:
        """Have a lock alone, after waiting for whoever has it now."""
        with self._lock_file(kind, key) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                name = key.removesuffix(_MAKE)
                self.progress.note(f"waiting for another run that has {kind}/{name}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _lock_file(self, kind: str, key: str) -> IO[bytes]:
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        return (locks / f"{kind}-{key}").open("ab")

    def _manifest(self, kind: str, key: str) -> Path:
        return self.root / "manifests" / f"{kind}-{key}.json"

    def _entry(self, kind: str, path: Path) -> CacheEntry:
        return CacheEntry(kind, path.name, path, self._size(kind, path), self._used(kind, path))

    def _size(self, kind: str, path: Path) -> int:
        """Bytes on disk: as an entry had when complete, a work directory when last measured."""
        try:
            with self._manifest(kind, path.name).open() as manifest:
                return int(json.loads(manifest.readline())["disk"])
        except (OSError, ValueError, KeyError, TypeError):
            return _disk_usage(path)

    def _measure_work(self, path: Path) -> None:
        """Note a work directory's size where `_size` looks for it, and that it was used now."""
        manifest = self._manifest(_WORK, path.name)
        try:
            now = time.time()
            if now - json.loads(manifest.read_text())["measured"] < _MEASURE:
                os.utime(manifest)
                return
        except (OSError, ValueError, KeyError, TypeError):
            manifest.parent.mkdir(parents=True, exist_ok=True)
        note = {"disk": _disk_usage(path), "measured": now}
        write_whole(manifest, json.dumps(note))

    def _used(self, kind: str, path: Path) -> float:
        with contextlib.suppress(FileNotFoundError):
            return self._manifest(kind, path.name).stat().st_mtime
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_mtime
        return time.time()

    def _tidy_scratch(self) -> None:
        """Remove what runs that were killed had begun to make."""
        for path in _directories(self.root / _SCRATCH):
            kind, _, key = path.name.partition("-")
            with self._free(kind, f"{key}{_MAKE}") as abandoned:
                if abandoned:
                    shutil.rmtree(path, ignore_errors=True)


def digest(*parts: str) -> str:
    """A content key of 16 hexadecimal digits over the parts, in their order."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _directories(path: Path) -> list[Path]:
    try:
        return sorted(child for child in path.iterdir() if child.is_dir())
    except FileNotFoundError:
        return []


def _survey(root: Path, verify: Verify) -> dict[str, str]:
    measure = _file_digest if verify is Verify.DIGEST else _file_stamp
    return dict(_measured(os.fspath(root), "", measure))


def _measured(
    folder: str, prefix: str, measure: Callable[[os.DirEntry[str]], str]
) -> Iterator[tuple[str, str]]:
    # os.scandir and plain strings: a kernel tree has 90,000 files.
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.is_symlink():
                yield name, f"-> {os.readlink(entry.path)}"
            elif entry.is_dir():
                yield from _measured(entry.path, f"{name}/", measure)
            elif entry.is_file():
                yield name, measure(entry)


def _file_digest(entry: os.DirEntry[str]) -> str:
    with open(entry.path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file_stamp(entry: os.DirEntry[str]) -> str:
    status = entry.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _disk_usage(root: Path) -> int:
    # A file with several names counts for each name in part: a work directory holds its
    # source as hard links, and shares it with the entry and with other work directories.
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(os.path.join(folder, name))
                total += status.st_blocks * 512 // max(1, status.st_nlink)
    return total
