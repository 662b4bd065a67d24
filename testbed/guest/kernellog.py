# SPDX-License-Identifier: GPL-2.0
"""The kernel log of each test: the records between two marks in the log itself.

The start of a test is sent with its next call to the guest's agent, and its end with those that
take the guest back. The marks also reach the console: after the guest has died, the console shows
the rest of the log.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from testbed.errors import InfraError, TestbedError
from testbed.guest.blame import since_begin
from testbed.guest.kmsg import Record, console_text, parse_record
from testbed.guest.session import Answer, Call, Session, log_call
from testbed.guest.splat import Splat, find_splats
from testbed.guest.taint import HARMLESS, taint_letters

_CLEAR_WARN_ONCE = "/sys/kernel/debug/clear_warn_once"

# KERN_NOTICE: a console shows it unless the kernel was booted with "quiet".
_LEVEL = "<5>"

# A record has room for about 1000 bytes. The name of a test may be cut: it is for people, and the
# testbed searches for the token.
_NAME_LENGTH = 200

_EVIDENCE_LENGTH = 2000


@dataclass(frozen=True)
class LogSlice:
    """The kernel's output during one test.

    `earlier`: splats between the end of the previous test and the start of this
    one. `tainted`: the taint letters that appeared during the test, without those
    of out-of-tree modules. `lost`: the number of records that were overwritten
    before they could be read. `from_console`: the guest could not be read at the end.
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
        """`console` returns all output of the guest's console so far."""
        self._session = session
        self._console = console
        self._token = os.urandom(4).hex()
        self._test = 0
        self._next: int | None = None  # sequence number of the next record
        self._tainted = 0
        self._unclaimed: list[Record] = []

    def begin(self, test_id: str, *, later: bool = False) -> None:
        """Rearm WARN_ON_ONCE, and mark the start of a test; on request with the next call.

        Raises GuestLost, SessionError, GuestFileError.
        """
        if self._next is None:
            self._unclaimed, _ = self._read("")
        self._test += 1
        mark = self._mark("begin", test_id).encode()
        write = self._session.write_later if later else self._session.write
        write((_CLEAR_WARN_ONCE, b"1"), ("/dev/kmsg", mark))

    def end_call(self) -> Call:
        """Return the call that marks the end of the test, for an exchange of several calls."""
        return log_call(self._mark("end", ""))

    def end(self, answer: Answer | None = None) -> LogSlice:
        """Mark the end of the test, and return the log since its start.

        `answer` is that to `end_call`, if it was made.

        Raises:
            InfraError: records were lost, and neither the rest of the log nor the console has a
                splat.
        """
        before = self._tainted
        try:
            records, lost = self._read(self._mark("end", ""), answer)
        except TestbedError:
            if self._session.broken is None:
                raise
            return self._from_console()
        records = [*self._unclaimed, *records]
        self._unclaimed = []
        start = self._find("begin", records)
        stop = self._find("end", records)
        # A flood may have overwritten the start. The remaining records belong to the test.
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
            if (shown := self._from_console()).splats:
                return shown
            raise _incomplete(found)
        return found

    def _read(self, mark: str, first: Answer | None = None) -> tuple[list[Record], int]:
        """Return the records since the last call, and the number of missing ones."""
        if isinstance(first, TestbedError):
            raise first
        answer = self._session.log(mark) if first is None else self._session.rest_of_log(first)
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
        text = since_begin(self._console())
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
        return InfraError("the kernel log does not contain the test's marks", evidence=evidence)
    return InfraError(
        f"{found.lost} records of the kernel log were overwritten before they were read",
        hint="make the log longer with log_buf_len= on the kernel's command line",
        evidence=evidence,
    )
