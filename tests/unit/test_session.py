# SPDX-License-Identifier: GPL-2.0
"""The session with an agent that answers badly, late or not at all."""

from __future__ import annotations

import struct
import sys
import threading
from collections.abc import Iterator

import pytest
from fake_agent import FakeChannel, blob, u32

from testbed.deadline import Deadline
from testbed.errors import (
    GuestFileError,
    GuestLost,
    GuestTimeout,
    InfraError,
    KernelSplat,
    ProbeProtocolError,
    SessionError,
)
from testbed.guest import blame as blame_module
from testbed.guest import session as session_module
from testbed.guest.blame import Witness
from testbed.guest.protocol import MAX_PAYLOAD, AgentRefusal, ErrorClass, Request
from testbed.guest.session import Session, contents, get_calls

_EXITED = u32(0, 0, 42, 0, 1500) + blob(b"out") + blob(b"err")


def _answering(payload: bytes) -> FakeChannel:
    return FakeChannel(answers={Request.RUN: lambda _: payload, Request.GET: lambda _: b""})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the timeouts for a real agent, on which these tests would wait."""
    for name in ("_ANSWER_MARGIN", "_PULSE", "_GRACE", "_UNEASE"):
        monkeypatch.setattr(session_module, name, 0.001)
    monkeypatch.setattr(blame_module, "_NEWS", 0.001)


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Let threads take turns as often as possible."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_a_result_has_the_status_the_outputs_and_the_time() -> None:
    result = Session(_answering(_EXITED)).run(["probe", "map"])
    assert (result.argv, result.status, result.out, result.err) == (
        ("probe", "map"),
        0,
        "out",
        "err",
    )
    assert result.seconds == 0.0015


def test_an_answer_that_arrives_byte_by_byte_is_assembled() -> None:
    channel = _answering(_EXITED)
    channel.piece = 1
    assert Session(channel).run(["probe"]).out == "out"


def test_a_killed_command_is_a_timeout_and_the_session_continues() -> None:
    flags = struct.pack("!I", 2 | 1)
    channel = _answering(flags + u32(9, 42, 0, 0) + blob(b"so far") + blob(b""))
    session = Session(channel)
    with pytest.raises(GuestTimeout, match="it was killed") as caught:
        session.run(["probe"])
    assert "so far" in caught.value.evidence
    assert session.broken is None


def test_the_error_of_an_unkillable_command_shows_where_it_is_stuck() -> None:
    channel = _answering(u32(2 | 4, 0, 42, 0, 0) + blob(b"") + blob(b""))
    channel.answers[Request.GET] = lambda _: u32(0) + blob(b"mutex_lock+0x1b/0x20")
    with pytest.raises(GuestTimeout, match="cannot be killed") as caught:
        Session(channel).run(["probe"])
    assert "/proc/42/stack: mutex_lock" in caught.value.evidence


@pytest.mark.usefixtures("impatient")
def test_silence_of_a_live_guest_breaks_the_session() -> None:
    session = Session(FakeChannel(silent=True))
    with pytest.raises(GuestTimeout, match="the guest hangs: its agent did not answer") as first:
        session.run(["probe"], deadline=Deadline.after(0.001))
    with pytest.raises(GuestTimeout) as second:
        session.get("/proc/version")
    assert second.value is first.value
    assert session.broken is first.value


@pytest.mark.usefixtures("impatient")
def test_silence_of_a_dead_guest_is_an_error_with_the_cause() -> None:
    session = Session(FakeChannel(silent=True), Witness(lambda: "Kernel panic - not syncing: oh"))
    with pytest.raises(GuestLost, match="Kernel panic - not syncing: oh"):
        session.run(["probe"])


@pytest.mark.usefixtures("impatient")
def test_a_closed_channel_is_the_guests_fault_only_if_it_died() -> None:
    with pytest.raises(SessionError, match="closed"):
        Session(FakeChannel(closed=True)).run(["probe"])
    with pytest.raises(GuestLost, match="reset"):
        Session(FakeChannel(closed=True), Witness(lambda: "reset")).run(["probe"])


def test_the_cause_of_a_death_may_arrive_after_the_end_of_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blame_module, "_NEWS", 60.0)
    reasons = iter([None, None, "panic"])
    with pytest.raises(GuestLost, match="panic"):
        Session(FakeChannel(closed=True), Witness(lambda: next(reasons))).run(["probe"])


@pytest.mark.usefixtures("impatient")
def test_silence_after_an_oops_is_not_waited_for() -> None:
    oops = "BUG: kernel NULL pointer dereference, address: 0000000000000008\n"
    session = Session(FakeChannel(silent=True), Witness(console=lambda: oops))
    with pytest.raises(KernelSplat, match="NULL pointer") as caught:
        session.run(["probe"], deadline=Deadline.after(30))
    assert "the guest agent does not answer any more" in caught.value.evidence


@pytest.mark.usefixtures("impatient")
def test_silence_with_interrupts_off_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blame_module, "_LOOKS", 3)
    session = Session(FakeChannel(silent=True), Witness(interrupts_off=lambda: True))
    with pytest.raises(GuestTimeout, match="hangs: its processors keep interrupts off"):
        session.run(["probe"], deadline=Deadline.after(30))


@pytest.mark.usefixtures("impatient")
def test_silence_shows_the_guests_processors_and_modules() -> None:
    channel = FakeChannel({Request.LOAD: lambda _: b""})
    channel.answers[Request.GET] = lambda _: u32(0) + blob(b"0xffffffffa0000000\n")
    session = Session(channel, Witness(processors=lambda modules: f"modules {modules}"))
    session.load_module("/some-driver.ko")
    channel.silent = True
    with pytest.raises(GuestTimeout) as caught:
        session.run(["probe"], deadline=Deadline.after(0.001))
    assert caught.value.evidence == f"modules {{'some_driver': {0xFFFFFFFFA0000000}}}"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"sh: /bin/agent: not found\n", id="text instead of a frame"),
        pytest.param(struct.pack("!IHHII", 0x6D747331, 1, 0x8002, 7, 0), id="another id"),
        pytest.param(struct.pack("!IHHII", 0x6D747331, 1, 0x8003, 1, 0), id="another type"),
        pytest.param(struct.pack("!IHHII", 0x6D747331, 1, 0x8002, 1, 1 << 30), id="too long"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_bytes_that_are_not_an_answer_break_the_session(raw: bytes) -> None:
    session = Session(FakeChannel(raw=raw))
    with pytest.raises(ProbeProtocolError) as first:
        session.run(["probe"])
    with pytest.raises(ProbeProtocolError) as second:
        session.run(["probe"])
    assert second.value is first.value


@pytest.mark.parametrize("payload", [b"", _EXITED[:-1], _EXITED + b"x", u32(0) * 3])
def test_a_malformed_payload_is_a_protocol_error(payload: bytes) -> None:
    with pytest.raises(ProbeProtocolError, match="malformed answer"):
        Session(_answering(payload)).run(["probe"])


def test_a_file_error_does_not_break_the_session() -> None:
    refusal = struct.pack("!IHHII", 0x6D747331, 1, 0xFFFF, 1, 8 + 4 + 14)
    channel = FakeChannel(raw=refusal + u32(2, 2) + blob(b"read /no/such!"))
    session = Session(channel)
    with pytest.raises(GuestFileError, match="No such file") as caught:
        session.get("/no/such")
    assert (caught.value.errno, caught.value.path) == (2, "/no/such!")
    assert session.broken is None


def test_a_request_that_is_too_long_is_not_sent() -> None:
    channel = FakeChannel()
    with pytest.raises(InfraError, match="too long"):
        Session(channel).put(bytes(MAX_PAYLOAD), "/tmp/big")
    assert channel.sent == []


def test_an_interrupt_breaks_the_session_for_later_calls() -> None:
    class Interrupted(FakeChannel):
        def receive(self, deadline: Deadline) -> bytes:
            raise KeyboardInterrupt

    session = Session(Interrupted(silent=True))
    with pytest.raises(KeyboardInterrupt):
        session.run(["probe"])
    with pytest.raises(SessionError, match="interrupted"):
        session.run(["probe"])


def test_a_changed_nonce_is_noticed() -> None:
    wrong = blob(b"not yours") + u32(1, 4096) + blob(b"7.3.4") + blob(b"x86_64")
    channel = FakeChannel(answers={Request.HELLO: lambda _: wrong})
    with pytest.raises(ProbeProtocolError, match="nonce"):
        Session(channel).hello()


@pytest.mark.usefixtures("eager_threads")
def test_calls_from_several_threads_go_one_after_the_other() -> None:
    channel = _answering(_EXITED)
    channel.piece = 1  # many chances for another thread to interfere
    session = Session(channel)
    threads = [
        threading.Thread(target=lambda: [session.run(["probe"]) for _ in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert session.broken is None
    assert [frame.id for frame in channel.sent] == list(range(1, 201))


def test_a_long_log_is_read_to_its_end() -> None:
    pieces = iter([u32(1) + blob(blob(b"a")), u32(2) + blob(blob(b"b"))])
    channel = FakeChannel(answers={Request.LOG: lambda _: next(pieces) + blob(b"512\n")})
    answer = Session(channel).log("mark")
    assert (answer.records, answer.overrun, answer.tainted) == ((b"a", b"b"), True, 512)
    assert [b"mark" in frame.payload for frame in channel.sent] == [True, False]


def _refuse(_: bytes) -> bytes:
    raise AgentRefusal(ErrorClass.SYSTEM, 2, "write /no/such")


def test_a_late_write_goes_with_the_next_call() -> None:
    channel = FakeChannel(
        answers={Request.WRITE: lambda _: b"", Request.GET: lambda _: u32(0) + blob(b"text")}
    )
    session = Session(channel)
    session.write_later(("/dev/kmsg", b"mark"))
    assert channel.sent == []
    assert session.get("/file") == b"text"
    assert [frame.type for frame in channel.sent] == [Request.WRITE, Request.GET]
    assert channel.exchanges == 1


def test_the_error_of_a_late_write_is_that_of_the_next_call_and_of_no_other() -> None:
    channel = FakeChannel(
        answers={Request.WRITE: _refuse, Request.GET: lambda _: u32(0) + blob(b"text")}
    )
    session = Session(channel)
    session.write_later(("/no/such", b"mark"))
    with pytest.raises(GuestFileError, match="write /no/such"):
        session.get("/file")
    assert session.get("/file") == b"text"


def test_an_exchange_returns_answers_and_errors_in_order() -> None:
    channel = FakeChannel(
        answers={Request.WRITE: _refuse, Request.GET: lambda _: u32(0) + blob(b"text")}
    )
    calls = [*get_calls(["/one"]), (Request.WRITE, b""), *get_calls(["/two"])]
    one, refused, two = Session(channel).exchange(calls)
    assert isinstance(refused, GuestFileError)
    assert contents(["/one", "/two"], [one, two]) == (b"text", b"text")
    assert channel.exchanges == 1
