# SPDX-License-Identifier: GPL-2.0
"""Unpack archives of kernel text: .tar.xz, .tar.gz and .tar.zst."""

from __future__ import annotations

import gzip
import lzma
import posixpath
import tarfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import zstandard

from testbed.cache import Verify, digest
from testbed.context import Context
from testbed.errors import SetupError
from testbed.progress import Progress, Step

_DAMAGE = (
    tarfile.TarError,
    lzma.LZMAError,
    gzip.BadGzipFile,
    zlib.error,
    zstandard.ZstdError,
    EOFError,
)

_PIECE = 1 << 20  # bytes that are decompressed at a time


class ArchivedText(ABC):
    """Kernel text in an archive: unpacked in the cache, and equal wherever it comes from."""

    in_place = False
    commit = ""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Equal for equal archives."""

    @property
    def family(self) -> str:
        return self.identity

    @property
    def configuration(self) -> str:
        return self.identity

    def unpack(self, ctx: Context) -> Path:
        """Return the text in the cache, which is filled if it is not there.

        Raises:
            SetupError: the archive is gone or damaged, or has an unsafe member.
            InfraError: a download failed, or the disk lacks space.
        """
        key = digest(self.identity)
        entry = ctx.cache.get(
            "source", key, lambda scratch: self.fill(scratch, ctx), verify=Verify.STAT
        )
        return entry / "tree"

    @abstractmethod
    def fill(self, scratch: Path, ctx: Context) -> None:
        """Leave the text in scratch/tree, and nothing else."""


def unpack_tree(path: Path, scratch: Path, progress: Progress) -> None:
    """Unpack the text into scratch/tree, without the archive's single top directory.

    Raises:
        SetupError: the archive is damaged, holds no kernel tree, or has an unsafe member.
    """
    parts = scratch / "parts"
    with (
        progress.step(f"unpack {path.name}", path.stat().st_size) as step,
        open_members(path, step) as (tar, members),
    ):
        # Python before 3.11.4 has no filters, so _guarded() does not rely on them.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        for member in _guarded(path, members):
            tar.extract(member, parts, set_attrs=not member.isdir())
    tops = list(parts.iterdir())
    if len(tops) != 1 or not (tops[0] / "Makefile").exists():
        raise SetupError(f"{path} does not consist of one top directory with a kernel tree")
    tops[0].rename(scratch / "tree")
    parts.rmdir()


def inner_name(name: str) -> str:
    """Return a member's name below the archive's single top directory."""
    return posixpath.normpath(name).partition("/")[2]


def _guarded(path: Path, members: Iterator[tarfile.TarInfo]) -> Iterator[tarfile.TarInfo]:
    """Yield the members, and refuse any that could write outside the archive's directory.

    No member may be below a symbolic link of the archive, and only the start of a link may
    contain "..". So no chain of links can lead out of the directory.
    """
    links: set[str] = set()
    for member in members:
        name = posixpath.normpath(member.name)
        inside = _stays_inside(member.name) and not _behind(name, links)
        if member.issym():
            target = posixpath.join(posixpath.dirname(name), member.linkname)
            inside = inside and _stays_inside(target) and _rises_first(member.linkname)
            links.add(name)
        elif member.islnk():
            target = posixpath.normpath(member.linkname)
            inside = inside and _stays_inside(member.linkname) and not _behind(target, links)
            inside = inside and target not in links
        elif not (member.isfile() or member.isdir()):
            inside = False
        if not inside:
            reason = f"its member {member.name!r} leads out of it or is a special file"
            raise SetupError(f"{path} is refused: {reason}")
        yield member


def _stays_inside(name: str) -> bool:
    normal = posixpath.normpath(name)
    return not normal.startswith("/") and normal.split("/")[0] != ".."


def _rises_first(target: str) -> bool:
    words = [word for word in target.split("/") if word not in ("", ".")]
    return ".." not in words[words.count("..") :] and not target.startswith("/")


def _behind(name: str, links: set[str]) -> bool:
    words = name.split("/")
    return any("/".join(words[:depth]) in links for depth in range(1, len(words) + 1))


@contextmanager
def open_members(
    path: Path, step: Step | None = None
) -> Iterator[tuple[tarfile.TarFile, Iterator[tarfile.TarInfo]]]:
    """Read the archive from its beginning.

    Raises:
        SetupError: the archive is truncated or damaged.
    """
    try:
        with (
            path.open("rb") as file,
            require_known(path)(file) as plain,
            ThreadPoolExecutor(1) as pool,
            tarfile.open(
                fileobj=cast(IO[bytes], _Ahead(plain, pool)), mode="r|", bufsize=_PIECE
            ) as tar,
        ):
            yield tar, _counted(tar, file, step)
    except _DAMAGE as exc:
        raise SetupError(f"{path} is truncated or damaged: {exc}") from exc


class _Ahead:
    """Reads a file one piece ahead, in a thread: decompressing takes a third of the time."""

    def __init__(self, file: IO[bytes], pool: ThreadPoolExecutor) -> None:
        self._file, self._pool = file, pool
        self._next: Future[bytes] = pool.submit(file.read, _PIECE)

    def read(self, size: int) -> bytes:
        """Return the next piece, which is empty at the end. tarfile asks for _PIECE bytes."""
        piece = self._next.result()
        self._next = self._pool.submit(self._file.read, size)
        return piece


def _counted(tar: tarfile.TarFile, file: IO[bytes], step: Step | None) -> Iterator[tarfile.TarInfo]:
    for number, member in enumerate(tar):
        if step is not None and number % 500 == 0:
            step.update(file.tell())
        tar.members = []  # type: ignore[attr-defined]  # or it keeps all 90,000 members
        yield member
    # An archive ends with two empty blocks. tarfile reads one of them, but accepts their absence.
    # A zstd stream that was cut off between two members lacks them.
    rest = cast(IO[bytes], tar.fileobj)
    if not rest.read(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("the end of the archive is missing")
    while rest.read(tarfile.RECORDSIZE):
        pass  # only at the end have xz and gzip verified all data


def require_known(path: Path) -> Callable[[IO[bytes]], IO[bytes]]:
    """Return the function that decompresses an archive of this name.

    Raises:
        SetupError: the name has no known suffix.
    """
    for suffix, opener in _OPENERS.items():
        if path.name.endswith(suffix):
            return opener
    kinds = ", ".join(_OPENERS)
    raise SetupError(f"{path} is not a supported tarball", hint=f"its name must end in {kinds}")


def _open_xz(file: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], lzma.LZMAFile(file))


def _open_gz(file: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(fileobj=file))


def _open_zst(file: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], zstandard.ZstdDecompressor().stream_reader(file))


_OPENERS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    ".tar.xz": _open_xz,
    ".tar.gz": _open_gz,
    ".tar.zst": _open_zst,
}
