# SPDX-License-Identifier: GPL-2.0
"""The guest agent's wire format: frames and their payloads. Pure functions; see docs/agent.md.

The other end is tests/probes/agent/agent.h.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import TypeVar

from testbed.errors import ProbeProtocolError

MAGIC = 0x6D747331  # "mts1"
VERSION = 1
MAX_PAYLOAD = 16 << 20  # bytes of a request, and of each byte string in an answer

_HEADER = struct.Struct("!IHHII")
_U32 = struct.Struct("!I")

T = TypeVar("T")

# The longest answer: a command with two full outputs.
_MAX_ANSWER = 2 * MAX_PAYLOAD + 4096

_ANSWER_OK = 0x8000
_ANSWER_ERROR = 0xFFFF


class Request(IntEnum):
    HELLO = 1
    RUN = 2
    PUT = 3
    WRITE = 4
    GET = 5
    LOG = 6
    LOAD = 7
    UNLOAD = 8
    PACE = 9
    READY = 10


class ErrorClass(IntEnum):
    REQUEST = 1  # the agent did not understand the request
    SYSTEM = 2  # a system call failed


class RunFlag(IntFlag):
    SIGNALLED = 1
    TIMED_OUT = 2
    STUCK = 4
    STDOUT_CUT = 8
    STDERR_CUT = 16
    LEFTOVERS = 32


class GetFlag(IntFlag):
    CUT = 1


class LogFlag(IntFlag):
    MORE = 1
    OVERRUN = 2


@dataclass(frozen=True)
class Frame:
    """One message. `type` is a Request, or the type of an answer."""

    type: int
    id: int
    payload: bytes


@dataclass(frozen=True)
class Hello:
    """The agent's introduction: its pid, and the kernel as `uname -r` and `-m` show it."""

    nonce: bytes
    pid: int
    page_size: int
    release: str
    machine: str


@dataclass(frozen=True)
class RunAnswer:
    flags: RunFlag
    status: int
    pid: int
    seconds: float
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class GetAnswer:
    content: bytes
    cut: bool


@dataclass(frozen=True)
class LogAnswer:
    """Records as read from /dev/kmsg.

    `more`: there are more records. `overrun`: some records were overwritten. `tainted`:
    the mask of /proc/sys/kernel/tainted, read after the records.
    """

    records: tuple[bytes, ...]
    more: bool
    overrun: bool
    tainted: int


@dataclass
class AgentRefusal(Exception):
    """The agent answered with an error; `errno` is the guest's."""

    error_class: ErrorClass
    errno: int
    text: str

    def __str__(self) -> str:
        return f"{self.text}: {os.strerror(self.errno)}"


def encode_frame(frame: Frame) -> bytes:
    return _HEADER.pack(MAGIC, VERSION, frame.type, frame.id, len(frame.payload)) + frame.payload


class FrameReader:
    """Finds frames in a stream of bytes that arrives in pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """Return the next whole frame, or None if more bytes are needed.

        Raises:
            ProbeProtocolError: the bytes are not a frame of this version.
        """
        if len(self._buffer) < _HEADER.size:
            return None
        magic, version, kind, number, length = _HEADER.unpack_from(self._buffer)
        if magic != MAGIC or version != VERSION or length > _MAX_ANSWER:
            raise ProbeProtocolError(
                "the guest agent sent bytes that are not a frame",
                evidence=f"first bytes: {bytes(self._buffer[:64])!r}",
            )
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        frame = Frame(kind, number, bytes(self._buffer[_HEADER.size : end]))
        del self._buffer[:end]
        return frame

    @property
    def pending(self) -> int:
        """The number of bytes of an incomplete frame."""
        return len(self._buffer)


def check_answer(request: Frame, answer: Frame) -> bytes:
    """Return the payload of the answer to a request.

    Raises:
        AgentRefusal: the agent answered with an error.
        ProbeProtocolError: the answer belongs to another request.
    """
    if answer.type == _ANSWER_ERROR:
        raise _refusal(answer)
    if (answer.type, answer.id) != (request.type | _ANSWER_OK, request.id):
        raise ProbeProtocolError(
            "the guest agent answered a different request",
            evidence=f"request of type {request.type} id {request.id}, "
            f"answer of type {answer.type:#x} id {answer.id}",
        )
    return answer.payload


def hello_request(nonce: bytes) -> bytes:
    return _bytes(nonce)


def run_request(
    argv: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    stdin: bytes,
    timeout: float,
    limit: int,
) -> bytes:
    """Encode a RUN. `timeout` is in seconds; `limit` is in bytes of stdout and of stderr."""
    numbers = (_U32.pack(int(timeout * 1000)), _U32.pack(limit), _U32.pack(limit))
    return b"".join((*numbers, ready_request(argv, cwd=cwd, env=env), _bytes(stdin)))


def ready_request(argv: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> bytes:
    """Encode a READY: a command, without the values that differ between its runs."""
    words = (_U32.pack(len(argv)), *map(_string, argv))
    variables = (_U32.pack(len(env)), *(_string(f"{name}={env[name]}") for name in env))
    return b"".join((_string(cwd), *words, *variables))


def put_request(path: str, content: bytes, mode: int) -> bytes:
    return _string(path) + _U32.pack(mode) + _bytes(content)


def write_request(writes: Sequence[tuple[str, bytes]]) -> bytes:
    pairs = (_string(path) + _bytes(content) for path, content in writes)
    return b"".join((_U32.pack(len(writes)), *pairs))


def get_request(path: str, limit: int) -> bytes:
    return _string(path) + _U32.pack(limit)


def log_request(mark: bytes, limit: int) -> bytes:
    return _bytes(mark) + _U32.pack(limit)


def load_request(path: str, parameters: str) -> bytes:
    return _string(path) + _string(parameters)


def unload_request(name: str) -> bytes:
    return _string(name)


def pace_request(rounds: int) -> bytes:
    return _U32.pack(rounds)


def parse_pace(payload: bytes) -> float:
    """Return the answer to a PACE, in seconds."""
    cursor = _Cursor(payload)
    return cursor.ended(cursor.microseconds())


def parse_hello(payload: bytes) -> Hello:
    cursor = _Cursor(payload)
    nonce, pid, page_size = cursor.bytes(), cursor.u32(), cursor.u32()
    release, machine = cursor.bytes().decode(), cursor.bytes().decode()
    return cursor.ended(Hello(nonce, pid, page_size, release, machine))


def parse_run(payload: bytes) -> RunAnswer:
    cursor = _Cursor(payload)
    flags, status, pid = RunFlag(cursor.u32()), cursor.u32(), cursor.u32()
    seconds, stdout, stderr = cursor.microseconds(), cursor.bytes(), cursor.bytes()
    return cursor.ended(RunAnswer(flags, status, pid, seconds, stdout, stderr))


def parse_get(payload: bytes) -> GetAnswer:
    cursor = _Cursor(payload)
    flags, content = GetFlag(cursor.u32()), cursor.bytes()
    return cursor.ended(GetAnswer(content, GetFlag.CUT in flags))


def parse_log(payload: bytes) -> LogAnswer:
    cursor = _Cursor(payload)
    flags, inner = LogFlag(cursor.u32()), _Cursor(cursor.bytes())
    records = []
    while not inner.at_end:
        records.append(inner.bytes())
    more, overrun = LogFlag.MORE in flags, LogFlag.OVERRUN in flags
    return cursor.ended(LogAnswer(tuple(records), more, overrun, cursor.decimal()))


def _refusal(answer: Frame) -> AgentRefusal:
    cursor = _Cursor(answer.payload)
    number, errno, text = cursor.u32(), cursor.u32(), cursor.bytes()
    if number not in tuple(ErrorClass):
        raise ProbeProtocolError(f"the guest agent answered with an unknown error class {number}")
    return cursor.ended(AgentRefusal(ErrorClass(number), errno, text.decode(errors="replace")))


def _bytes(data: bytes) -> bytes:
    return _U32.pack(len(data)) + data


def _string(text: str) -> bytes:
    # The NUL is sent too: the agent uses strings in place.
    data = text.encode(errors="surrogateescape")
    if b"\0" in data:
        raise ValueError(f"a NUL byte in {text!r}")
    return _bytes(data + b"\0")


class _Cursor:
    """The rest of a payload, which calls consume."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = 0

    def take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._payload):
            raise self._malformed("it is too short")
        data = self._payload[self._at : end]
        self._at = end
        return data

    def u32(self) -> int:
        (value,) = _U32.unpack(self.take(_U32.size))
        assert isinstance(value, int)
        return value

    def microseconds(self) -> float:
        """Take a u64 of microseconds. Return it in seconds."""
        return ((self.u32() << 32) + self.u32()) / 1e6

    def bytes(self) -> bytes:
        return self.take(self.u32())

    def decimal(self) -> int:
        text = self.bytes()
        if not text.strip().isdigit():
            raise self._malformed(f"{text!r} is not a number")
        return int(text)

    @property
    def at_end(self) -> bool:
        return self._at == len(self._payload)

    def ended(self, value: T) -> T:
        """Return `value` if the whole payload was taken."""
        if not self.at_end:
            raise self._malformed("it is too long")
        return value

    def _malformed(self, how: str) -> ProbeProtocolError:
        head = f"{len(self._payload)} bytes: {self._payload[:64]!r}"
        return ProbeProtocolError(f"malformed answer of the guest agent: {how}", evidence=head)
