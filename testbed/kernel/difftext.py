# SPDX-License-Identifier: GPL-2.0
"""Read diffs as git apply does: names, hunks, modes. Unsafe ones are refused.

A patch may come from any mailbox. Its names are read before git sees it. A name outside the
tree, a link, or binary data never reaches a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from testbed.errors import SetupError

NOWHERE = "/dev/null"

# The modes that `new file mode` and similar lines may have: a plain or an executable file.
_MODES = frozenset({"100644", "100755"})

_GIT_HEADER = re.compile(r"diff --git (.+)")
_RENAME = re.compile(r"(rename|copy) (from|to|old|new) (.+)")
# git takes any white space behind a mode (apply.c, parse_mode_line()).
_MODE = re.compile(r"(?:new|old|deleted file|new file) mode\s*(.*)|index \w+\.\.\w+\s+(.*)")
_BINARY = re.compile(r"GIT binary patch|Binary files .* differ")
_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")

# The time behind a name: after a tab, or after a blank that a mailer has made of it.
_TIME = re.compile(
    r"\t.*|\s+\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d.*|\s+\w{3} \w{3} +\d+ \d\d:\d\d:\d\d \d{4}.*"
)

# The lines that go on with a header of git's (apply.c, parse_git_diff_header()).
_EXTENDED = (
    *("--- ", "+++ ", "index ", "similarity index ", "dissimilarity index "),
    *("old mode ", "new mode ", "deleted file mode ", "new file mode "),
    *("Binary files ", "GIT binary patch"),
    *("copy from ", "copy to ", "rename from ", "rename to ", "rename old ", "rename new "),
)

# The bytes of a name, and of one of its parts, on any file system. A scratch folder is in front.
_LONGEST, _NAME_MAX = 2048, 255
_SHOWN = 60  # characters of a name that is too long

# The files and directories at the top of the kernel's tree.
_TOP = frozenset(
    (
        *("arch", "block", "certs", "crypto", "Documentation", "drivers", "fs", "include", "init"),
        *("io_uring", "ipc", "kernel", "lib", "LICENSES", "mm", "net", "rust", "samples"),
        *("scripts", "security", "sound", "tools", "usr", "virt"),
        *("COPYING", "CREDITS", "Kbuild", "Kconfig", "MAINTAINERS", "Makefile", "README"),
        *(".clang-format", ".gitattributes", ".gitignore", ".mailmap"),
    )
)


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
    is_more: bool = False  # it changes a mode or a name, or makes or removes the file

    @property
    def names(self) -> set[str]:
        return {self.old, self.new} - {NOWHERE, ""}


class DiffReader:
    """Reads a patch line by line as git does. A hunk's head gives its number of lines.

    Args:
        name: the name of the patch, for errors.
        strip: leading directories that names have in front: git apply's -p.
    """

    def __init__(self, name: str, text: bytes, strip: int = 1) -> None:
        self.name = name
        self.strip = strip
        # Some files of the kernel are not UTF-8.
        self.lines = text.decode(errors="surrogateescape").split("\n")
        self.at = 0
        self._start = self._end = 0

    def extent(self) -> slice:
        """Read all diffs; return the lines from the first of them to the end of the last."""
        for _ in self.diffs():
            pass
        return slice(self._start, self._end)

    def diffs(self) -> Iterator[FileDiff]:
        """Yield the diff of each file."""
        diff: FileDiff | None = None
        while self.at < len(self.lines):
            line = self.lines[self.at]
            self._start = self.at if diff is None else self._start
            if (match := _GIT_HEADER.fullmatch(line)) and self._header_goes_on():
                yield from filter(None, [diff])
                diff = self._git_header(match[1])
                self._end = self.at + 1
            elif self._names_follow(line, within=diff is not None and not diff.hunks):
                # Only git writes a header line for each file.
                if diff is None or diff.hunks:
                    yield from filter(None, [diff])
                    diff = FileDiff()
                diff.old, diff.new = self._stripped(line), self._stripped(self.lines[self.at + 1])
                self.at += 1
                self._end = self.at + 1
            elif diff is not None and self._inside(diff, line):
                self._end = self.at + 1
            self.at += 1
        yield from filter(None, [diff])

    def _ahead(self, count: int) -> str:
        return self.lines[self.at + count] if self.at + count < len(self.lines) else ""

    def _header_goes_on(self) -> bool:
        """Whether a `diff --git` line begins a header (apply.c, parse_git_diff_header())."""
        return self._ahead(1).startswith(_EXTENDED)

    def _names_follow(self, line: str, *, within: bool) -> bool:
        """Whether two lines name the files of a diff (apply.c, find_header()).

        Outside of git's header a hunk must follow: descriptions have such lines as well.
        """
        names = line.startswith("--- ") and self._ahead(1).startswith("+++ ")
        return names and (within or self._ahead(2).startswith("@@ -"))

    def _git_header(self, names: str) -> FileDiff:
        if '"' in names:
            self._refuse(f"it names files in quotes: {names}")
        # Names with blanks do not match. git repeats them in separate lines, except for binary
        # files.
        pair = _two_names(names)
        if pair is None or any(name.count("/") < self.strip for name in pair):
            return FileDiff()
        old, new = (self._without_prefix(name) for name in pair)
        return FileDiff(old, new)

    def _inside(self, diff: FileDiff, line: str) -> bool:
        """Read a hunk or a line of a header; return whether it was one."""
        if match := _HUNK.match(line):
            count = [int(match[group] or 1) for group in (2, 4)]
            diff.hunks.append(Hunk(int(match[1]), tuple(self._hunk(*count))))
        elif match := _RENAME.fullmatch(line):
            # These have one leading directory less (apply.c, gitdiff_renamesrc()).
            diff.is_more = True
            name = self._checked("/".join(match[3].split("/")[max(0, self.strip - 1) :]))
            source = match[2] in ("from", "old")
            diff.old, diff.new = (name, diff.new) if source else (diff.old, name)
        elif match := _MODE.fullmatch(line):
            diff.is_more |= match[1] is not None
            self._check_mode((match[1] or match[2] or "").strip())
        elif _BINARY.match(line):
            self._refuse("it is binary")
        elif line.startswith("@@ -") and not diff.hunks:
            self._refuse(f"its hunk at line {self.at + 1} has a damaged head")
        else:
            return line.startswith("\\ ")  # No newline at end of file
        return True

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
        """Return the name in a `---` or `+++` line, without its leading directories."""
        name = _name_in(line)
        if name == NOWHERE:
            return name
        if name.startswith('"'):
            self._refuse(f"it names a file in quotes: {name}")
        if name.startswith("/"):
            self._refuse(f"it names {name}, which is an absolute path")
        if name.count("/") < self.strip:
            self._refuse(f"it names {name} without a leading directory such as a/ or b/")
        return self._without_prefix(name)

    def _without_prefix(self, name: str) -> str:
        return self._checked("/".join(name.split("/")[self.strip :]))

    def _checked(self, name: str) -> str:
        if name.startswith("/"):
            self._refuse(f"it names {name}, which is an absolute path")
        if name.endswith("\r"):
            self._refuse("some of its lines end with CR LF")
        parts = name.split("/")
        if ".." in parts:
            self._refuse(f"it names {name}, which is outside the tree")
        if not name or {"", "."} & set(parts) or not name.isprintable():
            self._refuse(f"it names a file in an unusual way: {name!r}")
        if len(name.encode()) > _LONGEST or any(len(part.encode()) > _NAME_MAX for part in parts):
            self._refuse(f"it names a file whose name is too long: {name[:_SHOWN]}...")
        if ".git" in (part.lower() for part in parts):
            self._refuse(f"it names {name}, which belongs to git")
        return name

    def _check_mode(self, mode: str) -> None:
        if mode == "120000":
            self._refuse("it creates or changes a symbolic link")
        if mode not in _MODES:
            self._refuse(f"it has a file of mode {mode}")

    def _refuse(self, why: str) -> None:
        raise refusal(self.name, why)


def guess_strip(text: bytes) -> int:
    """Return the leading directories that the names of a patch have in front, 0 or 1.

    Without a/ and b/ the names begin at the top of the kernel's tree.
    """
    pairs = list(_named_pairs(text.decode(errors="surrogateescape").split("\n")))
    return 0 if pairs and all(_in_tree(*pair) for pair in pairs) else 1


def _named_pairs(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line, following, third in zip(lines, lines[1:], [*lines[2:], ""], strict=False):
        if match := _GIT_HEADER.fullmatch(line):
            names = _two_names(match[1])
            if names is not None and following.startswith(_EXTENDED):
                yield names
        elif line.startswith("--- ") and following.startswith("+++ ") and third.startswith("@@ -"):
            yield _name_in(line), _name_in(following)


def _in_tree(old: str, new: str) -> bool:
    names = {old, new} - {NOWHERE}
    return bool(names) and all(map(_below_top, names))


def _below_top(name: str) -> bool:
    """Whether a name begins at the top of the tree; a checkout may be called `kernel` as well."""
    first, _, rest = name.partition("/")
    return first in _TOP and not (first == "kernel" and rest.split("/")[0] in _TOP)


def _two_names(names: str) -> tuple[str, str] | None:
    """Return the names in a `diff --git` line. Names with blanks are equal but for a prefix."""
    words = names.split(" ")
    if len(words) == 2:
        return words[0], words[1]
    middle = len(names) // 2
    old, new = names[:middle], names[middle + 1 :]
    alike = old.partition("/")[2] == new.partition("/")[2] or old == new
    return (old, new) if names[middle : middle + 1] == " " and alike else None


def _name_in(line: str) -> str:
    """Return the name in a `---` or `+++` line, without the time that may follow."""
    return _TIME.sub("", line[4:]).rstrip(" ")


def refusal(name: str, why: str) -> SetupError:
    return SetupError(f"the patch {name} is refused: {why}")
