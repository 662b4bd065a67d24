# SPDX-License-Identifier: GPL-2.0
"""Read patches from mails: an mbox, a maildir, a single mail, or a message-id that b4 fetches."""

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

# Archives usually answer in seconds.
_FETCH_SECONDS = 120.0


@dataclass(frozen=True)
class Mailed:
    """Patches from mails, and the base commits that the mails and their cover letter name."""

    patches: tuple[Patch, ...]
    bases: tuple[str, ...]


@dataclass(frozen=True)
class _Mail:
    """A mail with its transfer encoding decoded."""

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
        """The position in the series, from 1, or 0 without a number in the subject."""
        found = re.search(r"(\d+)/\d+", self._tag)
        return int(found[1]) if found else 0

    @property
    def count(self) -> int:
        found = re.search(r"\d+/(\d+)", self._tag)
        return int(found[1]) if found else 0

    @property
    def name(self) -> str:
        """The file name that git format-patch would use."""
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
    """Read the patches of an mbox or a maildir, ordered by the numbers in their subjects.

    Replies are ignored.

    Raises:
        SetupError: a patch is missing or refused, or there are several versions.
    """
    _check_size(place)
    with tempfile.TemporaryDirectory(prefix="mails-") as scratch:
        folder = Path(scratch)
        _git(place, "mailsplit", "-b", f"-o{folder}", "--", str(place.absolute()), cwd=folder)
        mails = [_read(file, place) for file in sorted(folder.iterdir())]
    mails = [mail for mail in mails if not mail.reply]
    texts = (mail.message + mail.patch for mail in mails)
    bases = tuple(filter(None, map(named_base, texts)))
    patched = [mail for mail in mails if mail.patch]
    # A single mail is taken alone, even if it is part of a series.
    if len(mails) > 1:
        patched = _ordered(patched, place)
    return Mailed(tuple(_patches(patched, place)), bases)


def fetch(message_id: str) -> Mailed:
    """Fetch the series of a message-id, or of its address in an archive.

    Raises:
        SetupError: b4 is not installed.
        InfraError: b4 cannot fetch the series.
    """
    try:
        b4 = find_tool("b4")
    except SetupError as exc:
        message = f"{message_id} looks like a message-id, but b4 is not installed"
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
        message = f"{place} is refused: it is larger than {LIMIT / 1e6:.0f} MB, the limit"
        raise SetupError(message, hint="export the series alone")


def _read(mail: Path, place: Path) -> _Mail:
    message, patch = mail.with_suffix(".message"), mail.with_suffix(".patch")
    words = ["mailinfo", "-k", "--no-scissors", str(message), str(patch)]
    output = _git(place, *words, cwd=mail.parent, stdin=mail.read_bytes())
    subject = _SUBJECT.search(output)
    return _Mail(subject[1] if subject else "", message.read_bytes(), patch.read_bytes())


def _ordered(mails: Sequence[_Mail], place: Path) -> list[_Mail]:
    versions = sorted({mail.version for mail in mails})
    if len(versions) > 1:
        names = ", ".join(f"v{version}" for version in versions)
        raise SetupError(f"{place} has several versions: {names}", hint="export one of them")
    # A mail that arrived both by a list and by Cc occurs twice.
    mails = list(dict.fromkeys(mails))
    numbers = Counter(mail.number for mail in mails)
    if 0 in numbers:
        return mails
    wanted = range(1, max(mail.count for mail in mails) + 1) if mails else range(0)
    for number in wanted:
        if numbers[number] != 1:
            problem = f"occurs {numbers[number]} times" if numbers[number] else "is missing"
            raise SetupError(f"{place}: patch {number} of {len(wanted)} {problem}")
    return sorted(mails, key=lambda mail: mail.number)


def _patches(mails: Sequence[_Mail], place: Path) -> Iterator[Patch]:
    # A file of git format-patch keeps its name.
    single = place.name if len(mails) == 1 and place.suffix == ".patch" else ""
    for mail in mails:
        yield make_patch(single or mail.name, mail.patch, origin=str(place))


def _git(place: Path, *words: str, cwd: Path, stdin: bytes | None = None) -> str:
    try:
        return run(["git", *words], cwd=cwd, env=NO_REPOSITORY, stdin=stdin).stdout
    except CommandError as exc:
        raise SetupError(f"git cannot read the mails in {place}", evidence=exc.evidence) from exc
