# SPDX-License-Identifier: GPL-2.0
"""Choose the patches of a series among the mails of a thread.

The structure of the mails decides: the tag and the number in the subject, Message-ID,
In-Reply-To and References (RFC 5322, section 3.6.4), and whether a mail holds a diff.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from testbed.errors import SetupError
from testbed.kernel.difftext import FileDiff

# The groups in brackets that a subject begins with: `[list] [PATCH v2 1/3] title`.
_TAGS = re.compile(r"\s*((?:\[[^\]]*\]\s*)*)(.*)", re.DOTALL)
_TAG = re.compile(r"\[([^\]]*)\]")

# `1/3`, but neither part of a version such as `6.1/6.6`.
_NUMBER = re.compile(r"(?<![\d./])(\d+)\s*/\s*(\d+)(?![\d./])")
# `v2`, also right behind `PATCH`.
_VERSION = re.compile(r"(?:PATCH|\b)v(\d+)(?![\w.])", re.IGNORECASE)

# Something before a colon before a tag, in any language: `Re: [PATCH`, `Antw: [EXT] [PATCH`.
_REPLY = re.compile(
    r"\s*(?:\[[^\]]*\]\s*)*[^\s:\[\]]{1,12}\s*(?:\[\d+\])?\s*[::].*\[[^\]]+\]", re.S
)


@dataclass(frozen=True)
class SubjectLine:
    """A subject, and the parts of its tags."""

    text: str

    @property
    def title(self) -> str:
        """The subject without its tags."""
        return self._split[1].strip()

    @property
    def tag(self) -> str:
        """The tag that says PATCH, or else has a number or a version; empty without one.

        Only a tag that nothing but other tags stand before marks a patch. Patchwork writes tags
        without PATCH, such as `[v3,1/3]`.
        """
        tags = _TAG.findall(self._split[0])
        named = [tag for tag in tags if "patch" in tag.lower()]
        others = [tag for tag in tags if _NUMBER.search(tag) or _VERSION.search(tag)]
        return next(iter([*named, *others]), "")

    @property
    def number(self) -> int | None:
        """The position in the series; 0 for its cover letter; None without a number."""
        found = self._place
        return found[0] if found else None

    @property
    def count(self) -> int:
        """The number of patches that the series should have; 0 without a number."""
        found = self._place
        return found[1] if found else 0

    @property
    def version(self) -> int:
        found = _VERSION.search(self.tag)
        return int(found[1]) if found else 1

    @property
    def is_reply(self) -> bool:
        """Whether a word and a colon stand before a tag."""
        return not self.tag and _REPLY.match(self.text) is not None

    @property
    def _split(self) -> tuple[str, str]:
        found = _TAGS.fullmatch(self.text)
        assert found is not None  # it matches any text
        return found[1], found[2]

    @property
    def _place(self) -> tuple[int, int] | None:
        # The last one: a tag may begin with the trees that the patch is for.
        found = _NUMBER.findall(self.tag)
        return (int(found[-1][0]), int(found[-1][1])) if found else None


@dataclass(frozen=True)
class Letter:
    """A mail with its transfer encoding decoded."""

    subject: SubjectLine
    message: bytes
    patch: bytes  # from the first line that may begin a diff; more than the diff
    message_id: str = ""
    parents: tuple[str, ...] = ()  # the mails that it answers
    file: str = ""  # the name of the file that holds this mail alone

    @property
    def name(self) -> str:
        """The name of the patch: its file's, else the one that git format-patch would use."""
        return self.file or self.subject.text


@dataclass(frozen=True)
class LeftOut:
    """A mail that is not part of the series."""

    subject: str
    reason: str


@dataclass(frozen=True)
class Thread:
    """The letters of a series in order, and those that were left out."""

    letters: tuple[Letter, ...]
    left_out: tuple[LeftOut, ...] = ()


# The diffs of a letter, for comparison.
_Diff = tuple[tuple[str, str, tuple[object, ...]], ...]


def choose(letters: Sequence[Letter], diffs: Sequence[Sequence[FileDiff]], origin: str) -> Thread:
    """Choose the letters of the series, sorted by their numbers; those without come last.

    Args:
        letters: the mails of the thread, in the order of the mailbox.
        diffs: the diffs that each of them holds.

    Raises:
        SetupError: a patch is missing, or the mails are of several versions or several series.
    """
    held = {id(letter): _comparable(each) for letter, each in zip(letters, diffs, strict=True)}
    left_out: list[LeftOut] = []
    patches: list[Letter] = []
    tagged = any(letter.subject.tag and held[id(letter)] for letter in letters)
    for letter in letters:
        reason = _why_not(letter, holds_diff=bool(held[id(letter)]), tagged=tagged)
        if not reason and (twin := _twin(letter, patches, held)):
            reason = twin
        if reason:
            left_out.append(LeftOut(letter.subject.text, reason))
        else:
            patches.append(letter)
    _refuse_several(patches, origin)
    if len(letters) > 1:  # a single mail of a series was named on purpose
        _refuse_gaps(patches, origin)
    ordered = sorted(patches, key=lambda letter: letter.subject.number or len(letters) + 1)
    return Thread(tuple(ordered), tuple(left_out))


def _why_not(letter: Letter, *, holds_diff: bool, tagged: bool) -> str:
    """Return why a mail is not a patch of the series; empty if it is."""
    subject = letter.subject
    if subject.tag and subject.number == 0:
        return "cover letter"
    if tagged and not subject.tag:
        return "reply" if subject.is_reply or letter.parents else "no [PATCH] tag in its subject"
    if subject.is_reply:
        return "reply"
    return "" if holds_diff else "no diff"


def _twin(letter: Letter, patches: Iterable[Letter], held: dict[int, _Diff]) -> str:
    """Return why a mail is a copy of one that was chosen: lists add footers and tags."""
    for other in patches:
        same_place = _place(letter) == _place(other)
        if letter.message_id and letter.message_id == other.message_id and same_place:
            return "duplicate: same Message-ID"
        if held[id(letter)] == held[id(other)] and same_place:
            return "duplicate: same diff"
    return ""


def _place(letter: Letter) -> tuple[int, int | None, int]:
    subject = letter.subject
    return subject.version, subject.number, subject.count


def _comparable(diffs: Iterable[FileDiff]) -> _Diff:
    return tuple((diff.old, diff.new, tuple(diff.hunks)) for diff in diffs if diff.names)


def _numbered(patches: Iterable[Letter]) -> list[Letter]:
    return [letter for letter in patches if letter.subject.number is not None]


def _refuse_several(patches: Sequence[Letter], origin: str) -> None:
    of_series = _numbered(patches) or patches
    versions = sorted({letter.subject.version for letter in of_series})
    if len(versions) > 1:
        names = ", ".join(f"v{version}" for version in versions)
        raise SetupError(f"{origin} has several versions: {names}", hint="export one of them")
    counts = sorted({letter.subject.count for letter in _numbered(patches)})
    if len(counts) > 1:
        names = "; ".join(
            next(each.subject.text for each in patches if each.subject.count == count)
            for count in counts
        )
        raise SetupError(f"{origin} has several series: {names}", hint="export one of them")


def _refuse_gaps(patches: Sequence[Letter], origin: str) -> None:
    numbered = _numbered(patches)
    if not numbered:
        return
    count = numbered[0].subject.count
    for number in range(1, count + 1):
        alike = [letter.subject.text for letter in numbered if letter.subject.number == number]
        if not alike:
            raise SetupError(f"{origin}: patch {number} of {count} is missing")
        if len(alike) > 1:
            evidence = "\n".join(alike)
            message = f"{origin}: patch {number} of {count} occurs {len(alike)} times"
            raise SetupError(message, evidence=evidence, hint="remove all but one")
    if beyond := [letter for letter in numbered if (letter.subject.number or 0) > count]:
        raise SetupError(f"{origin}: the number of {beyond[0].subject.text!r} is beyond its count")


def left_out_lines(left_out: Iterable[LeftOut]) -> Iterator[str]:
    """Return a line for people for each mail that was left out."""
    for each in left_out:
        yield f"left out: {each.subject or '(no subject)'}: {each.reason}"
