# SPDX-License-Identifier: GPL-2.0
"""The artifact store: folders, each one archive whose name is the digest of its bytes.

    ROOT/ab/abcdef....tar.zst

Equal folders are stored once, and nothing is ever changed: two hosts need no lock. fsspec is used
here only; its backends (an extra each) know the protocols, and find credentials themselves.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from testbed.artifacts.archive import SUFFIX, pack, unpack
from testbed.errors import InfraError, SetupError
from testbed.settings import Settings

_NAME = re.compile(rf"/([0-9a-f]{{64}}){re.escape(SUFFIX)}$")

# An incomplete file that is older, in seconds, is of a process that was killed.
_ABANDONED = 24 * 3600.0


@dataclass(frozen=True)
class Depot:
    """An open artifact store."""

    files: fsspec.AbstractFileSystem
    root: str

    def put(self, folder: Path) -> str:
        """Store the files of a folder, unless equal ones are there. Return their name.

        Raises:
            InfraError: the store or the host's disk cannot be written to.
        """
        with self._blamed("write"), tempfile.TemporaryDirectory(prefix="testbed-") as scratch:
            archive = Path(scratch) / f"folder{SUFFIX}"
            pack(folder, archive)
            name = _digest(archive)
            if not self.files.exists(self._path(name)):
                self._upload(archive, self._path(name))
        return name

    def fetch(self, name: str, folder: Path) -> None:
        """Write the files of a stored folder into `folder`.

        Raises:
            InfraError: they are not in the store, are damaged, or the store cannot be read.
        """
        with self._blamed("read"), tempfile.TemporaryDirectory(prefix="testbed-") as scratch:
            archive = Path(scratch) / f"folder{SUFFIX}"
            try:
                self.files.get_file(self._path(name), str(archive))
            except FileNotFoundError:
                raise InfraError(f"{name[:12]} is not in the artifact store {self.root}") from None
            if _digest(archive) != name:
                raise InfraError(f"{name[:12]} in the artifact store {self.root} is damaged")
            folder.mkdir(parents=True, exist_ok=True)
            unpack(archive, folder)

    def remove(self, name: str) -> None:
        """Remove a stored folder. One that is absent stays absent.

        Raises:
            InfraError: the store cannot be written to.
        """
        with self._blamed("write"):
            try:
                self.files.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def sizes(self) -> dict[str, int]:
        """Return the stored folders: the bytes of each, by name.

        Raises:
            InfraError: the store cannot be read.
        """
        listed = ((_NAME.search(path), size) for path, size, _ in self._listed())
        return {found[1]: size for found, size in listed if found}

    def tidy(self) -> None:
        """Remove what killed processes have left: incomplete files, a day old.

        Raises:
            InfraError: the store cannot be written to.
        """
        with self._blamed("write"):
            for path, _, changed in self._listed():
                if path.endswith(_INCOMPLETE) and time.time() - changed > _ABANDONED:
                    self.files.rm_file(path)

    def _listed(self) -> Iterator[tuple[str, int, float]]:
        """Yield path, size, and time of the last change (0 if unknown) of each file."""
        with self._blamed("read"):
            self.files.invalidate_cache()
            if self.files.exists(self.root):
                for path, about in self.files.find(self.root, detail=True).items():
                    yield path, about["size"], about.get("mtime", 0.0)

    def _path(self, name: str) -> str:
        return f"{self.root}/{name[:2]}/{name}{SUFFIX}"

    def _upload(self, archive: Path, path: str) -> None:
        """Copy an archive. In a folder a rename completes it; S3 has no incomplete objects."""
        if not isinstance(self.files, LocalFileSystem):
            self.files.put_file(str(archive), path)
            return
        incomplete = f"{path}.{os.getpid()}{_INCOMPLETE}"
        try:
            self.files.put_file(str(archive), incomplete)
            os.rename(incomplete, path)
        except BaseException:
            Path(incomplete).unlink(missing_ok=True)
            raise

    @contextmanager
    def _blamed(self, what: str) -> Iterator[None]:
        """Turn any error of a backend, which may be of any class, into one that names the store."""
        try:
            yield
        except InfraError:
            raise
        except Exception as exc:
            raise InfraError(
                f"cannot {what} the artifact store {self.root}: {exc}",
                hint="check its rights, its space, and the setting artifacts",
            ) from exc


_INCOMPLETE = ".new"


def open_depot(settings: Settings) -> Depot:
    """Open the artifact store of the user: a folder, or what the URL in the settings names.

    Raises:
        SetupError: the URL is of an unknown kind, or needs a package that is missing.
    """
    url = settings.artifacts or str(settings.data_dir / "artifacts")
    try:
        files, root = fsspec.core.url_to_fs(url)
    except ImportError as exc:
        hint = "install the extra: pip install 'mmap-testbed[s3]'" if "s3" in url else ""
        raise SetupError(f"artifacts: {url} needs a package: {exc}", hint=hint) from exc
    except ValueError as exc:
        raise SetupError(f"artifacts: {url!r} is of an unknown kind: {exc}") from exc
    if isinstance(files, LocalFileSystem):
        files = LocalFileSystem(auto_mkdir=True)
    return Depot(files, root.rstrip("/"))


def _digest(archive: Path) -> str:
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
