# SPDX-License-Identifier: GPL-2.0
"""Kernel log lines without their prefixes: time stamps, levels, callers, record headers.

The input is the text of a serial console, or records of /dev/kmsg
(Documentation/ABI/testing/dev-kmsg).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# "<4>[   12.345678][  T123] text": the level and the caller are optional.
_CONSOLE = re.compile(r"(?:<\d+>)?\[ *\d+\.\d{6}\](?:\[ *[CT]\d+\])? ?")

# "4,299,2297649,-;text", with "caller=T123" and the like before the semicolon.
_KMSG = re.compile(r"(?P<priority>\d+),(?P<sequence>\d+),(?P<usec>\d+),[^;]*;")

# A line of a record's dictionary: " SUBSYSTEM=pci".
_DICTIONARY = re.compile(r" [A-Z_]+=")

_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


@dataclass(frozen=True)
class Record:
    """One record of /dev/kmsg. `text` may have several lines."""

    sequence: int
    usec: int
    level: int
    text: str


def plain_lines(log: str) -> list[str]:
    """Return the plain lines of a console log, of /dev/kmsg records, or of a mix of both."""
    return list(_plain(log.replace("\r", "").split("\n")))


def parse_record(raw: bytes) -> Record | None:
    """Parse one record as read from /dev/kmsg; return None for anything else."""
    head, *_dictionary = raw.decode(errors="replace").split("\n")
    match = _KMSG.match(head)
    if match is None:
        return None
    level = int(match["priority"]) & 7  # the rest is the facility
    text = _unescape(head[match.end() :])
    return Record(int(match["sequence"]), int(match["usec"]), level, text)


def console_text(records: Sequence[Record]) -> str:
    """Format records as a console shows them."""
    return "".join(
        f"[{record.usec // 1_000_000:5d}.{record.usec % 1_000_000:06d}] {line}\n"
        for record in records
        for line in record.text.split("\n")
    )


def _plain(lines: list[str]) -> Iterator[str]:
    in_record = False
    for line in lines:
        if (record := _KMSG.match(line)) is not None:
            in_record = True
            yield from _unescape(line[record.end() :]).split("\n")
        elif in_record and _DICTIONARY.match(line):
            continue
        else:
            in_record = False
            yield _CONSOLE.sub("", line, count=1) if _CONSOLE.match(line) else line


def _unescape(text: str) -> str:
    # /dev/kmsg escapes each byte that is a backslash or not printable ASCII.
    if "\\x" not in text:
        return text
    raw = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    try:
        return raw.encode("latin-1").decode()
    except (UnicodeEncodeError, UnicodeDecodeError):
        return raw
