# SPDX-License-Identifier: GPL-2.0
"""The files of a user's driver: those of its folder, and those outside to which they refer.

A Makefile may say `-I$(src)/../include`, and a source `#include "../common/ring.h"`. The text is
searched for such names, again in each file that is found. A folder that a Makefile names is taken
with all that is in it.
"""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import SetupError
from testbed.kernel.drivergit import described, hide_absent, lend, repository_of

MAKEFILES = ("Kbuild", "Makefile")

# Output of earlier builds beside the sources. Module.symvers of another folder is not: it may be
# named by KBUILD_EXTRA_SYMBOLS.
_OUTPUT = ("*.ko", "*.mod", "*.mod.c", "*.mod.o", ".*.o", ".*.d", "modules.order")
_SYMVERS = "Module.symvers"
_NOT_SOURCES = frozenset({".git", "__pycache__"})  # .git is a file in a worktree or submodule

# The suffixes of a file from which kbuild makes an object (scripts/Makefile.build).
_SOURCES = (".c", ".S", ".rs", ".o_shipped")

_MAKEFILE_NAMES = ("Kbuild*", "Makefile*", "*.mk", "*.mak", "*.include")
_C_NAMES = ("*.[chS]", "*.inc", "*.lds")
_SCRIPT_NAMES = ("*.sh", "*.py", "*.pl", "*.awk")

_INCLUDE = re.compile(r'^[ \t]*(?:#[ \t]*include|\.incbin)[ \t]*[<"]([^>"\n]+)[>"]', re.MULTILINE)
# The same in a macro that an #include names.
_UPWARD_QUOTED = re.compile(r"""["<]((?:[\w.+@-]+/)*\.\./[\w.+@/-]+)[">]""")
_COMMENT = re.compile(r"(?<!\\)#.*")

# `../include`, `sub/../../include`, and `..` alone or before a variable; not `...`.
_UPWARD = re.compile(r"(?:\w[\w+@-]*(?:\.[\w+@-]+)*/)*(?<!\.)\.\.(?![\w.])(?:/[\w.+@~%-]+)*")

# The parent of the module's folder without `..` in its name.
_PARENT = re.compile(r"\b(?:dir|dirname) \"?\$[({](?:src|srcroot|obj|M|PWD|CURDIR)[)}]")

# The top of the repository.
_TOP = re.compile(r"\bgit\b.*\brev-parse\b.*--show-(?:toplevel|cdup)\b")

_ASSIGNMENT = re.compile(r"^ *(?:export +)?(\w+) *[:?+]*= *(.*)$", re.MULTILINE)

# A folder outside that has more than this is not copied, such as a kernel tree.
_MOST_FILES = 20_000
_MOST_BYTES = 500_000_000

# The same for a folder that holds the driver's, such as a home.
_MOST_FILES_ABOVE = 2_000
_MOST_BYTES_ABOVE = 50_000_000

# make takes these in the name of a file for its own.
_AWKWARD = re.compile(r"[^\w.+@-]")


@dataclass(frozen=True)
class DriverText:
    """The folder of a driver, and the files outside to which its text refers."""

    folder: Path
    outside: tuple[Path, ...]
    named: frozenset[Path]  # of those outside, the ones that a text names itself
    too_large: tuple[Path, ...]  # folders to which the text refers, and which are left out
    repository: Path | None = None  # top of the git tree that holds the folder, if it calls git

    @functools.cached_property
    def top(self) -> Path:
        """The lowest folder that holds all files, the driver's folder, and the repository."""
        folders = [self.folder.parent, *(path.parent for path in self.outside)]
        folders += [self.repository.parent] if self.repository else []
        return Path(os.path.commonpath(folders))

    def place(self, path: Path, root: Path) -> Path:
        """Return the path of a file in a copy at `root`."""
        return self.place_folder(path.parent, root) / path.name

    def place_folder(self, path: Path, root: Path) -> Path:
        """Return the path of a folder in a copy at `root`.

        The driver's folder and those around it get names that make can handle. Native make refuses
        a blank.
        """
        if path.is_relative_to(self.folder) and path != self.folder:
            return self.place_folder(self.folder, root) / path.relative_to(self.folder)
        folders = path.relative_to(self.top).parts
        return Path(root, *(_AWKWARD.sub("_", each) for each in folders))

    def copy(self, root: Path) -> Path:
        """Copy all files to `root`, with their times. Return the copy of the folder.

        Raises:
            SetupError: a file cannot be read.
        """
        if self.repository:
            lend(self.repository, self.place_folder(self.repository, root))
        for folder, _, _ in _walk(self.folder):
            self.place_folder(folder, root).mkdir(parents=True, exist_ok=True)
        for path in [*files_below(self.folder), *self.outside]:
            target = self.place(path, root)
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(path, target)
        for link, target in links_below(self.folder):
            if target.is_relative_to(self.top):
                self.place(link, root).symlink_to(self.place_folder(target, root))
        if self.repository:
            hide_absent(self.repository, self.place_folder(self.repository, root))
        return self.place_folder(self.folder, root)


def find_text(folder: Path) -> DriverText:
    """Find the files of the driver in `folder`, an absolute path without symbolic links."""
    outside, named, too_large = set[Path](), set[Path](), list[Path]()
    seen = set[Path]()
    waiting = [path for path in files_below(folder) if _is_text(path)]
    targets = [target for _, target in links_below(folder)]
    while targets or waiting:
        for target in _outside(targets or _references(waiting.pop(), folder), folder):
            if target in seen:
                continue
            seen.add(target)
            found = _taken(target, folder)
            if found is None:
                too_large.append(target)
            if target.is_file():
                named.add(target)
            fresh = set(found or ()) - outside
            outside |= fresh
            waiting += [path for path in fresh if _is_text(path)]
        targets = []
    repository = repository_of(folder) if uses_git(folder) else None
    return DriverText(
        folder, tuple(sorted(outside)), frozenset(named), tuple(too_large), repository
    )


def uses_git(folder: Path) -> bool:
    """Whether a Makefile or a script of the folder seems to call git."""
    files = (each for each in files_below(folder) if _calls(each))
    return any(re.search(r"\bgit\b", each.read_text(errors="replace")) for each in files)


def links_below(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the links of a folder to other folders, and those folders."""
    for path, folders, _ in _walk(folder):
        links = (path / name for name in folders)
        yield from ((link, link.resolve()) for link in links if link.is_symlink())


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder in order, without the output of earlier builds.

    Links to files count as files. Links to folders are not followed.
    """
    for path, _, names in _walk(folder):
        for name in sorted(names):
            file = path / name
            if file.is_file() and not _is_output(file) and name != _SYMVERS:
                yield file


def content(folder: Path) -> Iterator[str]:
    """Yield the names and digests of all files of a folder, and its version if it asks git.

    Raises:
        SetupError: a file cannot be read.
    """
    for path in files_below(folder):
        yield str(path.relative_to(folder))
        yield file_digest(path)
    for link, target in links_below(folder):
        yield f"{link.relative_to(folder)} -> {target}"
    if uses_git(folder) and (top := repository_of(folder)):
        yield described(top)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        SetupError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as exc:
        raise SetupError(f"cannot read {path}: {exc.strerror}") from exc


def makefile_text(folder: Path) -> str:
    """Return the text of the folder's Makefiles, without comments."""
    files = (path for path in files_below(folder) if _matches(path, _MAKEFILE_NAMES))
    return "\n".join(_COMMENT.sub("", path.read_text(errors="replace")) for path in files)


def module_folders(folder: Path) -> list[Path]:
    """Return the folders below `folder` whose Makefile sets obj-m."""
    found = [
        path.parent
        for path in files_below(folder)
        if path.name in MAKEFILES and path.parent != folder
        if re.search(r"^\s*obj-(?:m|\$)", path.read_text(errors="replace"), re.MULTILINE)
    ]
    return sorted(set(found))


def _copy(path: Path, target: Path) -> None:
    try:
        shutil.copy2(path, target)
    except OSError as exc:
        raise SetupError(f"cannot copy {path}: {exc.strerror}") from exc


def _walk(folder: Path, *, follow: bool = False) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Walk through a folder. With `follow`, also through links to folders, but not in circles."""
    for name, folders, files in os.walk(folder, followlinks=follow):
        path = Path(name)
        wanted = (each for each in sorted(folders) if each not in _NOT_SOURCES)
        folders[:] = [each for each in wanted if not (follow and _is_circle(path / each))]
        yield path, folders, [each for each in files if each not in _NOT_SOURCES]


def _is_circle(path: Path) -> bool:
    """Whether a link points to a folder through which the walk has come."""
    return path.is_symlink() and path.resolve() in {each.resolve() for each in path.parents}


def _is_output(path: Path) -> bool:
    """Whether a file comes from an earlier build. A vendor's object without a source does not."""
    if _matches(path, (".*.cmd",)):
        return path.stat().st_size > 0
    if path.suffix == ".o" and not path.name.startswith("."):
        command = path.with_name(f".{path.name}.cmd")
        made = command.exists() and command.stat().st_size > 0
        return made or any(path.with_suffix(each).exists() for each in _SOURCES)
    return _matches(path, _OUTPUT)


def _is_text(path: Path) -> bool:
    return _matches(path, _C_NAMES) or _calls(path)


def _calls(path: Path) -> bool:
    """Whether a file is a Makefile or a script."""
    return _matches(path, _MAKEFILE_NAMES) or _is_script(path)


def _is_script(path: Path) -> bool:
    if path.suffix or not path.is_file():
        return _matches(path, _SCRIPT_NAMES)
    try:
        with path.open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def _matches(path: Path, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(path.name, each) for each in patterns)


def _references(path: Path, folder: Path) -> Iterator[Path]:
    """Yield the paths that the text of a file may mean, whether they exist or not."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return
    if _matches(path, _C_NAMES):
        yield from _included(path, text, folder)
    else:
        yield from _called(path, _COMMENT.sub("", text), folder)


def _included(path: Path, text: str, folder: Path) -> Iterator[Path]:
    """Yield the paths that a source or a header may include.

    A name counts from the folder of the file, or from a folder of -I.
    """
    names = {*_UPWARD_QUOTED.findall(text)}
    names |= set() if path.is_relative_to(folder) else {*_INCLUDE.findall(text)}
    yield from (path.parent / name for name in names)
    absent = [name for name in names if ".." in name and not (path.parent / name).exists()]
    if absent:
        yield from (base / name for base, _, _ in _walk(folder) for name in absent)


def _called(path: Path, text: str, folder: Path) -> Iterator[Path]:
    """Yield the paths that a Makefile or a script may name. The text has no comments."""
    lines = text.splitlines()
    # `make -C ..` in a recipe needs no copy of everything above.
    names = [
        name
        for line in lines
        for name in _UPWARD.findall(line)
        if not (line.startswith("\t") and name.endswith(".."))
    ]
    if _matches(path, _MAKEFILE_NAMES):
        yield from _behind_variables(path, text, folder)
        names += [".."] if _PARENT.search(text) else []
        if _TOP.search(text) and (top := repository_of(folder)):
            yield top
    if not path.is_relative_to(folder):
        # They call each other, and read files beside them, by names with variables.
        script = _is_script(path)
        yield from (each for each in _beside(path) if script or _matches(each, _MAKEFILE_NAMES))
    # $(src) is the folder of this Makefile, and the working directory is the module's folder.
    yield from (base / name for base in {path.parent, folder} for name in names)


def _behind_variables(path: Path, text: str, folder: Path) -> Iterator[Path]:
    """Yield the paths behind a variable whose value is a folder above, as in $(TOP)/include.

    The folder above itself may be too large to be copied.
    """
    for name, value in _ASSIGNMENT.findall(text):
        tops = {base / up for base in (path.parent, folder) for up in _UPWARD.findall(value)}
        tops |= {folder.parent} if _PARENT.search(value) else set()
        if _TOP.search(value) and (top := repository_of(folder)):
            tops.add(top)
        if tops:
            used = re.findall(rf"\$[({{]{name}[)}}]/([\w.+@%/-]+)", makefile_text(folder) + text)
            yield from (top / rest for top in tops for rest in used)


def _beside(path: Path) -> list[Path]:
    """Return the files in the folder of a file, or none if they are too many."""
    files = [each for each in sorted(path.parent.iterdir()) if each.is_file()]
    size = sum(each.stat().st_size for each in files)
    return files if len(files) <= _MOST_FILES_ABOVE and size <= _MOST_BYTES_ABOVE else []


def _outside(paths: Iterable[Path], folder: Path) -> Iterator[Path]:
    """Yield those that exist outside the folder. Of an object, yield the source."""
    for path in paths:
        plain = Path(os.path.normpath(path))
        if plain.suffix == ".o" and not plain.exists():
            plain = next(filter(Path.exists, map(plain.with_suffix, _SOURCES)), plain)
        inside = plain.is_relative_to(folder)
        if not inside and plain.exists() and plain != Path(plain.anchor):
            yield plain


def _taken(target: Path, folder: Path) -> list[Path] | None:
    """Return the files to copy for a name in the text: None if they are too many."""
    if not target.is_dir():
        return [target]
    above = folder.is_relative_to(target)
    most_files = _MOST_FILES_ABOVE if above else _MOST_FILES
    most_bytes = _MOST_BYTES_ABOVE if above else _MOST_BYTES
    found, size = list[Path](), 0
    for path, _, names in _walk(target, follow=True):
        for file in (path / name for name in names):
            if file.is_file() and not file.is_relative_to(folder) and not _is_output(file):
                found.append(file)
                size += file.stat().st_size
            if len(found) > most_files or size > most_bytes:
                return None
    return found
