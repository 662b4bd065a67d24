"""A series: patches in their order, and what they make of a tree's files."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import CommandError, PatchError, SetupError
from testbed.run import run

# Both names of a file, also of one that is created, deleted or renamed. A removed line
# `-- a/x` matches as well: a file too many does no harm.
_FILE = re.compile(r"^(?:---|\+\+\+) [^/\s]+/([^\t\n]+)|^rename (?:from|to) (.+)$", re.MULTILINE)

_HUNK = re.compile(r"^error: patch failed: (?P<file>.+):(?P<line>\d+)$", re.MULTILINE)
_WHOLE_FILE = re.compile(r"^error: (?!while searching)(?P<reason>.+)$", re.MULTILINE)

# git must take the tree as plain files, even where a repository is around it.
_NO_REPOSITORY = {
    "GIT_DIR": os.devnull,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


@dataclass(frozen=True)
class Series:
    """Patch files in the order in which they are applied; empty: the tree as it is."""

    patches: tuple[Path, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(patch.name for patch in self.patches)

    @property
    def identity(self) -> str:
        """Equal for equal patches in equal order, whatever their names; empty without any.

        Raises:
            SetupError: a patch cannot be read.
        """
        texts = [_read(patch) for patch in self.patches]
        return " ".join(hashlib.sha256(text).hexdigest()[:16] for text in texts)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the patches name, below the tree, sorted."""
        return tuple(sorted({name for patch in self.patches for name in patched_files(patch)}))

    @property
    def shapes_configuration(self) -> bool:
        """Whether it may alter what Kconfig says: all but C files outside scripts/ may."""
        return any(
            name.startswith("scripts/") or not name.endswith((".c", ".h")) for name in self.files
        )


def load_series(path: str) -> Series:
    """The series at a path: one patch, or a folder with or without a `series` file (quilt(1)).

    An empty path is the empty series.

    Raises:
        SetupError: there is nothing at the path, or no patch in the folder.
    """
    if not path:
        return Series()
    place = Path(path).expanduser()
    if place.is_file():
        return Series((place,))
    if not place.is_dir():
        raise SetupError(f"there is no patch and no folder of patches at {place}")
    patches = tuple(place / name for name in _listed(place)) or tuple(sorted(place.glob("*.patch")))
    if not patches:
        raise SetupError(f"{place} has neither a `series` file nor any *.patch")
    return Series(patches)


def _listed(folder: Path) -> list[str]:
    """The names in a quilt series file: a comment or an option may follow each."""
    file = folder / "series"
    lines = file.read_text().splitlines() if file.is_file() else []
    words = (line.partition("#")[0].split() for line in lines)
    return [line[0] for line in words if line]


def patched_files(patch: Path) -> set[str]:
    """The files that one patch names.

    Raises:
        SetupError: it cannot be read, or names no file.
    """
    text = _read(patch).decode(errors="replace")
    names = {match[1] or match[2] for match in _FILE.finditer(text)}
    if not names:
        raise SetupError(f"{patch} is not a patch: it names no file")
    return names


def _read(patch: Path) -> bytes:
    try:
        return patch.read_bytes()
    except OSError as exc:
        raise SetupError(f"cannot read the patch {patch}: {exc.strerror}") from exc


def apply_patch(patch: Path, tree: Path) -> None:
    """Apply one patch to the files below `tree`, all of it or nothing.

    Raises:
        PatchError: it does not apply; names the patch, the file and the line.
    """
    try:
        run(["git", "apply", "-p1", patch.resolve()], cwd=tree, env=_NO_REPOSITORY)
    except CommandError as exc:
        raise PatchError(
            f"{patch.name} does not apply: {_reason(exc.evidence)}",
            evidence=exc.evidence,
            cure=f"rebase {patch} onto this source",
        ) from exc


def _reason(output: str) -> str:
    if match := _HUNK.search(output):
        return f"{match['file']}, hunk at line {match['line']}"
    match = _WHOLE_FILE.search(output)
    return match["reason"] if match else output
