"""Kernel text in a tarball: .tar.xz, .tar.gz or .tar.zst."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import zstandard

from testbed.cache import Verify, digest
from testbed.context import Context
from testbed.errors import SetupError
from testbed.files import write_whole
from testbed.kernel.version import require_supported, version_of_makefile
from testbed.progress import Progress, Step

# A kernel's text is ten to twelve times its xz, seven times its gzip.
_ROOM = 12

_DAMAGE = (
    tarfile.TarError,
    lzma.LZMAError,
    gzip.BadGzipFile,
    zlib.error,
    zstandard.ZstdError,
    EOFError,
)


@dataclass(frozen=True, kw_only=True)
class TarballText:
    """A tarball with kernel text, known by its SHA-256."""

    path: Path
    sha256: str
    version: str

    in_place = False

    @property
    def identity(self) -> str:
        return f"tarball {self.sha256}"

    @property
    def family(self) -> str:
        return self.identity

    @property
    def configuration(self) -> str:
        return self.identity

    @property
    def description(self) -> str:
        return f"{self.version} from {self.path}"

    def unpack(self, ctx: Context) -> Path:
        """The text in the cache; unpacked when it is not there.

        Raises:
            SetupError: the tarball has changed, is damaged, or has a member that leads out of it.
            InfraError: the disk has no room.
        """

        def make(scratch: Path) -> None:
            room = _ROOM * self.path.stat().st_size
            ctx.cache.require_space(room, f"unpacking {self.path.name}")
            _extract(self.path, scratch, ctx.progress)

        return ctx.cache.get("source", digest(self.identity), make, verify=Verify.STAT) / "tree"


def find_text(wanted: str, ctx: Context) -> TarballText:
    """The tarball at that path.

    Raises:
        SetupError: it is not there, of no known kind, damaged, no kernel's, or too old.
    """
    path = Path(wanted).expanduser().resolve()
    if not path.is_file():
        raise SetupError(f"there is no tarball at {path}")
    _opener(path)
    with ctx.cache.work("tarballs") as folder:
        sha256, version = _facts(path, folder, ctx.progress)
    require_supported(version, str(path))
    return TarballText(path=path, sha256=sha256, version=version)


def _facts(path: Path, folder: Path, progress: Progress) -> tuple[str, str]:
    """SHA-256 and kernel version; kept as long as the file's time and size stay."""
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
    """What the topmost Makefile says. Archives are sorted: it comes early."""
    with _members(path) as (tar, members):
        for member in members:
            if member.isfile() and _inner_name(member.name) == "Makefile":
                file = tar.extractfile(member)
                assert file is not None  # a regular file
                version = version_of_makefile(file.read().decode(errors="replace"))
                if version is not None:
                    return version
    raise SetupError(f"{path} holds no kernel tree: no topmost Makefile with a VERSION")


def _inner_name(name: str) -> str:
    """A member's name below the archive's single top directory."""
    return posixpath.normpath(name).partition("/")[2]


def _extract(path: Path, scratch: Path, progress: Progress) -> None:
    """Leave the text in scratch/tree, without the archive's single top directory."""
    parts = scratch / "parts"
    with (
        progress.step(f"unpack {path.name}", path.stat().st_size) as step,
        _members(path, step) as (tar, members),
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
def _members(
    path: Path, step: Step | None = None
) -> Iterator[tuple[tarfile.TarFile, Iterator[tarfile.TarInfo]]]:
    """Read the archive from its beginning; damage becomes a SetupError."""
    try:
        with (
            path.open("rb") as file,
            _opener(path)(file) as plain,
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


def _opener(path: Path) -> Callable[[IO[bytes]], IO[bytes]]:
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
