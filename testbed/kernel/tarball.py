# SPDX-License-Identifier: GPL-2.0
"""Kernel text in a tarball: .tar.xz, .tar.gz or .tar.zst."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from testbed.cache import digest
from testbed.context import Context
from testbed.errors import SetupError
from testbed.files import user_path, write_whole
from testbed.kernel.unpack import ArchivedText, inner_name, open_members, require_known, unpack_tree
from testbed.kernel.version import require_supported, version_of_makefile
from testbed.progress import Progress

# A kernel's text is ten to twelve times as large as its .xz, and seven times as its .gz.
_ROOM = 12


@dataclass(frozen=True, kw_only=True)
class TarballText(ArchivedText):
    """A tarball with kernel text, identified by its SHA-256."""

    path: Path
    sha256: str
    version: str

    @property
    def identity(self) -> str:
        return f"tarball {self.sha256}"

    @property
    def description(self) -> str:
        return f"{self.version} from {self.path}"

    def fill(self, scratch: Path, ctx: Context) -> None:
        room = _ROOM * self.path.stat().st_size
        ctx.cache.require_space(room, f"unpacking {self.path.name}")
        unpack_tree(self.path, scratch, ctx.progress)


def find_text(wanted: str, ctx: Context) -> TarballText:
    """Find the tarball at that path.

    Raises:
        SetupError: it does not exist, is of an unknown kind, damaged, not a kernel's, or too old.
    """
    path = user_path(wanted).resolve()
    if not path.is_file():
        raise SetupError(f"no tarball at {path}")
    require_known(path)
    with ctx.cache.work("tarballs") as folder:
        sha256, version = _facts(path, folder, ctx.progress)
    require_supported(version, str(path))
    return TarballText(path=path, sha256=sha256, version=version)


def _facts(path: Path, folder: Path, progress: Progress) -> tuple[str, str]:
    """Return SHA-256 and kernel version. They are cached until the file's stat() changes."""
    status = path.stat()
    stamp = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
    kept = folder / f"{digest(str(path), stamp)}.json"
    if not kept.exists():
        with progress.step(f"read {path.name}"):
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            facts = [sha256, _find_version(path)]
        write_whole(kept, json.dumps(facts))
    sha256, version = json.loads(kept.read_text())
    return sha256, version


def _find_version(path: Path) -> str:
    """Return the version of the top Makefile. It comes early, because archives are sorted."""
    with open_members(path) as (tar, members):
        for member in members:
            if member.isfile() and inner_name(member.name) == "Makefile":
                file = tar.extractfile(member)
                assert file is not None  # a regular file
                version = version_of_makefile(file.read().decode(errors="replace"))
                if version is not None:
                    return version
    raise SetupError(f"{path} holds no kernel tree: no top Makefile with a VERSION")
