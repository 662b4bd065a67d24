# SPDX-License-Identifier: GPL-2.0
"""How a patch fits a text: it applies, with how much tolerance; it is there already; it conflicts.

Each patch is tried in a stage: a directory with copies of the files that the series names.
git(1) does the work; what it prints is read here.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from testbed.errors import PatchError, SetupError
from testbed.kernel.gitenv import NO_REPOSITORY
from testbed.kernel.patch import FileDiff, Hunk, Patch
from testbed.kernel.series import Series
from testbed.process import run

# Lines of context that may be left out on either side, as patch(1) does it unless told otherwise.
_MOST_FUZZ = 2
_CONTEXT = 3  # lines, as diff(1) makes them

# A line that stands in more places than this says nothing of where a hunk belongs.
_TOO_COMMON = 100

_CHECKING = re.compile(r"Checking patch (?:.* => )?(?P<file>.+)\.\.\.")
_OFFSET = re.compile(r"Hunk #(?P<hunk>\d+) succeeded at \d+ \(offset (?P<lines>-?\d+) lines?\)\.")
_REDUCED = re.compile(r"Context reduced to \((\d+)/(\d+)\) to apply fragment at (?P<line>\d+)")
_REJECTS = re.compile(r"Applying patch (?P<file>.+) with \d+ rejects?\.\.\.")
_REJECTED = re.compile(r"Rejected hunk #(?P<hunk>\d+)\.")
_WHOLE_FILE = re.compile(r"error: (?!while searching|patch failed)(?P<reason>.+)")


class Fit(StrEnum):
    APPLIES = "applies"
    OFFSET = "applies with offset"
    FUZZ = "applies with fuzz"
    MERGED = "already merged"
    CONFLICTS = "conflicts"


@dataclass(frozen=True)
class PatchFit:
    """How one patch fits; `details` are lines that say where and how much."""

    name: str
    fit: Fit
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Attempt:
    """What git says of one way to apply a patch."""

    good: bool
    told: str
    fuzz: int

    @property
    def offset(self) -> int:
        """The farthest that a hunk is from its line."""
        found = _OFFSET.finditer(self.told)
        return max((abs(int(match["lines"])) for match in found), default=0)


def examine(series: Series, tree: Path) -> list[PatchFit]:
    """How each patch of a series fits the text at `tree`, on top of those before it.

    Of a patch that conflicts the hunks that fit are taken for applied.

    Raises:
        SetupError: the tree has no place for a file that a patch names.
    """
    with tempfile.TemporaryDirectory(prefix="stage-") as scratch:
        stage = Path(scratch)
        fill_stage(stage, series, tree)
        return [apply_patch(patch, stage) for patch in series.patches]


def fit_lines(fits: Sequence[PatchFit]) -> Iterator[str]:
    """A table for people: a line for each patch, with its details below it."""
    width = max((len(fit.name) for fit in fits), default=0)
    for fit in fits:
        yield f"{fit.name:{width}}  {fit.fit}"
        yield from (f"{'':{width}}    {line}" for line in fit.details)


def refuse_conflicts(fits: Iterable[PatchFit]) -> None:
    """Raise PatchError when a patch conflicts; it names the first one, the file and the hunk."""
    for fit in fits:
        if fit.fit is Fit.CONFLICTS:
            raise PatchError(
                f"{fit.name} does not apply: {fit.details[0]}",
                evidence="\n".join(fit.details[1:]),
                hint="rebase it onto this source; `testbed series` shows how each patch fits",
            )


def fill_stage(stage: Path, series: Series, tree: Path) -> None:
    """Copy the files that the series names from the tree into an empty directory.

    Raises:
        SetupError: the tree has no place for one, or it leads through a symbolic link.
    """
    for name in series.files:
        _check_place(tree, name)
        if (tree / name).is_file():
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tree / name, stage / name)


def apply_patch(patch: Patch, stage: Path) -> PatchFit:
    """Apply a patch to the files of a stage, unless it is there already."""
    fit, details = _choose(patch, stage)
    if fit is Fit.CONFLICTS:
        details = tuple(_conflicts(patch, stage))
    if patch.exact and fit in (Fit.FUZZ, Fit.MERGED):
        fit, details = Fit.CONFLICTS, (f"it {fit}" if fit is Fit.FUZZ else f"it is {fit}", *details)
    return PatchFit(patch.name, fit, details)


def _choose(patch: Patch, stage: Path) -> tuple[Fit, tuple[str, ...]]:
    """Apply it in the strictest way that there is; of two equally strict ones in the nearer."""
    for fuzz in range(_MOST_FUZZ + 1):
        forth = _try(patch, stage, fuzz, "--check")
        if forth.good and not fuzz and not forth.offset:
            break
        back = _try(patch, stage, fuzz, "--check", "--reverse")
        if back.good and (not forth.good or _is_merged(patch, forth, back)):
            return Fit.MERGED, tuple(_tolerance(back))
        if forth.good:
            break
    else:
        return Fit.CONFLICTS, ()
    _try(patch, stage, fuzz)
    details = tuple(_tolerance(forth))
    return (Fit.FUZZ if fuzz else Fit.OFFSET if details else Fit.APPLIES), details


def _is_merged(patch: Patch, forth: _Attempt, back: _Attempt) -> bool:
    """Whether a patch that could be taken both ways is in the text already.

    What only takes lines away leaves context, which may stand together elsewhere.
    """
    adds = all(hunk.adds for diff in patch.diffs for hunk in diff.hunks)
    return adds and back.offset <= forth.offset


def _try(patch: Patch, stage: Path, fuzz: int, *options: str) -> _Attempt:
    words = ["git", "apply", "-p1", "--verbose", "--whitespace=nowarn", *options]
    words += [f"-C{_CONTEXT - fuzz}"] if fuzz else []
    done = run(words, cwd=stage, env=NO_REPOSITORY, stdin=patch.text, ok=range(256))
    return _Attempt(done.status == 0, done.stderr, fuzz)


def _tolerance(attempt: _Attempt) -> Iterator[str]:
    """Where a hunk is not at its line, or not among all of its context."""
    file = ""
    for line in attempt.told.splitlines():
        if match := _CHECKING.fullmatch(line):
            file = match["file"]
        elif (match := _OFFSET.fullmatch(line)) and not attempt.fuzz:
            yield f"{file}, hunk {match['hunk']}: offset of {int(match['lines']):+d} lines"
        elif match := _REDUCED.fullmatch(line):
            fuzz = _CONTEXT - min(int(match[1]), int(match[2]))
            yield f"{file}, near line {match['line']}: fuzz of {fuzz} lines"


def _conflicts(patch: Patch, stage: Path) -> Iterator[str]:
    """Apply what fits; file, hunk and reason of what does not."""
    told = _try(patch, stage, 0, "--reject").told
    diffs = {name: diff for diff in patch.diffs for name in diff.names}
    file = ""
    seen = 0
    for line in told.splitlines():
        if match := _REJECTS.fullmatch(line):
            file = match["file"]
        elif match := _REJECTED.fullmatch(line):
            seen += 1
            yield _reason(stage / file, file, diffs.get(file), int(match["hunk"]))
        elif (match := _WHOLE_FILE.fullmatch(line)) and not line.endswith("patch does not apply"):
            seen += 1
            yield match["reason"]
    if not seen:
        yield told.strip() or "git does not say why"


def _reason(path: Path, file: str, diff: FileDiff | None, number: int) -> str:
    hunk = diff.hunks[number - 1] if diff else None
    place = f"{file}, hunk {number}"
    if hunk is None or not path.is_file():
        return place
    lines = path.read_text(errors="surrogateescape").splitlines()
    return f"{place} at line {hunk.line}: {_why(hunk, lines)}"


def _why(hunk: Hunk, lines: list[str]) -> str:
    """Why a hunk does not apply to these lines."""
    if hunk.new and _stands_in(hunk.new, lines):
        return "it is in the tree already"
    start = _likely_start(hunk.old, lines)
    if start is None:
        return "nothing of what it changes is in the file"
    for index, wanted in enumerate(hunk.old, start):
        found = lines[index] if 0 <= index < len(lines) else None
        if found != wanted:
            there = "is behind the end" if found is None else f"is {_quoted(found)}"
            return f"line {index + 1} {there}, where {_quoted(wanted)} is expected"
    return "a hunk before it does not fit"


def _quoted(line: str) -> str:
    return f"`{line.strip()}`" if line.strip() else "an empty line"


def _stands_in(part: list[str], lines: list[str]) -> bool:
    return any(
        lines[index : index + len(part)] == part
        for index, line in enumerate(lines)
        if line == part[0]
    )


def _likely_start(old: list[str], lines: list[str]) -> int | None:
    """Where most of a hunk's lines would be in their places, from 0."""
    places: dict[str, list[int]] = {}
    for index, line in enumerate(lines):
        places.setdefault(line, []).append(index)
    votes: Counter[int] = Counter()
    for index, line in enumerate(old):
        found = places.get(line, [])
        if line.strip() and len(found) <= _TOO_COMMON:
            votes.update(place - index for place in found)
    return votes.most_common(1)[0][0] if votes else None


def _check_place(tree: Path, name: str) -> None:
    """Refuse a file of a series that the tree has no place for."""
    place = tree
    for part in Path(name).parts:
        if place.exists() and not place.is_dir():
            raise _refusal(name, f"is below {place.relative_to(tree)}, which is a file")
        place /= part
        if place.is_symlink():
            raise _refusal(name, f"is behind the symbolic link {place.relative_to(tree)}")
    if place.is_dir():
        raise _refusal(name, "is a directory")


def _refusal(name: str, why: str) -> SetupError:
    return SetupError(f"the series is refused: {name} {why}")
