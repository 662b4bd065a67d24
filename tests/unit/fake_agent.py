# SPDX-License-Identifier: GPL-2.0
"""The other end of a session: an agent in Python behind a channel, with its own kernel log."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from testbed.deadline import Deadline
from testbed.errors import SessionError
from testbed.guest.protocol import AgentRefusal, Frame, FrameReader, Request, encode_frame

Answer = Callable[[bytes], bytes]  # may raise AgentRefusal


def u32(*values: int) -> bytes:
    return struct.pack(f"!{len(values)}I", *values)


def blob(data: bytes) -> bytes:
    return u32(len(data)) + data


def take_blob(payload: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(payload[:4], "big")
    return payload[4 : 4 + length], payload[4 + length :]


@dataclass
class FakeChannel:
    """Answers requests at once. `silent`: it never answers. `closed`: it has ended."""

    answers: dict[Request, Answer] = field(default_factory=dict)
    raw: bytes = b""  # sent instead of an answer
    piece: int = 1 << 16  # bytes that arrive at once
    silent: bool = False
    closed: bool = False
    sent: list[Frame] = field(default_factory=list)
    exchanges: int = 0
    _reader: FrameReader = field(default_factory=FrameReader)
    _out: bytes = b""

    def send(self, data: bytes, deadline: Deadline) -> None:
        self._check()
        self.exchanges += 1
        self._reader.feed(data)
        while (request := self._reader.next_frame()) is not None:
            self.sent.append(request)
            if self.raw:
                self._out += self.raw
            elif not self.silent:
                self._out += encode_frame(self._answer(request))

    def receive(self, deadline: Deadline) -> bytes:
        self._check()
        data, self._out = self._out[: self.piece], self._out[self.piece :]
        return data

    def _answer(self, request: Frame) -> Frame:
        try:
            payload = self.answers[Request(request.type)](request.payload)
        except AgentRefusal as no:
            error = u32(no.error_class, no.errno) + blob(no.text.encode())
            return Frame(0xFFFF, request.id, error)
        return Frame(request.type | 0x8000, request.id, payload)

    def _check(self) -> None:
        if self.closed:
            raise SessionError("the channel was closed")


@dataclass
class FakeKernelLog:
    """A ring of `room` records, which gives the agent's answers to WRITE and LOG."""

    room: int = 1000
    tainted: int = 0
    console: str = ""
    drop_marks: bool = False
    writes: list[tuple[str, bytes]] = field(default_factory=list)
    _records: list[bytes] = field(default_factory=list)
    _sequence: int = 0
    _read: int = 0

    def channel(self) -> FakeChannel:
        return FakeChannel(answers={Request.WRITE: self._write, Request.LOG: self._log})

    def print(self, text: str) -> None:
        for line in text.splitlines():
            self._records.append(f"4,{self._sequence},{self._sequence * 100},-;{line}\n".encode())
            self._sequence += 1
            self.console += f"[    0.{self._sequence:06d}] {line}\r\n"
        del self._records[: -self.room]

    def _mark(self, content: bytes) -> None:
        if not self.drop_marks:
            self.print(content.decode().removeprefix("<5>"))

    def _write(self, payload: bytes) -> bytes:
        rest = payload[4:]
        while rest:
            path, rest = take_blob(rest)
            content, rest = take_blob(rest)
            self.writes.append((path[:-1].decode(), content))
            if path == b"/dev/kmsg\0":
                self._mark(content)
        return b""

    def _log(self, payload: bytes) -> bytes:
        mark, _limit = take_blob(payload)
        if mark:
            self._mark(mark)
        new = self._sequence - self._read
        records = b"".join(map(blob, self._records[-new:] if new else []))
        overrun = 2 if new > len(self._records) else 0
        self._read = self._sequence
        return u32(overrun) + blob(records) + blob(f"{self.tainted}\n".encode())
