# SPDX-License-Identifier: GPL-2.0
"""Kernel text from Debian's archive: the linux-source packages."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.context import Context
from testbed.errors import CommandError, InfraError, SetupError
from testbed.kernel.apt import Index, last_line, open_index
from testbed.kernel.package import Package
from testbed.kernel.unpack import ArchivedText, unpack_tree
from testbed.kernel.version import DebianVersion, require_supported, upstream_version
from testbed.process import run
from testbed.progress import Progress

# linux-source is architecture-independent: the index of every architecture lists it.
_INDEX_ARCH = "amd64"

_PACKAGE = re.compile(r"linux-source-\d+\.\d+")
_WANTED = re.compile(r"\d+(\.\d+)*([-~+:].*)?")

# Disk space as a multiple of the .deb's size. The .deb, its .tar.xz and the text take 0.17, 0.17
# and 1.8 GB for 7.3.4.
_ROOM = 13


@dataclass(frozen=True, kw_only=True)
class DebianText(ArchivedText):
    """One linux-source package in an exact version, and the suite that contains it."""

    package: Package
    suite: str
    expired: str = ""  # the day on which the suite's Release file expired, if that is accepted

    @property
    def identity(self) -> str:
        return f"deb {self.package.hash}"

    @property
    def version(self) -> str:
        return upstream_version(self.package.version)

    @property
    def description(self) -> str:
        text = f"{self.package.name} {self.package.version} from {self.suite}"
        return (
            f"{text} (Release file expired on {self.expired}, accepted)" if self.expired else text
        )

    def fill(self, scratch: Path, ctx: Context) -> None:
        ctx.cache.require_space(_ROOM * self.package.size, f"unpacking {self.package.name}")
        deb = self._download(scratch / "deb", ctx)
        _unpack_deb(deb, scratch, ctx.progress)

    def _download(self, folder: Path, ctx: Context) -> Path:
        folder.mkdir()
        try:
            with open_index(self.suite, _INDEX_ARCH, ctx) as index:
                index.download([self.package], folder)
        except CommandError as exc:
            ctx.progress.note(f"download failed, trying again: {last_line(exc)}")
            shutil.rmtree(folder)
            folder.mkdir()
            find_text(self.package.version, ctx, refresh=True)
            with open_index(self.suite, _INDEX_ARCH, ctx) as index:
                index.download([self.package], folder)
        return folder / self.package.file


def find_text(wanted: str, ctx: Context, *, refresh: bool = False) -> DebianText:
    """Find the newest linux-source that matches.

    Args:
        wanted: empty for the newest of all; `7.3`, `7.3.4` or a whole Debian version.
        refresh: fetch the index even if the last fetch is recent.

    Raises:
        SetupError: no version matches, and the evidence lists the versions that exist; or the
            version is too old.
        InfraError: no suite has a usable index.
    """
    if wanted:
        if not _WANTED.fullmatch(wanted):
            raise SetupError(f"debian:{wanted} is not a version", hint="such as debian:7.3")
        require_supported(upstream_version(wanted), f"debian:{wanted}")
    texts, missing = _all_texts(ctx, refresh=refresh)
    best = choose(texts, wanted)
    if best is None and not refresh:
        # The archive may have received it since the last fetch.
        texts, missing = _all_texts(ctx, refresh=True)
        best = choose(texts, wanted)
    if best is None:
        raise _not_there(wanted, texts, missing)
    require_supported(best.version, best.description)
    return best


def choose(texts: list[DebianText], wanted: str) -> DebianText | None:
    """Return the newest that matches. If two suites have the same version, the first wins."""
    fitting = [text for text in texts if _fits(text.package.version, wanted)]
    return max(fitting, key=lambda text: DebianVersion(text.package.version), default=None)


def parse_show(text: str) -> list[Package]:
    """Parse the linux-source packages in the output of `apt-cache show`."""
    stanzas = [dict(_fields(stanza)) for stanza in text.split("\n\n")]
    return [
        Package(
            name=stanza["Package"],
            version=stanza["Version"],
            file=Path(stanza["Filename"]).name,
            size=int(stanza["Size"]),
            hash=f"SHA256:{stanza['SHA256']}",
        )
        for stanza in stanzas
        if _PACKAGE.fullmatch(stanza.get("Package", ""))
    ]


def _fields(stanza: str) -> Iterator[tuple[str, str]]:
    for line in stanza.splitlines():
        name, colon, value = line.partition(": ")
        if colon and not name.startswith(" "):
            yield name, value


def _fits(version: str, wanted: str) -> bool:
    upstream = upstream_version(version)
    return not wanted or version == wanted or f"{upstream}.".startswith(f"{wanted}.")


def _all_texts(ctx: Context, *, refresh: bool) -> tuple[list[DebianText], list[str]]:
    """Return the texts of all suites, and the messages of the suites that failed."""
    texts: list[DebianText] = []
    errors: list[InfraError] = []
    for suite in ctx.settings.suites:
        try:
            with open_index(suite, _INDEX_ARCH, ctx, refresh=refresh) as index:
                texts += [
                    DebianText(package=package, suite=suite, expired=index.expired)
                    for package in _packages(index)
                ]
        except InfraError as exc:
            ctx.progress.note(f"skipped: {exc.message}", once=True)  # for all architectures
            errors.append(exc)
    if len(errors) == len(ctx.settings.suites):
        raise errors[0]
    return texts, [error.message for error in errors]


def _packages(index: Index) -> list[Package]:
    kept = index.answer("linux-source")
    if kept.exists():
        return [Package(**value) for value in json.loads(kept.read_text())]
    names = index.ask("apt-cache", "pkgnames", "linux-source-").split()
    names = [name for name in names if _PACKAGE.fullmatch(name)]
    found = parse_show(index.ask("apt-cache", "show", *names)) if names else []
    index.keep(kept, [dataclasses.asdict(package) for package in found])
    return found


def _not_there(wanted: str, texts: list[DebianText], missing: list[str]) -> SetupError:
    known = sorted(texts, key=lambda text: DebianVersion(text.package.version), reverse=True)
    lines = [f"{text.package.version} ({text.suite})" for text in known]
    return SetupError(
        f"debian:{wanted} is not in the archive, which keeps only current versions",
        hint="choose an available version, or another suite (setting `suites`)",
        evidence="\n".join(["available:", *(lines or ["nothing"]), *missing]),
    )


def _unpack_deb(deb: Path, scratch: Path, progress: Progress) -> None:
    """Leave only the text in `scratch`, as scratch/tree."""
    run(["dpkg-deb", "--extract", deb, deb.parent])
    archive = next(deb.parent.glob("usr/src/*.tar.xz"))
    deb.unlink()
    unpack_tree(archive, scratch, progress)
    shutil.rmtree(deb.parent)
