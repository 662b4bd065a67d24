# SPDX-License-Identifier: GPL-2.0
"""The console's reader, over a socket pair."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from testbed.deadline import Deadline
from testbed.vm.console import Console, make_room, open_console
from testbed.vm.notifier import Notifier


@dataclass
class Line:
    """A console and the guest's end of it."""

    console: Console
    guest: socket.socket
    notifier: Notifier
    log: Path

    def wait(self, condition: Callable[[], bool]) -> None:
        assert self.notifier.wait_for(lambda: condition() or None, Deadline.after(60))


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    ours, guest = socket.socketpair()
    notifier, log = Notifier(), tmp_path / "console.log"
    with ours, guest, open_console(ours, log, notifier.notify) as console:
        yield Line(console, guest, notifier, log)


def _characters_that_fit(guest: socket.socket) -> int:
    """Return how many characters fit. They are written one by one, as QEMU does; nobody reads."""
    guest.setblocking(False)
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            count += guest.send(b"x")
    return count


def test_make_room_lets_a_guest_print_more_before_anyone_reads() -> None:
    ours, usual = socket.socketpair()
    theirs, guest = socket.socketpair()
    with ours, usual, theirs, guest:
        make_room(guest)
        assert _characters_that_fit(guest) > _characters_that_fit(usual)


def test_all_output_is_kept_and_logged_unchanged(line: Line) -> None:
    line.guest.sendall(b"one\r\ntwo\r\n")
    line.wait(lambda: line.console.text() == "one\ntwo\n")
    assert line.log.read_bytes() == b"one\r\ntwo\r\n"


def test_bytes_that_are_not_text_do_no_harm(line: Line) -> None:
    line.guest.sendall(b"\xff\xfe kept\n")
    line.wait(lambda: line.console.text().endswith(" kept\n"))


def test_a_flood_never_blocks_the_guest(line: Line) -> None:
    flood = b"x" * 1_000_000
    line.guest.settimeout(60)
    line.guest.sendall(flood)
    line.wait(lambda: len(line.console.text()) == len(flood))


def test_a_console_closes_when_the_guest_closes_its_end(line: Line) -> None:
    line.guest.sendall(b"last words")
    assert not line.console.closed
    line.guest.close()
    line.wait(lambda: line.console.closed)
    assert line.console.text() == "last words"


def test_typed_text_reaches_the_guest(line: Line) -> None:
    line.console.type("ls\n")
    assert line.guest.recv(100) == b"ls\n"
