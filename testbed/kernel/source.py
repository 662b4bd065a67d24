# SPDX-License-Identifier: GPL-2.0
"""Where kernel text comes from: Debian's archive, a local tree, a tarball."""

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
    """What each kind of source knows of its text."""

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
    def in_place(self) -> bool: ...
    def unpack(self, ctx: Context) -> Path: ...


@dataclass(frozen=True)
class Source:
    """Kernel text by its name: found, but not necessarily on this disk yet."""

    identity: str  # of the content: equal identities are equal texts
    version: str  # as `make kernelversion` has it, such as 7.3.4
    description: str  # for people: what was taken, and where from
    text: Text

    @property
    def family(self) -> str:
        """Equal for stages of one text: a later one is built from the objects of an earlier."""
        return self.text.family

    @property
    def configuration(self) -> str:
        """Equal where Kconfig is: two texts that differ in C files alone are configured once."""
        return self.text.configuration


@dataclass(frozen=True)
class SourceTree:
    """Kernel text on this disk. It is never written.

    With `in_place` it is the user's own tree, else it lies in the cache.
    """

    path: Path
    source: Source
    in_place: bool


def resolve(spec: str, ctx: Context) -> Source:
    """The text that `debian`, `debian:7.3`, `tree:PATH` or `tarball:PATH` means.

    Raises:
        SetupError: there is no such text, it is no kernel's, or it is too old.
        InfraError: the archive cannot be asked.
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
    """The text on this disk.

    Raises:
        SetupError: it cannot be had any more, or is damaged.
        InfraError: it cannot be downloaded, or the disk has no room.
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
