# SPDX-License-Identifier: GPL-2.0
"""Archives of kernel text to a tree: .tar.xz, .tar.gz and .tar.zst."""

from __future__ import annotations

import gzip
import lzma
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import zstandard

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


def unpack_tree(path: Path, scratch: Path, progress: Progress) -> None:
    """Leave the text in scratch/tree, without the archive's single top directory.

    Raises:
        SetupError: the archive is damaged, holds no kernel tree, or a member leads out of it.
    """
    parts = scratch / "parts"
    with (
        progress.step(f"unpack {path.name}", path.stat().st_size) as step,
        open_members(path, step) as (tar, members),
    ):
        # Python before 3.11.4 knows no filters: _guarded() does not rely on them.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        for member in _guarded(path, members):
            tar.extract(member, parts, set_attrs=not member.isdir())
    tops = list(parts.iterdir())
    if len(tops) != 1 or not (tops[0] / "Makefile").exists():
        raise SetupError(f"{path} has not one top directory that is a kernel tree")
    tops[0].rename(scratch / "tree")
    parts.rmdir()


def inner_name(name: str) -> str:
    """A member's name below the archive's single top directory."""
    return posixpath.normpath(name).partition("/")[2]


def _guarded(path: Path, members: Iterator[tarfile.TarInfo]) -> Iterator[tarfile.TarInfo]:
    """The members, none of which can be used to write outside the archive's own directory.

    Nothing may lie behind a symbolic link of the archive, and a link may go up only at its
    beginning: so no chain of links can lead out, whatever each of them points at.
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
            raise SetupError(f"{path} is refused: its member {member.name!r} leads out of it")
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
    """Read the archive from its beginning; damage becomes a SetupError."""
    try:
        with (
            path.open("rb") as file,
            require_known(path)(file) as plain,
            tarfile.open(fileobj=plain, mode="r|") as tar,
        ):
            yield tar, _counted(tar, file, step)
    except _DAMAGE as exc:
        raise SetupError(f"{path} is truncated or damaged: {exc}") from exc


def _counted(tar: tarfile.TarFile, file: IO[bytes], step: Step | None) -> Iterator[tarfile.TarInfo]:
    for number, member in enumerate(tar):
        if step is not None and number % 500 == 0:
            step.update(file.tell())
        tar.members = []  # type: ignore[attr-defined]  # else it keeps all 90,000
        yield member
    # The end of an archive is two empty blocks. tarfile reads one of them and is as content with
    # none, which is how a zstd stream looks that was cut off between two members.
    rest = cast(IO[bytes], tar.fileobj)
    if not rest.read(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it has no end")
    while rest.read(tarfile.RECORDSIZE):
        pass  # to the end: only there are xz and gzip sure of all that came before


def require_known(path: Path) -> Callable[[IO[bytes]], IO[bytes]]:
    """The function that decompresses an archive of this name.

    Raises:
        SetupError: the name has no known ending.
    """
    for suffix, opener in _OPENERS.items():
        if path.name.endswith(suffix):
            return opener
    kinds = ", ".join(_OPENERS)
    raise SetupError(
        f"{path} is no tarball that is known here", hint=f"its name must end in {kinds}"
    )


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
