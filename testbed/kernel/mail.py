# SPDX-License-Identifier: GPL-2.0
"""Patches out of mails: an mbox, a maildir, a single mail, or a message-id that b4 fetches."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.deadline import Deadline
from testbed.errors import CommandError, InfraError, SetupError
from testbed.kernel.gitenv import NO_REPOSITORY
from testbed.kernel.patch import LIMIT, NAME_LENGTH, Patch, make_patch, named_base
from testbed.process import find_tool, run

_ENCODED = re.compile(rb"^content-transfer-encoding:\s*(quoted-printable|base64)", re.I | re.M)
_SUBJECT = re.compile(r"^Subject: (.*)$", re.MULTILINE)
_TAG = re.compile(r"\[([^\]]*PATCH[^\]]*)\]", re.IGNORECASE)
_REPLY = re.compile(r"(re|aw|fwd?):", re.IGNORECASE)

# An archive answers in seconds.
_FETCH_SECONDS = 120.0


@dataclass(frozen=True)
class Mailed:
    """Patches from mails, and the base commits that these mails and their cover letter name."""

    patches: tuple[Patch, ...]
    bases: tuple[str, ...]


@dataclass(frozen=True)
class _Letter:
    """A mail with its transfer encoding undone."""

    subject: str
    message: bytes
    patch: bytes

    @property
    def reply(self) -> bool:
        return bool(_REPLY.match(self.subject))

    @property
    def version(self) -> int:
        found = re.search(r"\bv(\d+)\b", self._tag, re.IGNORECASE)
        return int(found[1]) if found else 1

    @property
    def number(self) -> int:
        """Its place in the series, from 1; 0 when the subject does not say."""
        found = re.search(r"(\d+)/\d+", self._tag)
        return int(found[1]) if found else 0

    @property
    def count(self) -> int:
        found = re.search(r"\d+/(\d+)", self._tag)
        return int(found[1]) if found else 0

    @property
    def name(self) -> str:
        """As git format-patch would call it."""
        title = re.sub(r"^(\s*\[[^\]]*\])+", "", self.subject)
        slug = re.sub(r"[^A-Za-z0-9_.]+", "-", title).strip("-.")[:NAME_LENGTH]
        return f"{self.number or 1:04}-{slug or 'patch'}.patch"

    @property
    def _tag(self) -> str:
        found = _TAG.search(self.subject)
        return found[1] if found else ""


def is_mail(text: bytes) -> bool:
    """Whether a file's text is an mbox, or a mail whose body is encoded."""
    if text.startswith(b"From "):
        return True
    head = text.partition(b"\n\n")[0]
    return _ENCODED.search(head) is not None


def is_maildir(folder: Path) -> bool:
    return (folder / "cur").is_dir() and (folder / "new").is_dir()


def split(place: Path) -> Mailed:
    """The patches in an mbox or a maildir, by the numbers in their subjects; replies are left out.

    Raises:
        SetupError: one is missing, there are several versions, or a patch is refused.
    """
    _check_size(place)
    with tempfile.TemporaryDirectory(prefix="mails-") as scratch:
        folder = Path(scratch)
        _git(place, "mailsplit", "-b", f"-o{folder}", "--", str(place.absolute()), cwd=folder)
        letters = [_read(mail, place) for mail in sorted(folder.iterdir())]
    letters = [letter for letter in letters if not letter.reply]
    texts = (letter.message + letter.patch for letter in letters)
    bases = tuple(filter(None, map(named_base, texts)))
    patched = [letter for letter in letters if letter.patch]
    # Who names a single mail wants it, whatever it was a part of.
    if len(letters) > 1:
        patched = _ordered(patched, place)
    return Mailed(tuple(_patches(patched, place)), bases)


def fetch(message_id: str) -> Mailed:
    """The series that a message-id, or its address in an archive, belongs to.

    Raises:
        SetupError: b4 is not installed.
        InfraError: it cannot fetch that.
    """
    try:
        b4 = find_tool("b4")
    except SetupError as exc:
        message = f"{message_id} looks like a message-id, and b4 is not installed to fetch it"
        raise SetupError(message, hint="apt install b4, or name a file") from exc
    with tempfile.TemporaryDirectory(prefix="b4-") as scratch:
        folder = Path(scratch)
        words = ["--quiet", "am", "--no-cover", "--outdir", str(folder), message_id]
        try:
            run([b4, *words], cwd=folder, deadline=Deadline.after(_FETCH_SECONDS))
        except CommandError as exc:
            raise InfraError(f"b4 cannot fetch {message_id}", evidence=exc.evidence) from exc
        boxes = sorted(folder.glob("*.mbx"))
        if len(boxes) != 1:
            raise InfraError(f"b4 fetched {len(boxes)} series for {message_id}")
        return split(boxes[0])


def _check_size(place: Path) -> None:
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    if sum(file.stat().st_size for file in files) > LIMIT:
        message = f"{place} is refused: it is larger than {LIMIT / 1e6:.0f} MB, no series is"
        raise SetupError(message, hint="export the series alone")


def _read(mail: Path, place: Path) -> _Letter:
    message, patch = mail.with_suffix(".message"), mail.with_suffix(".patch")
    words = ["mailinfo", "-k", "--no-scissors", str(message), str(patch)]
    told = _git(place, *words, cwd=mail.parent, stdin=mail.read_bytes())
    subject = _SUBJECT.search(told)
    return _Letter(subject[1] if subject else "", message.read_bytes(), patch.read_bytes())


def _ordered(letters: Sequence[_Letter], place: Path) -> list[_Letter]:
    versions = sorted({letter.version for letter in letters})
    if len(versions) > 1:
        told = ", ".join(f"v{version}" for version in versions)
        raise SetupError(f"{place} has several versions: {told}", hint="export one of them")
    # A mail that came by a list and by Cc is there twice.
    letters = list(dict.fromkeys(letters))
    numbers = Counter(letter.number for letter in letters)
    if 0 in numbers:
        return letters
    wanted = range(1, max(letter.count for letter in letters) + 1) if letters else range(0)
    for number in wanted:
        if numbers[number] != 1:
            how = "missing" if not numbers[number] else f"there {numbers[number]} times"
            raise SetupError(f"{place}: patch {number} of {len(wanted)} is {how}")
    return sorted(letters, key=lambda letter: letter.number)


def _patches(letters: Sequence[_Letter], place: Path) -> Iterator[Patch]:
    # A file of git format-patch is called what it is called.
    single = place.name if len(letters) == 1 and place.suffix == ".patch" else ""
    for letter in letters:
        yield make_patch(single or letter.name, letter.patch, origin=str(place))


def _git(place: Path, *words: str, cwd: Path, stdin: bytes | None = None) -> str:
    try:
        return run(["git", *words], cwd=cwd, env=NO_REPOSITORY, stdin=stdin).stdout
    except CommandError as exc:
        raise SetupError(f"git cannot read the mails in {place}", evidence=exc.evidence) from exc
