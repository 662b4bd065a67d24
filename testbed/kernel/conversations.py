# SPDX-License-Identifier: GPL-2.0
"""Divide the mails of a folder into series: one per thread and version.

Only mails whose subject has the tag of a patch count; replies belong to no series.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from testbed.kernel.thread import Letter


@dataclass(frozen=True)
class Conversation:
    """The mails of one version of a series."""

    title: str  # of the cover letter, or of the first patch
    letters: tuple[Letter, ...]

    @property
    def version(self) -> int:
        return _version(self.letters[0])

    @property
    def count(self) -> int:
        """The number of patches that it should have; 0 without numbers."""
        return max(letter.subject.count for letter in self.letters)

    @property
    def name(self) -> str:
        return f"{self.title} v{self.version}" if self.version > 1 else self.title


def conversations(letters: Iterable[Letter]) -> list[Conversation]:
    """Return the series of a folder, in the order of their first mails."""
    mails = list(letters)
    roots = _roots(mails)
    found: dict[tuple[str, int], list[Letter]] = defaultdict(list)
    for number, letter in enumerate(mails):
        if letter.subject.is_tagged:
            root = roots.get(letter.message_id, f"mail {number}")
            found[root, _version(letter)].append(letter)
    return [Conversation(_title(group), tuple(group)) for group in found.values()]


def _version(letter: Letter) -> int:
    return letter.subject.version or 1


def _title(letters: Sequence[Letter]) -> str:
    first = min(letters, key=lambda each: each.subject.number or 0)
    return first.subject.title or "series"


def _roots(letters: Iterable[Letter]) -> dict[str, str]:
    """Return the first mail of the thread of each mail, by Message-ID.

    A parent may be missing in the folder: then it is the first mail.
    """
    above = {each.message_id: each.parents for each in letters if each.message_id}
    return {name: _root(name, above) for name in above}


def _root(name: str, above: dict[str, tuple[str, ...]]) -> str:
    seen = {name}
    while parents := [each for each in above.get(name, ()) if each not in seen]:
        # A parent that is in the folder leads further up than one that is not.
        name = next((each for each in parents if each in above), parents[0])
        seen.add(name)
    return name
