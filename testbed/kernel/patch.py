# SPDX-License-Identifier: GPL-2.0
"""Parse one patch, and refuse unsafe ones.

The text may come from any mailbox. So the names are checked before git reads the patch. Names
outside the tree, links, and bytes that are not text never reach a file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from testbed.errors import SetupError

# The largest patches of the kernel's history, headers of graphics drivers, have some 30 MB.
LIMIT = 64_000_000  # bytes

# The length of the subject in a file name, as in git format-patch.
NAME_LENGTH = 52

# The modes that `new file mode` and similar lines may have: a plain or an executable file.
_MODES = frozenset({"100644", "100755"})

_GIT_HEADER = re.compile(r"diff --git (.+)")
_GIT_NAMES = re.compile(r"[^/\s]+/(\S+) [^/\s]+/(\S+)")
_RENAME = re.compile(r"(rename|copy) (from|to) (.+)")
_MODE = re.compile(r"(?:new|old|deleted file|new file) mode (\d+)|index \w+\.\.\w+ (\d+)")
_BINARY = re.compile(r"GIT binary patch|Binary files .* differ")
_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_BASE = re.compile(rb"^base-commit: ([0-9a-f]{12,64})\s*$", re.MULTILINE)

# These mark UTF-16 or UTF-32, which some editors and shells write.
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")

NOWHERE = "/dev/null"


@dataclass(frozen=True)
class Hunk:
    """One hunk of a file. Each line begins with a blank, "-" or "+"."""

    line: int  # of the old file, from 1
    lines: tuple[str, ...]

    @property
    def old(self) -> list[str]:
        return [line[1:] for line in self.lines if line[0] in " -"]

    @property
    def new(self) -> list[str]:
        return [line[1:] for line in self.lines if line[0] in " +"]

    @property
    def adds(self) -> bool:
        return any(line[0] == "+" for line in self.lines)


@dataclass
class FileDiff:
    """The changes of a patch to one file. Both names are below the tree, or /dev/null."""

    old: str = ""
    new: str = ""
    hunks: list[Hunk] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        return {self.old, self.new} - {NOWHERE, ""}


@dataclass(frozen=True)
class Patch:
    """A patch that contains only text for files below the tree."""

    name: str
    text: bytes = field(repr=False)
    origin: str = ""  # the place that it was read from
    exact: bool = False  # it must apply without fuzz, and not be merged

    @cached_property
    def diffs(self) -> tuple[FileDiff, ...]:
        return tuple(_Reader(self.name, self.text).diffs())

    @property
    def files(self) -> set[str]:
        """The files that it creates, changes, deletes or renames, with both names."""
        return {name for diff in self.diffs for name in diff.names}

    @property
    def identity(self) -> str:
        return hashlib.sha256(self.text).hexdigest()[:16]


def read_patch(path: Path, *, exact: bool = False) -> Patch:
    """Read the patch in a file.

    Raises:
        SetupError: the file cannot be read, is not a patch, or is refused.
    """
    return make_patch(path.name, read_file(path), origin=str(path), exact=exact)


def make_patch(name: str, text: bytes, *, origin: str, exact: bool = False) -> Patch:
    """Make a patch of this text.

    Raises:
        SetupError: the text is not a patch, or is refused. It gives the reason.
    """
    patch = Patch(name, text, origin, exact)
    if not patch.files:
        raise SetupError(f"{origin} is not a patch: it names no file")
    return patch


def read_file(path: Path) -> bytes:
    """Read a file that may be a patch.

    Raises:
        SetupError: it cannot be read, or is too large for a patch.
    """
    try:
        if path.stat().st_size > LIMIT:
            size = f"larger than {LIMIT / 1e6:.0f} MB"
            raise SetupError(f"{path} is refused: it is {size}, the limit")
        return path.read_bytes()
    except OSError as exc:
        raise SetupError(f"cannot read the patch {path}: {exc.strerror}") from exc


def named_base(text: bytes) -> str:
    """Return the commit of the trailer `base-commit:` (git-format-patch(1)), or "" without one."""
    found = _BASE.search(text)
    return found[1].decode() if found else ""


class _Reader:
    """Reads a patch line by line as git does. A hunk's head gives its number of lines."""

    def __init__(self, name: str, text: bytes) -> None:
        self.name = name
        _refuse_other_than_text(name, text)
        # Some files of the kernel are not UTF-8.
        self.lines = text.decode(errors="surrogateescape").split("\n")
        self.at = 0

    def diffs(self) -> Iterator[FileDiff]:
        diff: FileDiff | None = None
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if match := _GIT_HEADER.fullmatch(line):
                yield from filter(None, [diff])
                diff = self._git_header(match[1])
            elif self._names_follow(line):
                # Only git writes a header line for each file.
                if diff is None or diff.hunks:
                    yield from filter(None, [diff])
                    diff = FileDiff()
                diff.old, diff.new = self._stripped(line), self._stripped(self.lines[self.at + 1])
                self.at += 1
            elif diff is not None:
                self._inside(diff, line)
            self.at += 1
        yield from filter(None, [diff])

    def _names_follow(self, line: str) -> bool:
        following = self.lines[self.at + 1] if self.at + 1 < len(self.lines) else ""
        return line.startswith("--- ") and following.startswith("+++ ")

    def _git_header(self, names: str) -> FileDiff:
        if '"' in names:
            self._refuse(f"it names files in quotes: {names}")
        # Names with blanks do not match. git repeats them in separate lines, except for binary
        # files.
        match = _GIT_NAMES.fullmatch(names)
        if match is None:
            return FileDiff()
        return FileDiff(self._checked(match[1]), self._checked(match[2]))

    def _inside(self, diff: FileDiff, line: str) -> None:
        if match := _HUNK.match(line):
            count = [int(match[group] or 1) for group in (2, 4)]
            diff.hunks.append(Hunk(int(match[1]), tuple(self._hunk(*count))))
        elif match := _RENAME.fullmatch(line):
            name = self._checked(match[3])
            diff.old, diff.new = (name, diff.new) if match[2] == "from" else (diff.old, name)
        elif match := _MODE.fullmatch(line):
            self._check_mode(match[1] or match[2])
        elif _BINARY.match(line):
            self._refuse("it is binary")

    def _hunk(self, old: int, new: int) -> Iterator[str]:
        """Yield the lines of a hunk. Then `at` is its last line."""
        head = self.at + 1
        while old > 0 or new > 0:
            self.at += 1
            # Some mailers strip the blank of an empty line. "end" marks a hunk that is cut off.
            line = self.lines[self.at] or " " if self.at < len(self.lines) - 1 else "end"
            if line[0] not in " +-\\":
                self._refuse(f"its hunk at line {head} is cut off")
            if line[0] != "\\":
                old, new = old - (line[0] in " -"), new - (line[0] in " +")
                yield line

    def _stripped(self, line: str) -> str:
        """Return the name in a `---` or `+++` line, without its first directory."""
        # A time may follow after a tab.
        name = line[4:].partition("\t")[0].rstrip()
        if name == NOWHERE:
            return name
        if name.startswith('"'):
            self._refuse(f"it names a file in quotes: {name}")
        first, slash, rest = name.partition("/")
        if not first:
            self._refuse(f"it names {name}, which is an absolute path")
        if not slash:
            self._refuse(f"it names {name} without a leading directory such as a/ or b/")
        return self._checked(rest)

    def _checked(self, name: str) -> str:
        if name.startswith("/"):
            self._refuse(f"it names {name}, which is an absolute path")
        parts = name.split("/")
        if ".." in parts:
            self._refuse(f"it names {name}, which is outside the tree")
        if not name or {"", "."} & set(parts) or not name.isprintable():
            self._refuse(f"it names a file in an unusual way: {name!r}")
        if ".git" in (part.lower() for part in parts):
            self._refuse(f"it names {name}, which belongs to git")
        return name

    def _check_mode(self, mode: str) -> None:
        if mode == "120000":
            self._refuse("it creates or changes a symbolic link")
        if mode not in _MODES:
            self._refuse(f"it has a file of mode {mode}")

    def _refuse(self, why: str) -> None:
        raise _refusal(self.name, why)


def _refuse_other_than_text(name: str, text: bytes) -> None:
    if len(text) > LIMIT:
        raise _refusal(name, f"it is larger than {LIMIT / 1e6:.0f} MB")
    if text.startswith(_BYTE_ORDER_MARKS):
        raise _refusal(name, "it is encoded in UTF-16: save it in UTF-8")
    if b"\0" in text:
        raise _refusal(name, "it is binary")
    if b"\r\n" in text and text.count(b"\r\n") == text.count(b"\n"):
        raise _refusal(name, "its lines end with CR LF: convert it with dos2unix(1)")


def _refusal(name: str, why: str) -> SetupError:
    return SetupError(f"the patch {name} is refused: {why}")
