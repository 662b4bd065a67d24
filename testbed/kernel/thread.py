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

# The groups in brackets that a subject begins with: `[list] [PATCH v2 1/3] title`.
_TAGS = re.compile(r"\s*((?:\[[^\[\]]*\]\s*)*)(.*)", re.DOTALL)
_TAG = re.compile(r"\[([^\[\]]*)\]")

# `1/3` or `1 of 3`, but neither part of a version such as `6.1/6.6`.
_NUMBER = re.compile(r"(?<![\d./])(\d{1,4})\s*(?:/|\bof\b)\s*(\d{1,4})(?![\d./])")
# `v2`, also right behind `PATCH`.
_VERSION = re.compile(r"(?:PATCH|\b)v(\d{1,4})(?![\w.])", re.IGNORECASE)
_KIND = re.compile(r"PATCH|\bRFC\b", re.IGNORECASE)

# A word and a colon, in any language, perhaps with a count: `Re: `, `Antw: `, `Re[2]: `.
_PREFIX = re.compile(r"[^\s:\[\]]{1,12} ?(?:\[\d+\])? ?[::]\s*")
# Those that mark a reply although no tag follows.
_REPLY_WORDS = re.compile(
    r"(?:re|aw|antw|sv|vs|fwd?|wg|tr|res|odp|rif|ynt|ref|答复|回复|转发)(?:\[\d+\])?\s*[::]", re.I
)

# A longer subject is not read further: no person writes one.
_LONGEST = 1000  # characters


@dataclass(frozen=True)
class SubjectLine:
    """A subject, and the parts of its tags."""

    text: str

    @property
    def title(self) -> str:
        """The subject without its tags."""
        return self._split[1].strip()

    @property
    def is_tagged(self) -> bool:
        """Whether a tag marks a patch: by its kind, a number or a version.

        Only tags that nothing but other tags stand before count. Patchwork writes tags without
        PATCH, such as `[v3,1/3]`.
        """
        return _marks_patch(self._tags)

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
    def version(self) -> int | None:
        """The version of the series; None where the subject does not say it."""
        found = _VERSION.search(self._tags)
        return int(found[1]) if found else None

    @property
    def is_reply(self) -> bool:
        """Whether prefixes such as `Re:` stand before a tag, or one of the usual ones at all."""
        if self.is_tagged:
            return False
        rest, prefixed = self._split[1].lstrip(), False
        if _REPLY_WORDS.match(rest):
            return True
        while found := _PREFIX.match(rest):
            rest, prefixed = rest[found.end() :], True
        return prefixed and _marks_patch(_tags_of(rest)[0])

    @property
    def _tags(self) -> str:
        return self._split[0]

    @property
    def _split(self) -> tuple[str, str]:
        return _tags_of(self.text[:_LONGEST])

    @property
    def _place(self) -> tuple[int, int] | None:
        # The last one: a tag may begin with the trees that the patch is for.
        found = _NUMBER.findall(self._tags)
        return (int(found[-1][0]), int(found[-1][1])) if found else None


def _tags_of(text: str) -> tuple[str, str]:
    """Split a text into the tags that it begins with, and the rest."""
    found = _TAGS.fullmatch(text)
    return (found[1], found[2]) if found else ("", text)


def _marks_patch(tags: str) -> bool:
    return any(
        _KIND.search(tag) or _NUMBER.search(tag) or _VERSION.search(tag)
        for tag in _TAG.findall(tags)
    )


@dataclass(frozen=True)
class Letter:
    """A mail with its transfer encoding decoded."""

    subject: SubjectLine
    title: str  # of the patch: the mail's text may have a subject of its own
    message: bytes
    patch: bytes  # from the first line that may begin a diff; more than the diff
    message_id: str = ""
    parents: tuple[str, ...] = ()  # the mails that it answers
    file: str = ""  # the name of the file that holds this mail alone


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


def choose(letters: Sequence[Letter], diffs: Sequence[bytes], origin: str) -> Thread:
    """Choose the letters of the series, sorted by their numbers; those without come last.

    Args:
        letters: the mails of the thread, in the order of the mailbox.
        diffs: the text of the diffs that each of them holds, or nothing.

    Raises:
        SetupError: a patch is missing, or the mails are of several versions or several series.
    """
    held = {id(letter): diff for letter, diff in zip(letters, diffs, strict=True)}
    left_out: list[LeftOut] = []
    patches: list[Letter] = []
    known = {letter.message_id for letter in letters if letter.message_id}
    tagged = any(letter.subject.is_tagged and held[id(letter)] for letter in letters)
    for letter in letters:
        reason = _why_not(letter, held[id(letter)], tagged=tagged, known=known)
        reason = reason or _twin(letter, patches, held)
        if reason:
            left_out.append(LeftOut(letter.subject.text, reason))
        else:
            patches.append(letter)
    _refuse_several(patches, origin)
    if len(letters) > 1:  # a single mail of a series was named on purpose
        _refuse_gaps(patches, origin)
    ordered = sorted(patches, key=lambda letter: letter.subject.number or len(letters) + 1)
    return Thread(tuple(ordered), tuple(left_out))


def _why_not(letter: Letter, diff: bytes, *, tagged: bool, known: set[str]) -> str:
    """Return why a mail is not a patch of the series; empty if it is."""
    subject = letter.subject
    if subject.is_tagged:
        if subject.number == 0:
            return "cover letter"
        return "" if diff else "no diff"
    if subject.is_reply or known & set(letter.parents) or (tagged and letter.parents):
        return "reply"
    if tagged:
        return "no [PATCH] tag in its subject"
    return "" if diff else "no diff"


def _twin(letter: Letter, patches: Iterable[Letter], held: dict[int, bytes]) -> str:
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
    return subject.version or 1, subject.number, subject.count


def _numbered(patches: Iterable[Letter]) -> list[Letter]:
    return [letter for letter in patches if letter.subject.number is not None]


def _versions(patches: Sequence[Letter]) -> list[int]:
    """Return the versions of the patches. One without a number or a version may be of any."""
    stated = {each.subject.version for each in patches if each.subject.version is not None}
    implied = {1 for each in _numbered(patches) if each.subject.version is None}
    return sorted(stated | implied)


def _refuse_several(patches: Sequence[Letter], origin: str) -> None:
    versions = _versions(patches)
    if len(versions) > 1:
        names = ", ".join(f"v{version}" for version in versions)
        hint = "export one of them; `b4 am` joins a version of which some patches were sent again"
        raise SetupError(f"{origin} has several versions: {names}", hint=hint)
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
