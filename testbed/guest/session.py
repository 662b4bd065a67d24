# SPDX-License-Identifier: GPL-2.0
"""A session with the guest: commands and files, over one long-lived channel to its agent.

The agent kills a command that does not end in time (GuestTimeout), and answers
the next call. When no answer comes at all, or one that makes no sense, the session
is broken: later calls raise the error that broke it. blame.py decides its class.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol, TypedDict, Unpack

from testbed.deadline import Deadline
from testbed.errors import (
    GuestCommandError,
    GuestFileError,
    GuestLost,
    GuestTimeout,
    InfraError,
    ProbeProtocolError,
    SessionError,
    TestbedError,
)
from testbed.guest import protocol, ssh
from testbed.guest.blame import HangWatch, Witness, blame
from testbed.guest.protocol import AgentRefusal, ErrorClass, Frame, Hello, Request, RunFlag

logger = logging.getLogger(__name__)

AGENT = "/bin/agent"

# Seconds for a call without a deadline.
_DEFAULT = 30.0

# Seconds after the deadline in which the agent may still answer. It needs up to 2 s to see a
# killed group die and 2 s for leftovers, and a busy host may stall a TCG guest for a while.
_ANSWER_MARGIN = 15.0

# Seconds between two checks whether a silent guest is still alive.
_PULSE = 0.25

# Seconds of silence after which a kernel that has printed an oops or worse will not answer. A slow
# guest gets no more: it fails in any case.
_GRACE = 10.0

# Seconds of silence after which the guest's processors are looked at. More for a slow guest.
_UNEASE = 10.0

_EVIDENCE_BYTES = 4000


class Channel(Protocol):
    """Bytes to and from the agent."""

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Raises SessionError when the peer is gone or does not take them in time."""

    def receive(self, deadline: Deadline) -> bytes:
        """Return the bytes that came; b"" if none came in time. Raises SessionError at the end."""
        ...


# A request with its payload, and the answer to it: a payload, or an error.
Call = tuple[Request, bytes]
Answer = bytes | TestbedError


class RunOptions(TypedDict, total=False):
    """The options of `Session.run`."""

    stdin: bytes
    env: Mapping[str, str] | None
    cwd: str
    deadline: Deadline | None
    limit: int


@dataclass(frozen=True)
class Result:
    """A command that ended in the guest.

    `status` is negative for a signal, as in subprocess. `truncated`: stdout or
    stderr exceeded the limit; the command still ran to its end. `leftovers`:
    processes of its group outlived it, and were killed.
    """

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes
    truncated: bool = False
    leftovers: bool = False
    pid: int = 0
    seconds: float = 0.0

    @property
    def signal(self) -> int | None:
        """The number of the signal that killed it, if one did."""
        return -self.status if self.status < 0 else None

    @property
    def out(self) -> str:
        """stdout as text."""
        return self.stdout.decode(errors="replace")

    @property
    def err(self) -> str:
        """stderr as text."""
        return self.stderr.decode(errors="replace")


class Session:
    """Calls to the guest's agent. Several threads may use it: it does one call at a time."""

    def __init__(self, channel: Channel, witness: Witness | None = None) -> None:
        self._channel = channel
        self._witness = witness or Witness()
        self._reader = protocol.FrameReader()
        self._lock = threading.Lock()
        self._number = 0
        self._unheard = 0  # pending answers that no caller waits for
        self._due: list[Call] = []  # sent together with the next call
        self._broken: BaseException | None = None
        self.modules: dict[str, int] = {}  # the address of the text of each module loaded
        self.slowdown = 1.0  # factor by which waits for the guest are longer than usual

    @property
    def broken(self) -> BaseException | None:
        """The error that broke this session, if any. A broken session must not be used again."""
        return self._broken

    def hello(self, deadline: Deadline | None = None) -> Hello:
        """Return the agent's introduction. This proves that the agent is alive and in step."""
        nonce = os.urandom(16)
        payload = self._call(Request.HELLO, protocol.hello_request(nonce), deadline)
        hello = protocol.parse_hello(payload)
        if hello.nonce != nonce:
            raise ProbeProtocolError("the guest agent did not return the nonce of the request")
        return hello

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        deadline: Deadline | None = None,
        limit: int = 1 << 20,
        again: bool = False,
    ) -> Result:
        """Run a command to its end, whatever its status.

        Args:
            env: variables to add to the agent's own, or to override there.
            deadline: the agent then kills the command and its group; the default is 30 s.
            limit: bytes to keep of stdout and of stderr; the rest is dropped.
            again: the command will run again, so the agent makes it ready after the answer.

        Raises:
            GuestTimeout: the command did not end in time and was killed, or the guest hangs.
            GuestCommandError: the command could not be started (status 127, or 126).
            GuestLost: the guest died.
            KernelSplat: the session broke after the kernel had printed a splat.
            SessionError, ProbeProtocolError: the session broke, and the kernel is clean.
        """
        until = deadline or Deadline.after(_DEFAULT * self.slowdown)
        payload = protocol.run_request(
            argv, cwd=cwd, env=env or {}, stdin=stdin, timeout=until.remaining, limit=limit
        )
        then = []
        if again:
            then.append((Request.READY, protocol.ready_request(argv, cwd=cwd, env=env or {})))
        try:
            answer = protocol.parse_run(self._call(Request.RUN, payload, until, *then))
        except GuestFileError as exc:
            status = 127 if exc.errno == 2 else 126
            raise GuestCommandError(exc.message, argv=tuple(argv), status=status) from exc
        if RunFlag.TIMED_OUT in answer.flags:
            raise self._timeout(argv, answer, until)
        sign = -1 if RunFlag.SIGNALLED in answer.flags else 1
        cut = RunFlag.STDOUT_CUT | RunFlag.STDERR_CUT
        return Result(
            argv=tuple(argv),
            status=sign * answer.status,
            stdout=answer.stdout,
            stderr=answer.stderr,
            truncated=bool(answer.flags & cut),
            leftovers=RunFlag.LEFTOVERS in answer.flags,
            pid=answer.pid,
            seconds=answer.seconds,
        )

    def make_ready(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str = "/"
    ) -> None:
        """Start a command in advance. The next run of the same command gives it its input.

        The command must close descriptor 3 when it waits for its input.

        Raises:
            GuestFileError: the command could not be started.
        """
        self._call(Request.READY, protocol.ready_request(argv, cwd=cwd, env=env or {}), None)

    def check(self, argv: Sequence[str], **options: Unpack[RunOptions]) -> Result:
        """Do as `run`, but raise GuestCommandError for a status other than 0."""
        result = self.run(argv, **options)
        if result.status == 0:
            return result
        how = f"signal {result.signal}" if result.signal else f"status {result.status}"
        raise GuestCommandError(
            f"{argv[0]} ended with {how} in the guest",
            evidence=_tail(result.stderr or result.stdout),
            argv=result.argv,
            status=result.status,
        )

    def put(
        self, content: bytes, path: str, *, mode: int = 0o644, deadline: Deadline | None = None
    ) -> None:
        """Write a file of at most 16 MiB; readers see the old one or the whole new one.

        Raises GuestFileError.
        """
        self._call(Request.PUT, protocol.put_request(path, content, mode), deadline)

    def write(self, *writes: tuple[str, bytes], deadline: Deadline | None = None) -> None:
        """Do one write(2) for each (path, bytes), in order, to existing files.

        This is for proc, sysfs and debugfs. GuestFileError has the errno of the first failure.
        """
        self._call(Request.WRITE, protocol.write_request(writes), deadline)

    def write_later(self, *writes: tuple[str, bytes]) -> None:
        """Do as `write`, but together with the next call, which raises the error of a failure."""
        self._due.append((Request.WRITE, protocol.write_request(writes)))

    def get(
        self, path: str, *, limit: int = protocol.MAX_PAYLOAD, deadline: Deadline | None = None
    ) -> bytes:
        """Return a file's content. Raises GuestFileError, also if it is longer than `limit`."""
        request = protocol.get_request(path, limit)
        return _content(self._call(Request.GET, request, deadline), path, limit)

    def get_all(self, *paths: str, deadline: Deadline | None = None) -> tuple[Answer, ...]:
        """Return the content of each file, read in this order, after one wait for all of them.

        The result for an unreadable file is its error. Raises GuestFileError for one that is too
        long.
        """
        return contents(paths, self.exchange(get_calls(paths), deadline))

    def exchange(self, calls: Sequence[Call], deadline: Deadline | None = None) -> list[Answer]:
        """Send several requests at once. Return the answer or the error of each, in order.

        The agent does one after the other, and goes on after an error.
        """
        return self._call_all(calls, deadline, heard=len(calls))

    def load_module(self, path: str, parameters: str = "") -> None:
        """Load a kernel module (finit_module(2)), and remember its address for call traces.

        Raises GuestFileError.
        """
        name = PurePath(path).stem.replace("-", "_")
        text = f"/sys/module/{name}/sections/.text"  # present with CONFIG_KALLSYMS
        calls = [
            (Request.LOAD, protocol.load_request(path, parameters)),
            (Request.GET, protocol.get_request(text, _EVIDENCE_BYTES)),
        ]
        loaded, address = self.exchange(calls)
        if isinstance(loaded, TestbedError):
            raise loaded
        if not isinstance(address, TestbedError):
            self.modules[name] = int(protocol.parse_get(address).content, 0)

    def unload_module(self, name: str) -> None:
        """Unload a kernel module (delete_module(2)).

        Raises:
            GuestFileError: EAGAIN if the module is still in use.
        """
        self._call(*unload_call(name), None)

    def pace(self, rounds: int, deadline: Deadline | None = None) -> float:
        """Map, touch and unmap a page in the guest `rounds` times. Return the seconds taken."""
        return protocol.parse_pace(
            self._call(Request.PACE, protocol.pace_request(rounds), deadline)
        )

    def log(self, mark: str = "", *, deadline: Deadline | None = None) -> protocol.LogAnswer:
        """Write `mark` to the kernel log. Return the log's records since the last call."""
        return self.rest_of_log(self._call(*log_call(mark), deadline), deadline)

    def rest_of_log(self, first: bytes, deadline: Deadline | None = None) -> protocol.LogAnswer:
        """Return the records of a first answer to `log_call`, and the records after those."""
        answer = protocol.parse_log(first)
        records, overrun = answer.records, answer.overrun
        while answer.more:
            answer = protocol.parse_log(self._call(*log_call(""), deadline))
            records += answer.records
            overrun |= answer.overrun
        return dataclasses.replace(answer, records=records, overrun=overrun)

    def _call(
        self,
        kind: Request,
        payload: bytes,
        deadline: Deadline | None,
        *then: Call,
    ) -> bytes:
        """Send a request and return its answer. Send `then` too, but drop the answers to those."""
        (answer,) = self._call_all([(kind, payload), *then], deadline, heard=1)
        if isinstance(answer, TestbedError):
            raise answer
        return answer

    def _call_all(
        self, calls: Sequence[Call], deadline: Deadline | None, *, heard: int
    ) -> list[Answer]:
        """Send all requests, then return one answer or refusal for each of the first `heard`.

        The requests that are due go first. An error of those is raised.
        """
        for _, payload in calls:
            if len(payload) > protocol.MAX_PAYLOAD:
                raise InfraError(
                    f"a request of {len(payload)} bytes is too long for the guest agent",
                    hint=f"at most {protocol.MAX_PAYLOAD} bytes at once",
                )
        until = deadline or Deadline.after(_DEFAULT * self.slowdown)
        with self._lock:
            if self._broken is not None:
                raise self._broken.with_traceback(None)
            due, self._due = self._due, []
            requests = [self._frame(*call) for call in (*due, *calls)]
            heard += len(due)
            try:
                answers = self._exchange(
                    requests,
                    heard,
                    Deadline.after(until.remaining + _ANSWER_MARGIN * self.slowdown),
                )
                found = [_checked(*pair) for pair in zip(requests[:heard], answers, strict=True)]
            except (SessionError, ProbeProtocolError) as exc:
                self._broken = blame(exc, self._witness)
                if self._broken is exc:
                    raise
                raise self._broken from exc
            except BaseException as exc:
                # An interrupted call leaves a pending answer, which no later call may take.
                self._broken = exc if isinstance(exc, TestbedError) else _interrupted(exc)
                raise
        for answer in found[: len(due)]:
            if isinstance(answer, TestbedError):
                raise answer
        return found[len(due) :]

    def _frame(self, kind: Request, payload: bytes) -> Frame:
        self._number += 1
        return Frame(kind, self._number, payload)

    def _exchange(self, requests: Sequence[Frame], heard: int, until: Deadline) -> list[Frame]:
        self._channel.send(b"".join(map(protocol.encode_frame, requests)), until)
        while self._unheard:
            # Ignore a failure of READY: the next RUN then starts the command.
            self._receive(until)
            self._unheard -= 1
        self._unheard = len(requests) - heard
        return [self._receive(until) for _ in requests[:heard]]

    def _receive(self, until: Deadline) -> Frame:
        grace, unease = Deadline.after(_GRACE), Deadline.after(_UNEASE * self.slowdown)
        watch = HangWatch(self._witness)
        while (frame := self._reader.next_frame()) is None:
            data = self._channel.receive(until.capped(_PULSE))
            self._reader.feed(data)
            if data:
                continue
            if (reason := self._witness.why_dead()) is not None:
                raise GuestLost(f"the guest died: {reason}")
            if grace.expired:
                if self._witness.is_damaged():
                    raise SessionError("the guest agent does not answer any more")
                grace = Deadline.after(_GRACE)
            if unease.expired:
                if watch.look():
                    raise self._hang("its processors keep interrupts off")
                if not watch.suspects:
                    unease = Deadline.after(_UNEASE * self.slowdown)
            if until.expired:
                raise self._hang(f"its agent did not answer within {until}")
        return frame

    def _hang(self, how: str) -> GuestTimeout:
        shown = self._witness.processors(self.modules)
        return GuestTimeout(f"the guest hangs: {how}", evidence=shown)

    def _timeout(
        self, argv: Sequence[str], answer: protocol.RunAnswer, until: Deadline
    ) -> GuestTimeout:
        message = f"{argv[0]} did not end within {until} in the guest"
        evidence = _tail(answer.stdout + answer.stderr)
        if RunFlag.STUCK not in answer.flags:
            return GuestTimeout(f"{message}; it was killed", evidence=evidence)
        stack = "\n".join(self._glance(f"/proc/{answer.pid}/{name}") for name in _STUCK_FILES)
        shown = "\n".join((evidence, stack, self._witness.processors(self.modules)))
        return GuestTimeout(f"{message} and cannot be killed", evidence=shown.strip())

    def _glance(self, path: str) -> str:
        try:
            return f"{path}: {self.get(path, limit=_EVIDENCE_BYTES).decode(errors='replace')}"
        except GuestFileError as exc:
            return exc.message


_LOG_PIECE = 4 << 20

# Files of /proc/PID that show where an unkillable process is.
_STUCK_FILES = ("wchan", "stack", "syscall")


@contextmanager
def open_session(
    *,
    port: int,
    host_key: Path,
    client_key: Path,
    deadline: Deadline,
    witness: Witness | None = None,
    address: str = "127.0.0.1",
) -> Iterator[Session]:
    """Yield a session with the guest whose SSH port is forwarded to `port` on this host.

    Args:
        host_key: file with the guest's public key line, verified strictly.
        client_key: file with the private key.
        deadline: the connection, and nothing else, is retried until then.
        witness: consulted when the guest falls silent or the session breaks.

    Raises:
        BootNoSsh: nothing answered in time.
        GuestLost: the guest died first.
        KernelSplat: no session was possible after the kernel had printed a splat.
        SessionError: something other than this guest answered.
    """
    seen = witness or Witness()
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(
                ssh.connect(
                    address=address,
                    port=port,
                    host_key=host_key.read_text(),
                    client_key=client_key,
                    deadline=deadline,
                    why_dead=seen.why_dead,
                )
            )
            channel = connection.open_channel(AGENT, deadline)
        except SessionError as exc:
            raise blame(exc, seen) from exc
        session = Session(channel, seen)
        hello = session.hello(deadline)
        logger.debug("agent %d on %s %s", hello.pid, hello.machine, hello.release)
        yield session


def get_calls(paths: Sequence[str]) -> list[Call]:
    """Return the calls that read files, for `contents`."""
    return [(Request.GET, protocol.get_request(path, protocol.MAX_PAYLOAD)) for path in paths]


def contents(paths: Sequence[str], answers: Sequence[Answer]) -> tuple[Answer, ...]:
    """Return the content of each file from the answers to `get_calls`.

    The result for an unreadable file is its error. Raises GuestFileError for one that is too long.
    """
    return tuple(
        answer if isinstance(answer, TestbedError) else _content(answer, path, protocol.MAX_PAYLOAD)
        for path, answer in zip(paths, answers, strict=True)
    )


def unload_call(name: str) -> Call:
    """Return the call that unloads a module."""
    return Request.UNLOAD, protocol.unload_request(name)


def log_call(mark: str) -> Call:
    """Return the call that writes a mark to the kernel log and reads it; see `rest_of_log`."""
    return Request.LOG, protocol.log_request(mark.encode(), _LOG_PIECE)


def _content(payload: bytes, path: str, limit: int) -> bytes:
    answer = protocol.parse_get(payload)
    if answer.cut:
        message = f"{path} in the guest is longer than {limit} bytes"
        raise GuestFileError(message, path=path, errno=27)
    return answer.content


def _checked(request: Frame, answer: Frame) -> bytes | TestbedError:
    try:
        return protocol.check_answer(request, answer)
    except AgentRefusal as exc:
        return _guest_error(exc)


def _guest_error(refusal: AgentRefusal) -> TestbedError:
    if refusal.error_class is ErrorClass.REQUEST:
        return ProbeProtocolError(f"the guest agent refused a request: {refusal}")
    path = refusal.text.partition(" ")[2]
    return GuestFileError(f"in the guest: {refusal}", path=path, errno=refusal.errno)


def _interrupted(exc: BaseException) -> SessionError:
    return SessionError(f"an earlier call of this session was interrupted by {exc!r}")


def _tail(output: bytes) -> str:
    return output[-_EVIDENCE_BYTES:].decode(errors="replace")
