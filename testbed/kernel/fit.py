# SPDX-License-Identifier: GPL-2.0
"""Examine how patches fit a text: they apply, with offset or fuzz, are already merged, or conflict.

Each patch is tried in a stage: a directory with copies of the files that the series names.
git-apply(1) does the work, and this module parses its output.
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
from testbed.kernel.difftext import FileDiff
from testbed.kernel.gitenv import NO_REPOSITORY
from testbed.kernel.misfit import WHITE_SPACE, why_not
from testbed.kernel.patch import Patch
from testbed.kernel.series import Series
from testbed.process import run

# Lines of context that may be ignored on either side: the default of patch(1).
_MOST_FUZZ = 2
_CONTEXT = 3  # lines: the default of diff -u and git-diff(1)

_REBASE = "rebase it onto this source; `testbed series` shows how each patch fits"
_MAILER = "get the patch from a mail archive or as an attachment: copies from a mail are damaged"

_CHECKING = re.compile(r"Checking patch (?:.* => )?(?P<file>.+)\.\.\.")
_OFFSET = re.compile(r"Hunk #(?P<hunk>\d+) succeeded at \d+ \(offset (?P<lines>-?\d+) lines?\)\.")
_REDUCED = re.compile(r"Context reduced to \((\d+)/(\d+)\) to apply fragment at (?P<line>\d+)")
_APPLIED = re.compile(
    r"Applying patch (?P<rejected>.+) with \d+ rejects?\.\.\.|Applied patch (?P<clean>.+) cleanly\."
)
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
    """The fit of one patch. `details` are lines with the places and amounts."""

    name: str
    fit: Fit
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Attempt:
    """git's result for one way to apply a patch."""

    good: bool
    output: str
    fuzz: int

    @property
    def offset(self) -> int:
        """The largest distance of a hunk from its line."""
        found = _OFFSET.finditer(self.output)
        return max((abs(int(match["lines"])) for match in found), default=0)


def examine(series: Series, tree: Path) -> list[PatchFit]:
    """Examine how each patch of a series fits the text at `tree`, on top of the earlier patches.

    If a patch conflicts, its hunks that fit are applied for the later patches.

    Raises:
        SetupError: a patch names a file that the tree cannot have.
    """
    with tempfile.TemporaryDirectory(prefix="stage-") as scratch:
        return apply_series(series, tree, Path(scratch))


def fit_lines(fits: Sequence[PatchFit]) -> Iterator[str]:
    """Yield a table for people: a line for each patch, with its details below it."""
    width = max((len(fit.name) for fit in fits), default=0)
    for fit in fits:
        yield f"{fit.name:{width}}  {fit.fit}"
        yield from (f"{'':{width}}    {line}" for line in fit.details)


def refuse_conflicts(fits: Iterable[PatchFit]) -> None:
    """Refuse a series with a conflict.

    Raises:
        PatchError: a patch conflicts. It names the first such patch, the file and the hunk.
    """
    for fit in fits:
        if fit.fit is Fit.CONFLICTS:
            raise PatchError(
                f"{fit.name} does not apply: {fit.details[0]}",
                evidence="\n".join(fit.details[1:]),
                hint=_MAILER if WHITE_SPACE in fit.details[0] else _REBASE,
            )


def apply_series(series: Series, tree: Path, stage: Path) -> list[PatchFit]:
    """Apply a series to copies of its files, in an empty directory.

    Raises:
        SetupError: a patch names a file that the tree cannot have, or git would write to others.
    """
    _fill_stage(stage, series, tree)
    known = {*series.files, *(f"{name}.rej" for name in series.files)}
    fits = []
    for patch in series.patches:
        fits.append(_apply_patch(patch, stage))
        check_stage(stage, known, patch)
    return fits


def check_stage(stage: Path, known: set[str], patch: Patch) -> None:
    """Refuse a patch by which git made anything but the plain files that it was read to name.

    Raises:
        SetupError: the stage has a link, a special file, or a file that is not `known`.
    """
    for path in stage.rglob("*"):
        name = str(path.relative_to(stage))
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise _refusal(name, f"is not a plain file after {patch.name}")
        if path.is_file() and name not in known:
            raise _refusal(name, f"is written by {patch.name}, which does not name it plainly")


def _fill_stage(stage: Path, series: Series, tree: Path) -> None:
    """Copy the files that the series names from the tree into an empty directory.

    Raises:
        SetupError: the tree cannot have such a file, or its path has a symbolic link.
    """
    for name in series.files:
        _check_place(tree, name)
        if (tree / name).is_file():
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tree / name, stage / name)


def _apply_patch(patch: Patch, stage: Path) -> PatchFit:
    """Apply a patch to the files of a stage, unless it is already merged."""
    fit, details = _choose(patch, stage)
    if fit is Fit.CONFLICTS:
        details = tuple(_conflicts(patch, stage))
    if patch.exact and fit in (Fit.FUZZ, Fit.MERGED):
        fit, details = Fit.CONFLICTS, (f"it {fit}" if fit is Fit.FUZZ else f"it is {fit}", *details)
    return PatchFit(patch.name, fit, details)


def _choose(patch: Patch, stage: Path) -> tuple[Fit, tuple[str, ...]]:
    """Apply the patch in the strictest way that works.

    If it could be applied and reverted with the same fuzz, _is_merged() decides.
    """
    for fuzz in range(_MOST_FUZZ + 1):
        forth = _try(patch, stage, fuzz, "--check")
        if forth.good and not fuzz and not forth.offset:
            break
        back = _try(patch, stage, fuzz, "--check", "--reverse")
        if back.good and _is_merged(patch, forth, back):
            return Fit.MERGED, tuple(_tolerance(back))
        if forth.good:
            break
    else:
        return Fit.CONFLICTS, ()
    _try(patch, stage, fuzz)
    details = tuple(_tolerance(forth))
    return (Fit.FUZZ if fuzz else Fit.OFFSET if details else Fit.APPLIES), details


def _is_merged(patch: Patch, forth: _Attempt, back: _Attempt) -> bool:
    """Whether a patch that can be reverted is already merged.

    A hunk that only removes lines leaves only context, which may also occur elsewhere: either
    all of it must be there, or what is there must be at its place.
    """
    adds = all(hunk.adds for diff in patch.diffs for hunk in diff.hunks)
    if not forth.good:
        # With less context a hunk is shorter on both sides, and git counts an offset.
        return adds or not back.fuzz or back.offset <= 2 * back.fuzz
    return adds and back.offset <= forth.offset


def _try(patch: Patch, stage: Path, fuzz: int, *options: str) -> _Attempt:
    words = ["git", "apply", f"-p{patch.strip}", "--verbose", "--whitespace=nowarn", *options]
    words += [f"-C{_CONTEXT - fuzz}"] if fuzz else []
    done = run(words, cwd=stage, env=NO_REPOSITORY, stdin=patch.diff_text, ok=range(256))
    return _Attempt(done.status == 0, done.stderr, fuzz)


def _tolerance(attempt: _Attempt) -> Iterator[str]:
    """Yield the hunks that apply at another line or with less context."""
    file = ""
    for line in attempt.output.splitlines():
        if match := _CHECKING.fullmatch(line):
            file = match["file"]
        elif (match := _OFFSET.fullmatch(line)) and not attempt.fuzz:
            yield f"{file}, hunk {match['hunk']}: offset of {int(match['lines']):+d} lines"
        elif match := _REDUCED.fullmatch(line):
            fuzz = _CONTEXT - min(int(match[1]), int(match[2]))
            yield f"{file}, near line {match['line']}: fuzz of {fuzz} lines"


def _conflicts(patch: Patch, stage: Path) -> Iterator[str]:
    """Apply the hunks that fit, and yield file, hunk and reason of the others."""
    output = _try(patch, stage, 0, "--reject").output
    diffs: dict[str, list[FileDiff]] = {}
    for diff in patch.diffs:
        for name in diff.names:
            diffs.setdefault(name, []).append(diff)
    file = ""
    tried: Counter[str] = Counter()  # a patch may have several diffs of one file
    seen = 0
    for line in output.splitlines():
        if match := _APPLIED.fullmatch(line):
            file = match["rejected"] or match["clean"]
            tried[file] += 1
        elif match := _REJECTED.fullmatch(line):
            seen += 1
            of_file = diffs.get(file, [])[tried[file] - 1 :]
            yield _reason(stage / file, file, of_file[0] if of_file else None, int(match["hunk"]))
        elif (match := _WHOLE_FILE.fullmatch(line)) and not line.endswith("patch does not apply"):
            seen += 1
            yield match["reason"]
    if not seen:
        yield output.strip() or "git gives no reason"


def _reason(path: Path, file: str, diff: FileDiff | None, number: int) -> str:
    hunk = diff.hunks[number - 1] if diff and number <= len(diff.hunks) else None
    place = f"{file}, hunk {number}"
    if hunk is None or not path.is_file():
        return place
    lines = path.read_text(errors="surrogateescape").split("\n")
    return f"{place} at line {hunk.line}: {why_not(hunk, lines)}"


def _check_place(tree: Path, name: str) -> None:
    """Refuse a file of a series that the tree cannot have."""
    place = tree
    for part in Path(name).parts:
        if place.exists() and not place.is_dir():
            raise _refusal(name, f"is below {place.relative_to(tree)}, which is a file")
        place /= part
        if place.is_symlink():
            raise _refusal(name, f"leads through the symbolic link {place.relative_to(tree)}")
    if place.is_dir():
        raise _refusal(name, "is a directory")


def _refusal(name: str, why: str) -> SetupError:
    return SetupError(f"the series is refused: {name} {why}")
