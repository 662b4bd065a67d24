# SPDX-License-Identifier: GPL-2.0
"""Sources of kernel text: Debian's archive, a local tree, a tarball."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from testbed.context import Context
from testbed.errors import SetupError
from testbed.kernel import debian, localtree, tarball
from testbed.suggest import nearest


class Text(Protocol):
    """The interface of a text, which each kind of source implements."""

    @property
    def identity(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def configuration(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def commit(self) -> str: ...
    @property
    def in_place(self) -> bool: ...
    def unpack(self, ctx: Context) -> Path: ...


@dataclass(frozen=True)
class Source:
    """Kernel text that was found, but may not be on this disk yet."""

    identity: str  # texts with equal identities are equal
    version: str  # as `make kernelversion` prints it, such as 7.3.4
    description: str  # for people: the text and its origin
    text: Text

    @property
    def family(self) -> str:
        """Equal for successive states of one text, which share a build directory."""
        return self.text.family

    @property
    def commit(self) -> str:
        """The git commit that the text was taken from; empty for any other text."""
        return self.text.commit

    @property
    def configuration(self) -> str:
        """Equal for texts whose files for Kconfig are equal.

        Texts that differ only in C files are configured once.
        """
        return self.text.configuration


@dataclass(frozen=True)
class SourceTree:
    """Kernel text on this disk. It is never written.

    With `in_place` it is the user's tree, else it is in the cache.
    """

    path: Path
    source: Source
    in_place: bool


def resolve(spec: str, ctx: Context) -> Source:
    """Find the text for `debian`, `debian:7.3`, `tree:PATH` or `tarball:PATH`.

    Raises:
        SetupError: the text does not exist, is not a kernel's, or is too old.
        InfraError: no index of the archive is available.
    """
    kind, _, rest = spec.partition(":")
    find = _KINDS.get(kind)
    if find is None:
        raise _unknown(spec, kind)
    if not rest and kind != "debian":
        raise SetupError(f"{spec!r} names no {kind}", hint=_EXAMPLES)
    text = find(rest, ctx)
    return Source(text.identity, text.version, text.description, text)


def unpack(source: Source, ctx: Context) -> SourceTree:
    """Put the text on this disk.

    Raises:
        SetupError: the text is not available any more, or is damaged.
        InfraError: the download failed, or the disk lacks space.
    """
    text = source.text
    return SourceTree(text.unpack(ctx), source, text.in_place)


_KINDS: dict[str, Callable[[str, Context], Text]] = {
    "debian": debian.find_text,
    "tree": localtree.find_text,
    "tarball": tarball.find_text,
}

_EXAMPLES = "give debian, debian:7.3, tree:PATH or tarball:PATH"


def _unknown(spec: str, kind: str) -> SetupError:
    if kind[:1].isdigit():
        meant = f"debian:{spec}"
    else:
        meant = f"tree:{spec}" if "/" in kind else nearest(kind, _KINDS)
    hint = f"did you mean {meant}? {_EXAMPLES}" if meant else _EXAMPLES
    return SetupError(f"unknown kind of kernel source {kind!r}", hint=hint)
