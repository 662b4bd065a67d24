# SPDX-License-Identifier: GPL-2.0
"""The kernel log of each test: marks in the log itself, and what stands between them.

Two calls to the guest's agent per test. The marks are in the log and so on the
console too: when the guest has died, the console tells what came after them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from testbed.errors import GuestLost, InfraError, SessionError
from testbed.guest.kmsg import Record, console_text, parse_record
from testbed.guest.session import Session
from testbed.guest.splat import Splat, find_splats
from testbed.guest.taint import HARMLESS, taint_letters

_CLEAR_WARN_ONCE = "/sys/kernel/debug/clear_warn_once"

# KERN_NOTICE: what a console shows unless the kernel was booted with "quiet".
_LEVEL = "<5>"

# A record has room for about 1000 bytes; a test's name is for people, the token for us.
_NAME_LENGTH = 200

_EVIDENCE_LENGTH = 2000


@dataclass(frozen=True)
class LogSlice:
    """What the kernel printed during one test.

    `earlier` are splats between the end of the test before and the start of this
    one. `tainted` are the taint letters that appeared during the test, without
    those of out-of-tree modules. `lost` counts records that were overwritten
    before they could be read. `from_console`: the guest was dead at the end.
    """

    text: str
    splats: tuple[Splat, ...]
    earlier: tuple[Splat, ...] = ()
    tainted: str = ""
    lost: int = 0
    from_console: bool = False


class KernelLog:
    """Cuts the kernel log of a guest into tests: `begin`, then `end`."""

    def __init__(self, session: Session, console: Callable[[], str]) -> None:
        """`console` gives all that the guest's console has shown so far."""
        self._session = session
        self._console = console
        self._token = os.urandom(4).hex()
        self._test = 0
        self._next: int | None = None  # sequence number of the record to be read next
        self._tainted = 0
        self._unclaimed: list[Record] = []

    def begin(self, test_id: str) -> None:
        """Let WARN_ON_ONCE speak again, and mark the start of a test.

        Raises GuestLost, SessionError, GuestFileError.
        """
        if self._next is None:
            self._unclaimed, _ = self._read("")
        self._test += 1
        mark = self._mark("begin", test_id).encode()
        self._session.write((_CLEAR_WARN_ONCE, b"1"), ("/dev/kmsg", mark))

    def end(self) -> LogSlice:
        """Mark the end of the test, and take what was printed since its start.

        Raises:
            InfraError: records were lost, and in what is left there is no splat.
        """
        before = self._tainted
        try:
            records, lost = self._read(self._mark("end", ""))
        except (GuestLost, SessionError):
            return self._from_console()
        records = [*self._unclaimed, *records]
        self._unclaimed = []
        start = self._find("begin", records)
        stop = self._find("end", records)
        # A flood can have washed the start away; what is left is the test's.
        inside = records[0 if start is None else start + 1 : stop]
        text = console_text(inside)
        found = LogSlice(
            text=text,
            splats=tuple(find_splats(text)),
            earlier=tuple(find_splats(console_text(records[: start or 0]))),
            tainted="".join(
                letter
                for letter in taint_letters(self._tainted & ~before)
                if letter not in HARMLESS
            ),
            lost=lost,
        )
        if (lost or start is None or stop is None) and not found.splats:
            raise _incomplete(found)
        return found

    def _read(self, mark: str) -> tuple[list[Record], int]:
        """The records since the last call, and how many are missing."""
        answer = self._session.log(mark)
        records = [record for raw in answer.records if (record := parse_record(raw)) is not None]
        expected = self._next
        lost = 0
        for record in records:
            if expected is not None:
                lost += record.sequence - expected
            expected = record.sequence + 1
        self._next = expected
        self._tainted = answer.tainted
        return records, max(lost, int(answer.overrun))

    def _from_console(self) -> LogSlice:
        shown = self._console().replace("\r", "")
        _, mark, after = shown.rpartition(self._head("begin"))
        # A console that shows no marks is evidence all the same.
        text = after.partition("\n")[2] if mark else shown
        return LogSlice(text=text, splats=tuple(find_splats(text)), from_console=True)

    def _head(self, word: str) -> str:
        return f"testbed: {self._token}.{self._test} {word}"

    def _mark(self, word: str, test_id: str) -> str:
        name = "".join(letter if letter.isprintable() else "?" for letter in test_id)
        return f"{_LEVEL}{self._head(word)} {name[:_NAME_LENGTH]}".rstrip() + "\n"

    def _find(self, word: str, records: list[Record]) -> int | None:
        head = self._head(word)
        places = (at for at, record in enumerate(records) if record.text.startswith(head))
        return next(places, None)


def _incomplete(found: LogSlice) -> InfraError:
    evidence = found.text[-_EVIDENCE_LENGTH:]
    if not found.lost:
        return InfraError("the kernel log does not hold the test's marks", evidence=evidence)
    return InfraError(
        f"{found.lost} records of the kernel log were overwritten before they were read",
        hint="a longer log: log_buf_len= on the kernel's command line",
        evidence=evidence,
    )
