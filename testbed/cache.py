# SPDX-License-Identifier: GPL-2.0
"""The cache: entries that are made once, complete or absent, and bounded in size.

    ROOT/KIND/KEY/        an entry, renamed into place once it is complete
    ROOT/work/NAME/       a work directory: changes in place, survives an interrupt
    ROOT/scratch/         incomplete entries; leftovers of a dead run are removed
    ROOT/locks/           files for flock(2): a lock ends with its process, so a crash leaves none
    ROOT/manifests/       the content and size of each complete entry; the size of other folders
    ROOT/ccache/          the objects of the compiler cache

An entry has two locks. Its users share `KIND-KEY`; its removal takes that lock exclusively.
The run that makes an entry holds `KIND-KEY.make`. Another run that needs the same entry thus
waits until the entry is made, and not until the first run ends.
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
from testbed.files import make_folder, write_whole
from testbed.progress import Progress, SilentProgress

_WORK = "work"
_SCRATCH = "scratch"
_CCACHE = "ccache"
_PRIVATE = frozenset({"scratch", "locks", "manifests", _CCACHE})
_MAKE = ".make"

# Seconds between two measurements of a folder that changes. A work directory has 90,000 names, so
# that one takes seconds. Meanwhile it grows by less than a tenth of the limit.
_MEASURE = 600.0

# The time of a measurement that does not count: the next one is made without regard to it.
_NEVER = 0.0


class Verify(StrEnum):
    """The check of an entry before it is used."""

    DIGEST = "digest"  # the SHA-256 of each file
    STAT = "stat"  # the size and mtime of each file: for trees too large to read each time


@dataclass(frozen=True)
class CacheEntry:
    """One entry or work directory as `testbed cache list` shows it."""

    kind: str
    key: str
    path: Path
    size: int  # bytes on disk; of a file with several links, its share
    used: float  # seconds since the epoch


@dataclass
class Cache:
    """A cache on disk. It holds the entries that it handed out until `close`.

    No run prunes an entry that is held.
    """

    root: Path
    limit: int  # bytes
    progress: Progress = field(default_factory=SilentProgress)
    setting: str = "cache_dir"  # the setting that names the root
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
        """Return an entry. If it is absent or damaged, make it with `make(scratch)`.

        Two processes that need the same entry make it once: the second one waits.
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
        """Return an entry if it exists and is intact. Remove a damaged one, with a note."""
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
        """Yield a directory that keeps its content between runs; one process at a time holds it."""
        with self._locked(_WORK, name):
            path = self.root / _WORK / name
            path.mkdir(parents=True, exist_ok=True)
            os.utime(path)
            try:
                yield path
            finally:
                self._measured_lately(_WORK, path)

    @contextmanager
    def passing(self, *kinds: str) -> Iterator[None]:
        """When the block ends, remove the entries of these kinds that were made in it.

        An entry that another run uses by then stays.
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
        """Remove an unusable entry. It stays while another run uses it."""
        if (lock := self._held.pop((kind, key), None)) is not None:
            lock.close()
        self._remove_unused(kind, key)

    @property
    def ccache(self) -> Path:
        """The directory of ccache's objects. ccache bounds it; it counts towards the limit."""
        return self.root / _CCACHE

    def entries(self) -> list[CacheEntry]:
        """Return all entries and work directories, the least recently used first."""
        found = [
            self._entry(kind.name, path)
            for kind in _directories(self.root)
            if kind.name not in _PRIVATE
            for path in _directories(kind)
        ]
        return sorted(found, key=lambda entry: entry.used)

    def ccache_size(self) -> int:
        """Return the bytes that ccache's objects take on disk. They count towards the limit."""
        return _disk_usage(self.ccache)

    def prune(self, limit: int | None = None) -> list[CacheEntry]:
        """Remove the least recently used entries until the rest fits in `limit` bytes.

        Entries in use stay. Return the removed ones.
        """
        self._tidy_scratch()
        bound = self.limit if limit is None else limit
        entries = self.entries()
        total = sum(entry.size for entry in entries)
        if self.ccache.exists():
            total += self._measured_lately(_CCACHE, self.ccache)
        removed = []
        for entry in entries:
            if total <= bound:
                break
            if self._remove_unused(entry.kind, entry.key):
                removed.append(entry)
                total -= entry.size
        return removed

    def require_space(self, size: int, what: str) -> None:
        """Check that the disk has room for some work.

        Args:
            what: the work, for the message.

        Raises:
            InfraError: fewer than `size` bytes are free; the message gives both figures.
            SetupError: the cache cannot be written to.
        """
        make_folder(self.root, self.setting)
        free = shutil.disk_usage(self.root).free
        if free < size:
            raise InfraError(
                f"{what} needs {size / 1e9:.1f} GB in {self.root}; {free / 1e9:.1f} GB are free",
                hint="free some space, run `testbed cache prune`, or set cache_dir to another disk",
            )

    def close(self) -> None:
        """Release every entry. They may be pruned from now on."""
        while self._held:
            self._held.popitem()[1].close()

    def _make(self, kind: str, key: str, make: Callable[[Path], None], verify: Verify) -> None:
        """Make an absent entry. The caller holds its `.make` lock and shares its other lock."""
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
        """Remove an entry. The manifest goes first: a half-removed entry then counts as damaged."""
        self._manifest(kind, key).unlink(missing_ok=True)
        shutil.rmtree(self.root / kind / key, ignore_errors=True)

    def _remove_unused(self, kind: str, key: str) -> bool:
        with self._free(kind, key) as free:
            if free:
                self._remove(kind, key)
            return free

    @contextmanager
    def _shared(self, kind: str, key: str) -> Iterator[Callable[[], None]]:
        """Share an entry's lock for the block. The yielded function keeps it until `close`."""
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context(self._lock_file(kind, key))
            fcntl.flock(lock, fcntl.LOCK_SH)

            def keep() -> None:
                stack.pop_all()
                self._held[kind, key] = lock

            yield keep

    @contextmanager
    def _free(self, kind: str, key: str) -> Iterator[bool]:
        """Try to take a lock for the block. Yield whether that worked."""
        with self._lock_file(kind, key) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    @contextmanager
    def _locked(self, kind: str, key: str) -> Iterator[None]:
        """Hold a lock exclusively for the block. Wait for its present holders, with a note."""
        with self._lock_file(kind, key) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                name = key.removesuffix(_MAKE)
                self.progress.note(f"waiting for another run that uses {kind}/{name}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _lock_file(self, kind: str, key: str) -> IO[bytes]:
        locks = make_folder(self.root / "locks", self.setting)
        return (locks / f"{kind}-{key}").open("ab")

    def _manifest(self, kind: str, key: str) -> Path:
        return self.root / "manifests" / f"{kind}-{key}.json"

    def _entry(self, kind: str, path: Path) -> CacheEntry:
        return CacheEntry(kind, path.name, path, self._size(kind, path), self._used(kind, path))

    def _size(self, kind: str, path: Path) -> int:
        """Return bytes on disk: of a complete entry, or of a work directory when last measured."""
        manifest = self._manifest(kind, path.name)
        try:
            with manifest.open() as lines:
                return int(json.loads(lines.readline())["disk"])
        except (OSError, ValueError, KeyError, TypeError):
            size = _disk_usage(path)
        if kind == _WORK:
            # Its first user still has it, or was killed. The size counts until the next one ends.
            self._write_size(manifest, size, _NEVER, self._used(kind, path))
        return size

    def _measured_lately(self, kind: str, path: Path) -> int:
        """Return the size of a folder that changes, measured at most once per interval.

        Record it where `_size` reads it, with the time of this use.
        """
        manifest, now = self._manifest(kind, path.name), time.time()
        try:
            known = json.loads(manifest.read_text())
            if now - known["measured"] < _MEASURE:
                os.utime(manifest)
                return int(known["disk"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # it was never measured
        size = _disk_usage(path)
        self._write_size(manifest, size, now)
        return size

    def _write_size(
        self, manifest: Path, size: int, measured: float, used: float | None = None
    ) -> None:
        # What cannot be recorded, because the disk is full, is measured again.
        with contextlib.suppress(InfraError, OSError):
            manifest.parent.mkdir(parents=True, exist_ok=True)
            write_whole(manifest, json.dumps({"disk": size, "measured": measured}))
            if used is not None:
                os.utime(manifest, (used, used))

    def _used(self, kind: str, path: Path) -> float:
        with contextlib.suppress(FileNotFoundError):
            return self._manifest(kind, path.name).stat().st_mtime
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_mtime
        return time.time()

    def _tidy_scratch(self) -> None:
        """Remove the incomplete entries of killed runs."""
        for path in _directories(self.root / _SCRATCH):
            kind, _, key = path.name.partition("-")
            with self._free(kind, f"{key}{_MAKE}") as abandoned:
                if abandoned:
                    shutil.rmtree(path, ignore_errors=True)


def digest(*parts: str) -> str:
    """Return a content key of 16 hexadecimal digits. The order of the parts matters."""
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
    # os.scandir and plain strings, for speed: a kernel tree has 90,000 files.
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
    # Each name of a file counts for its share of the size: a work directory holds its source
    # as hard links, which it shares with the entry and with other work directories.
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(os.path.join(folder, name))
                total += status.st_blocks * 512 // max(1, status.st_nlink)
    return total
