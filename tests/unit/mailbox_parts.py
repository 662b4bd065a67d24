# SPDX-License-Identifier: GPL-2.0
"""Mails of a thread made by hand, for the tests of mailboxes."""

from __future__ import annotations

import base64
import quopri
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path


class Encoding(StrEnum):
    """The Content-Transfer-Encoding of a mail."""

    PLAIN = "8bit"
    QUOTED = "quoted-printable"
    BASE64 = "base64"


@dataclass(frozen=True)
class Mail:
    """One mail, and how it was sent."""

    subject: str
    body: str
    message_id: str = ""
    answers: str = ""  # the Message-ID in In-Reply-To
    encoding: Encoding = Encoding.PLAIN
    crlf: bool = False  # lines end with CR LF, also below the transfer encoding
    footer: str = ""  # that a list adds
    sender: str = "Anna Example <anna@example.org>"

    def text(self, *, separator: str = "From mboxrd@z Thu Jan  1 00:00:00 1970") -> bytes:
        """The mail as it stands in an mbox; without the separator as in a file of its own."""
        body = (self.body + self.footer).encode()
        if self.crlf:
            body = body.replace(b"\n", b"\r\n")
        encode: dict[Encoding, Callable[[bytes], bytes]] = {
            Encoding.PLAIN: bytes,
            Encoding.QUOTED: quopri.encodestring,
            Encoding.BASE64: base64.encodebytes,
        }
        header = [
            f"From: {self.sender}",
            f"Subject: {self.subject}",
            "Date: Mon, 9 Jun 2025 09:24:13 +0100",
            *([f"Message-ID: <{self.message_id}>"] if self.message_id else []),
            *([f"In-Reply-To: <{self.answers}>"] if self.answers else []),
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=UTF-8",
            f"Content-Transfer-Encoding: {self.encoding}",
        ]
        head = "\n".join([separator, *header] if separator else header) + "\n\n"
        return head.encode() + encode[self.encoding](body) + b"\n"


def thread(*diffs: str, tag: str = "PATCH", cover: bool = False) -> list[Mail]:
    """A series of one mail per diff, numbered, perhaps with a cover letter."""
    count = len(diffs)
    mails = [
        Mail(f"[{tag} {number}/{count}] mm: step {number}", f"Why.\n---\n{each}-- \n2.39.5\n")
        for number, each in enumerate(diffs, 1)
    ]
    mails = [replace(mail, message_id=f"p{at}@example.org") for at, mail in enumerate(mails, 1)]
    if cover:
        text = "Why.\n---\nChanges in v2:\n- Reworded.\n---\n mm/util.c | 1 +\n"
        mails.insert(0, Mail(f"[{tag} 0/{count}] mm: steps", text, message_id="c@example.org"))
    return mails


def write_box(path: Path, mails: Sequence[Mail]) -> str:
    path.write_bytes(b"".join(mail.text() for mail in mails))
    return str(path)
