# SPDX-License-Identifier: GPL-2.0
"""Read mails: an mbox, a maildir, a single mail, or a message-id that b4 fetches."""

from __future__ import annotations

import re
import tempfile
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path

from testbed.deadline import Deadline
from testbed.errors import CommandError, InfraError, SetupError
from testbed.kernel.gitenv import NO_REPOSITORY
from testbed.kernel.rawfile import LIMIT
from testbed.kernel.thread import Letter, SubjectLine
from testbed.process import find_tool, run

_SUBJECT = re.compile(r"^Subject: (.*)$", re.MULTILINE)
_MESSAGE_ID = re.compile(r"<[^<>\s]+>")

# The first line of a mail's header (RFC 5322, section 2.2), and the fields that only mails have.
_FIELD = re.compile(rb"[!-9;-~]+:[ \t]")
_MAIL_FIELDS = ("Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Date")

# Archives usually answer in seconds.
_FETCH_SECONDS = 120.0


def is_mail(text: bytes) -> bool:
    """Whether a file's text is an mbox, or one mail without the line that an mbox has before it."""
    if text.startswith(b"From "):
        return True
    if not _FIELD.match(text):
        return False
    header = _header_of(text)
    return "Subject" in header and any(field in header for field in _MAIL_FIELDS)


def is_maildir(folder: Path) -> bool:
    return (folder / "cur").is_dir() and (folder / "new").is_dir()


def read_mails(text: bytes, origin: str) -> list[Letter]:
    """Read the mails of an mbox, or a single mail.

    Raises:
        SetupError: git cannot read them.
    """
    with tempfile.TemporaryDirectory(prefix="mails-") as scratch:
        folder = Path(scratch)
        box = folder / "mbox"
        box.write_bytes(text)
        return _split(box, folder / "mails", origin)


def read_maildir(folder: Path) -> list[Letter]:
    """Read the mails of a maildir.

    Raises:
        SetupError: git cannot read them, or they exceed LIMIT.
    """
    found = [file for kind in ("cur", "new") for file in (folder / kind).iterdir()]
    files = [file for file in found if file.is_file()]
    if others := [file for file in found if file not in files]:
        raise SetupError(f"{others[0]} is not a plain file", hint="remove it from the maildir")
    if sum(file.stat().st_size for file in files) > LIMIT:
        message = f"{folder} is refused: it is larger than {LIMIT / 1e6:.0f} MB, the limit"
        raise SetupError(message, hint="export the series alone")
    with tempfile.TemporaryDirectory(prefix="mails-") as scratch:
        return _split(folder.absolute(), Path(scratch) / "mails", str(folder))


def fetch(message_id: str) -> bytes:
    """Fetch the mbox of the series that has a message-id, or an address in an archive.

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
        return boxes[0].read_bytes()


def _split(place: Path, folder: Path, origin: str) -> list[Letter]:
    folder.mkdir()
    _git(origin, "mailsplit", "-b", f"-o{folder}", "--", str(place), cwd=folder)
    return [_read(mail, origin) for mail in sorted(folder.iterdir())]


def _read(mail: Path, origin: str) -> Letter:
    message, patch = mail.with_suffix(".message"), mail.with_suffix(".patch")
    text = mail.read_bytes()
    # Transfer encodings may hide lines that end with CR LF, as mail has them.
    words = ["mailinfo", "-k", "--no-scissors", "--quoted-cr=strip", str(message), str(patch)]
    info = _git(origin, *words, cwd=mail.parent, stdin=text)
    inner = _SUBJECT.search(info)
    header = _header_of(text)
    # The first lines of the text may be a subject too: of the patch, not of the mail.
    return Letter(
        subject=SubjectLine(_decoded(str(header.get("Subject", "")))),
        title=SubjectLine(inner[1] if inner else "").title,
        message=message.read_bytes(),
        patch=patch.read_bytes(),
        message_id="".join(_message_ids(header, "Message-ID")[:1]),
        parents=(*_message_ids(header, "In-Reply-To"), *_message_ids(header, "References")),
    )


def _header_of(text: bytes) -> Message:
    return BytesHeaderParser().parsebytes(text.replace(b"\r\n", b"\n"))


def _decoded(value: str) -> str:
    """Decode a header field (RFC 2047), unfolded. Bytes in unknown encodings stay as they are."""
    unfolded = re.sub(r"\r?\n[ \t]+", " ", value)
    try:
        return str(make_header(decode_header(unfolded)))
    except (ValueError, LookupError, UnicodeError):
        return unfolded


def _message_ids(header: Message, field: str) -> list[str]:
    return _MESSAGE_ID.findall(str(header.get(field, "")))


def _git(origin: str, *words: str, cwd: Path, stdin: bytes | None = None) -> str:
    try:
        return run(["git", *words], cwd=cwd, env=NO_REPOSITORY, stdin=stdin).stdout
    except CommandError as exc:
        raise SetupError(f"git cannot read the mails in {origin}", evidence=exc.evidence) from exc
