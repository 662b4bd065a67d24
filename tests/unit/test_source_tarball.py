# SPDX-License-Identifier: GPL-2.0
"""Kernel text from tarballs."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from testbed.context import Context
from testbed.errors import InfraError, SetupError
from testbed.kernel.source import resolve, unpack

MAKEFILE = "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n"
TEXT = {"Makefile": MAKEFILE, "Kconfig": "", "mm/util.c": "int util;\n" * 5000}

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".tar.xz": lzma.compress,
    ".tar.gz": gzip.compress,
    ".tar.zst": zstandard.ZstdCompressor().compress,
}


def packed(files: dict[str, str], *extra: tarfile.TarInfo, top: str = "linux-7.3.4/") -> bytes:
    """Return a tar with these files, followed by the other members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
        for member in extra:
            tar.addfile(member)
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_all_formats_are_unpacked_without_the_top_directory(tmp_path: Path, ctx: Context) -> None:
    for suffix, pack in PACKERS.items():
        file = tmp_path / f"linux{suffix}"
        file.write_bytes(pack(packed(TEXT, link("linux-7.3.4/arch/now", "../mm"))))
        source = resolve(f"tarball:{file}", ctx)
        assert source.version == "7.3.4"
        assert str(file) in source.description
        tree = unpack(source, ctx)
        assert not tree.in_place
        assert (tree.path / "Makefile").read_text() == MAKEFILE
        assert (tree.path / "arch/now/util.c").read_text() == TEXT["mm/util.c"]


def test_only_equal_tarballs_have_equal_identities(tmp_path: Path, ctx: Context) -> None:
    def identity(name: str, text: dict[str, str]) -> str:
        (tmp_path / name).write_bytes(gzip.compress(packed(text), mtime=0))
        return resolve(f"tarball:{tmp_path / name}", ctx).identity

    first = identity("one.tar.gz", TEXT)
    assert identity("two.tar.gz", TEXT) == first
    assert identity("one.tar.gz", TEXT | {"Kconfig": "config NEW\n"}) != first


def test_an_old_tarball_is_refused_before_it_is_unpacked(tmp_path: Path, ctx: Context) -> None:
    file = tmp_path / "old.tar.gz"
    text = packed({"Makefile": "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 1\n"})
    file.write_bytes(gzip.compress(text))
    with pytest.raises(SetupError, match=r"is Linux 6\.12\.1"):
        resolve(f"tarball:{file}", ctx)


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_a_truncated_tarball_is_noticed(
    tmp_path: Path, ctx: Context, suffix: str, share: float
) -> None:
    whole = PACKERS[suffix](packed(TEXT))
    file = tmp_path / f"linux{suffix}"
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(SetupError, match="truncated or damaged"):
        unpack(resolve(f"tarball:{file}", ctx), ctx)
    assert not list(ctx.cache.root.glob("source/*"))


def test_a_zstd_stream_that_ends_between_two_members_is_noticed(
    tmp_path: Path, ctx: Context
) -> None:
    end = 2 * 512  # Makefile: one block of header, one of text
    file = tmp_path / "linux.tar.zst"
    file.write_bytes(PACKERS[".tar.zst"](packed(TEXT)[:end]))
    source = resolve(f"tarball:{file}", ctx)
    with pytest.raises(SetupError, match="the end of the archive is missing"):
        unpack(source, ctx)


@pytest.mark.parametrize(
    "members",
    [
        [tarfile.TarInfo("../escape")],
        [tarfile.TarInfo("/escape")],
        [tarfile.TarInfo("linux/../../escape")],
        [link("linux/out", "/etc")],
        [link("linux/out", "../../etc")],
        # A chain: each link alone points inside, but one through the other points outside.
        [link("linux/a/up", ".."), link("linux/out", "a/up/../..")],
        [link("linux/dir", "mm"), tarfile.TarInfo("linux/dir/file")],
        [link("linux/file", "mm"), tarfile.TarInfo("linux/file")],
        [link("linux/hard", "../passwd", tarfile.LNKTYPE)],
        [link("linux/soft", "mm"), link("linux/hard", "linux/soft", tarfile.LNKTYPE)],
        [link("linux/fifo", "", tarfile.FIFOTYPE)],
    ],
    ids=lambda members: " ".join(f"{member.name}:{member.linkname}" for member in members),
)
def test_an_unsafe_member_is_refused(
    tmp_path: Path, ctx: Context, members: list[tarfile.TarInfo]
) -> None:
    file = tmp_path / "linux.tar.gz"
    file.write_bytes(gzip.compress(packed(TEXT, *members, top="linux/")))
    source = resolve(f"tarball:{file}", ctx)
    with pytest.raises(SetupError, match=f"member {members[-1].name!r} leads out of it or"):
        unpack(source, ctx)
    assert not list(tmp_path.rglob("escape"))


def test_a_tarball_of_something_else_is_refused(tmp_path: Path, ctx: Context) -> None:
    file = tmp_path / "other.tar.gz"
    file.write_bytes(gzip.compress(packed({"README": "", "src/Makefile": MAKEFILE})))
    with pytest.raises(SetupError, match="holds no kernel tree"):
        resolve(f"tarball:{file}", ctx)


def test_a_missing_tarball_and_an_unknown_format_are_named(tmp_path: Path, ctx: Context) -> None:
    with pytest.raises(SetupError, match="no tarball at"):
        resolve(f"tarball:{tmp_path / 'none.tar.xz'}", ctx)
    (tmp_path / "linux.zip").touch()
    with pytest.raises(SetupError, match=r"must end in \.tar\.xz, \.tar\.gz, \.tar\.zst"):
        resolve(f"tarball:{tmp_path / 'linux.zip'}", ctx)


def test_a_full_disk_is_reported_before_unpacking(tmp_path: Path, ctx: Context) -> None:
    file = tmp_path / "linux.tar.gz"
    file.write_bytes(gzip.compress(packed(TEXT)))
    source = resolve(f"tarball:{file}", ctx)
    with file.open("r+b") as sparse:
        sparse.truncate(2**43)
    with pytest.raises(InfraError, match=r"unpacking linux\.tar\.gz needs 105553\.1 GB"):
        unpack(source, ctx)
