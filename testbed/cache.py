"""The cache: entries that are made once, complete or absent, and bounded in size.

    ROOT/KIND/KEY/        an entry, renamed into place when it was complete
    ROOT/work/NAME/       a work directory: changes in place, survives an interrupt
    ROOT/scratch/         entries in the making; what a dead run left is removed
    ROOT/locks/           flock(2) files: exclusive to make or remove, shared to use
    ROOT/manifests/       what each entry held when it was complete

flock dies with its process, so a crash leaves no lock behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO

from testbed.errors import InfraError
from testbed.progress import Progress, SilentProgress

_WORK = "work"
_PRIVATE = frozenset({"scratch", "locks", "manifests"})


class Verify(StrEnum):
    """How an entry is checked before it is used."""

    DIGEST = "digest"  # every file's SHA-256
    SIZE = "size"  # every file's size: for trees too large to read each time


@dataclass(frozen=True)
class CacheEntry:
    """One entry or work directory as `testbed cache list` shows it."""

    kind: str
    key: str
    path: Path
    size: int  # bytes on disk; a file with several hard links counts once
    used: float  # seconds since the epoch


@dataclass
class Cache:
    """Entries that this object handed out are held (never pruned) until `close`."""

    root: Path
    limit: int  # bytes
    progress: Progress = field(default_factory=SilentProgress)
    _held: dict[tuple[str, str], IO[bytes]] = field(default_factory=dict)

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
        with self._locked(kind, key, fcntl.LOCK_EX):
            path = self.root / kind / key
            if not self._intact(kind, key):
                self._make(path, kind, key, make, verify)
        self._hold(kind, key)
        self.prune()
        return path

    def find(self, kind: str, key: str) -> Path | None:
        """The entry if it is there and intact; one that is damaged is removed, with a note."""
        path = self.root / kind / key
        if (kind, key) in self._held:
            return path
        if not path.exists():
            return None
        self._hold(kind, key)
        if self._intact(kind, key):
            os.utime(self._manifest(kind, key))
            return path
        self._release(kind, key)
        self.progress.note(f"cache entry {kind}/{key} is damaged: removed, it will be made again")
        with self._locked(kind, key, fcntl.LOCK_EX):
            if not self._intact(kind, key):
                self._remove(kind, key)
        return None

    @contextmanager
    def work(self, name: str) -> Iterator[Path]:
        """A directory that keeps its content from run to run; one process at a time has it."""
        with self._locked(_WORK, name, fcntl.LOCK_EX):
            path = self.root / _WORK / name
            path.mkdir(parents=True, exist_ok=True)
            os.utime(path)
            yield path

    def entries(self) -> list[CacheEntry]:
        """All entries and work directories, the least recently used first."""
        found = [
            CacheEntry(kind.name, path.name, path, _disk_usage(path), self._used(kind.name, path))
            for kind in _directories(self.root)
            if kind.name not in _PRIVATE
            for path in _directories(kind)
        ]
        return sorted(found, key=lambda entry: entry.used)

    def prune(self, limit: int | None = None) -> list[CacheEntry]:
        """Remove the least recently used until `limit` bytes hold; what is in use stays."""
        self._tidy_scratch()
        bound = self.limit if limit is None else limit
        entries = self.entries()
        total = sum(entry.size for entry in entries)
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
                cure="free some space, run `testbed cache prune`, or set cache_dir to another disk",
            )

    def close(self) -> None:
        """Let go of every entry; they may be pruned from now on."""
        for kind, key in list(self._held):
            self._release(kind, key)

    def _make(
        self, path: Path, kind: str, key: str, make: Callable[[Path], None], verify: Verify
    ) -> None:
        self._remove(kind, key)
        parent = self.root / "scratch"
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=parent) as scratch:
            content = Path(scratch) / "entry"
            content.mkdir()
            make(content)
            manifest = self._manifest(kind, key)
            manifest.parent.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_atomically(manifest, json.dumps(_survey(content, verify)))
            content.rename(path)

    def _intact(self, kind: str, key: str) -> bool:
        path = self.root / kind / key
        try:
            recorded = json.loads(self._manifest(kind, key).read_text())
            verify = Verify(recorded["verify"])
            return bool(recorded == _survey(path, verify))
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _remove(self, kind: str, key: str) -> None:
        """Remove an entry; the manifest goes first, so that a half-removed one is no entry."""
        self._manifest(kind, key).unlink(missing_ok=True)
        shutil.rmtree(self.root / kind / key, ignore_errors=True)

    def _remove_unused(self, kind: str, key: str) -> bool:
        with self._lock_file(kind, key) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._remove(kind, key)
            return True

    def _hold(self, kind: str, key: str) -> None:
        if (kind, key) not in self._held:
            lock = self._lock_file(kind, key)
            fcntl.flock(lock, fcntl.LOCK_SH)
            self._held[kind, key] = lock

    def _release(self, kind: str, key: str) -> None:
        self._held.pop((kind, key)).close()

    @contextmanager
    def _locked(self, kind: str, key: str, operation: int) -> Iterator[None]:
        with self._lock_file(kind, key) as lock:
            try:
                fcntl.flock(lock, operation | fcntl.LOCK_NB)
            except BlockingIOError:
                self.progress.note(f"waiting for another run that has {kind}/{key}")
                fcntl.flock(lock, operation)
            yield

    def _lock_file(self, kind: str, key: str) -> IO[bytes]:
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        return (locks / f"{kind}-{key}").open("ab")

    def _manifest(self, kind: str, key: str) -> Path:
        return self.root / "manifests" / f"{kind}-{key}.json"

    def _used(self, kind: str, path: Path) -> float:
        with contextlib.suppress(FileNotFoundError):
            return self._manifest(kind, path.name).stat().st_mtime
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_mtime
        return time.time()

    def _tidy_scratch(self) -> None:
        for path in _directories(self.root / "scratch"):
            pid = path.name.partition("-")[0]
            if pid.isdigit() and not Path(f"/proc/{pid}").exists():
                shutil.rmtree(path, ignore_errors=True)


def digest(*parts: str) -> str:
    """A content key of 16 hexadecimal digits over the parts, in their order."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _directories(path: Path) -> list[Path]:
    try:
        return sorted(child for child in path.iterdir() if child.is_dir())
    except FileNotFoundError:
        return []


def _survey(root: Path, verify: Verify) -> dict[str, object]:
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    measure = _file_digest if verify is Verify.DIGEST else _file_size
    return {
        "verify": verify.value,
        "files": {str(path.relative_to(root)): measure(path) for path in files},
    }


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file_size(path: Path) -> str:
    return str(path.stat().st_size)


def _disk_usage(root: Path) -> int:
    seen: dict[tuple[int, int], int] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(os.path.join(folder, name))
                seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


def _write_atomically(path: Path, text: str) -> None:
    scratch = path.with_suffix(f".{os.getpid()}.new")
    scratch.write_text(text)
    scratch.rename(path)
