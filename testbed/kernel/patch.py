# SPDX-License-Identifier: GPL-2.0
"""One patch: its name, its text, and the files that it names."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from testbed.errors import SetupError
from testbed.kernel.difftext import DiffReader, FileDiff, guess_strip, refusal
from testbed.kernel.rawfile import LIMIT, read_raw

# The length of the subject in a file name, as in git format-patch.
NAME_LENGTH = 52

_BASE = re.compile(rb"^base-commit: ([0-9a-f]{12,64})\s*$", re.MULTILINE)

# These mark UTF-16 or UTF-32, which some editors and shells write.
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")

_NO_PREFIX = "its names lack a/ and b/: applied with -p0"
_CR = "its lines end with CR LF: applied without the CR"


@dataclass(frozen=True)
class Patch:
    """A patch that was parsed: text for files below the tree, and nothing else."""

    name: str
    text: bytes = field(repr=False)
    origin: str = ""  # the file or the archive that it comes from
    exact: bool = False  # it must apply as it is: no fuzz, and not merged already
    strip: int = 1  # leading directories in front of its names: git apply's -p
    notes: tuple[str, ...] = ()  # how the text was understood, where that is not plain

    @cached_property
    def diffs(self) -> tuple[FileDiff, ...]:
        return tuple(DiffReader(self.name, self.text, self.strip).diffs())

    @cached_property
    def diff_text(self) -> bytes:
        """The diffs without the description, where git would read a diff that is quoted there."""
        return diff_text(self.name, self.text, self.strip)

    @property
    def files(self) -> set[str]:
        """The files that it creates, changes, deletes or renames, by both names."""
        return {name for diff in self.diffs for name in diff.names}

    @property
    def identity(self) -> str:
        """Equal for equal diffs, whatever their descriptions."""
        prefix = "" if self.strip == 1 else f"-p{self.strip} "
        return hashlib.sha256(prefix.encode() + self.diff_text).hexdigest()[:16]


def read_patch(path: Path, *, exact: bool = False) -> Patch:
    """Read the patch in a file.

    Raises:
        SetupError: the file cannot be read, is not a patch, or is refused.
    """
    return make_patch(path.name, read_raw(path), origin=str(path), exact=exact)


def make_patch(
    name: str, text: bytes, *, origin: str, exact: bool = False, strip: int | None = None
) -> Patch:
    """Make a patch of this text.

    Args:
        strip: leading directories in front of its names; guessed where None.

    Raises:
        SetupError: the text is not a patch, or is refused. It gives the reason.
    """
    _refuse_other_than_text(name, text)
    notes: list[str] = []
    if (plain := _without_cr(name, text, strip)) is not None:
        text = plain
        notes.append(_CR)
    depth = guess_strip(text) if strip is None else strip
    if strip is None and depth == 0:
        notes.append(_NO_PREFIX)
    patch = Patch(name, text, origin, exact, depth, tuple(notes))
    if not patch.files:
        raise SetupError(f"{origin} is not a patch: it names no file")
    if empty := [diff for diff in patch.diffs if not diff.hunks and not diff.is_more]:
        raise refusal(name, f"its diff of {min(empty[0].names, default='a file')} is cut off")
    return patch


def diff_text(name: str, text: bytes, strip: int) -> bytes:
    """Return the lines from the first diff to the end of the last; empty without any.

    Raises:
        SetupError: a diff is refused.
    """
    lines = text.split(b"\n")[DiffReader(name, text, strip).extent()]
    return b"\n".join([*lines, b""]) if lines else b""


def _without_cr(name: str, text: bytes, strip: int | None) -> bytes | None:
    """Return the text without CR if all lines of its diffs end with CR LF."""
    if b"\r\n" not in text:
        return None
    plain = text.replace(b"\r\n", b"\n")
    depth = guess_strip(plain) if strip is None else strip
    lines = text.split(b"\n")[DiffReader(name, plain, depth).extent()]
    # Mailers strip the blank of an empty line, and the CR with it.
    return plain if lines and all(line.endswith(b"\r") or not line for line in lines) else None


def named_base(text: bytes) -> str:
    """Return the commit of the trailer `base-commit:` (git-format-patch(1)), or ""."""
    found = _BASE.search(text)
    return found[1].decode() if found else ""


def _refuse_other_than_text(name: str, text: bytes) -> None:
    if len(text) > LIMIT:
        raise refusal(name, f"it is larger than {LIMIT / 1e6:.0f} MB")
    if text.startswith(_BYTE_ORDER_MARKS):
        raise refusal(name, "it is encoded in UTF-16: save it in UTF-8")
    if b"\0" in text:
        raise refusal(name, "it is binary")
