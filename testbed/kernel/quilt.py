# SPDX-License-Identifier: GPL-2.0
"""Read the list of patches of a quilt series (quilt(1), "EXAMPLE OF WORKING TREE")."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import SetupError
from testbed.kernel.thread import LeftOut

# The files that list patches: quilt's, and the one of SUSE's kernel packages (guards(1)).
LISTS = ("series", "series.conf")

_FUZZ = re.compile(r"(?:-F\s*|--fuzz=)\d+")
_STRIP = re.compile(r"-p\s*(ab|\d)")


@dataclass(frozen=True)
class Listed:
    """One line of a series file."""

    name: str  # of the patch, as the file has it
    strip: int  # leading directories that the names in the patch have: -pN


def find_list(folder: Path) -> Path | None:
    """Return the file that lists the patches of a folder, if there is one."""
    return next((folder / name for name in LISTS if (folder / name).is_file()), None)


def read_list(file: Path) -> tuple[list[Listed], list[LeftOut]]:
    """Read the patches in order, and those with a guard, which are applied on request only.

    Raises:
        SetupError: a line has an unknown option.
    """
    listed: list[Listed] = []
    guarded: list[LeftOut] = []
    for guards, name, options in _lines(file):
        if any(map(_excludes, guards)):
            guarded.append(LeftOut(name, f"guard {' '.join(guards)}"))
        else:
            listed.append(Listed(name, _strip(options, f"{file}: {name}")))
    return listed, guarded


def _excludes(guard: str) -> bool:
    """Whether a guard leaves a patch out where no symbol is defined (guards(1))."""
    return guard == "-" or (guard[0] == "+") is not guard[1:].startswith("!")


def _lines(file: Path) -> Iterator[tuple[list[str], str, str]]:
    """Return guards, name and options of each line; a comment may follow them."""
    # Comments are in any encoding.
    for line in file.read_text(errors="surrogateescape").splitlines():
        words = re.sub(r"(^|\s)#.*", "", line).split()
        guards = list(itertools.takewhile(lambda word: word[0] in "+-", words))
        rest = words[len(guards) :]
        if rest:
            yield guards, rest[0], " ".join(rest[1:])


def _strip(options: str, where: str) -> int:
    # quilt hands a fuzz factor to patch(1); the fit is examined here all the same.
    found = _STRIP.fullmatch(_FUZZ.sub("", options).strip() or "-p1")
    if found is None:
        raise SetupError(
            f"{where} has the option {options}", hint="only -pN and -pab are supported"
        )
    return 1 if found[1] == "ab" else int(found[1])
