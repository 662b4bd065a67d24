# SPDX-License-Identifier: GPL-2.0
"""QEMU's monitor, as plain calls with deadlines. Only user of qemu.qmp.

The library uses asyncio. Its loop runs in a separate thread: an event is seen
when it comes, and not only at the next command.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, TypeVar

from qemu.qmp import ExecInterruptedError, ExecuteError, Message, QMPClient, QMPError, Runstate

from testbed.deadline import Deadline
from testbed.errors import QmpError

T = TypeVar("T")


@dataclass(frozen=True)
class Event:
    """An asynchronous message of QEMU, such as SHUTDOWN."""

    name: str
    data: Mapping[str, Any]
    seconds: float = field(default=0.0, compare=False)  # since the epoch, by QEMU's clock

    @property
    def reason(self) -> str:
        """The event's reason, if it has one: QEMU's ShutdownCause, such as guest-reset."""
        return str(self.data.get("reason", ""))


class Qmp:
    """One connection to QEMU's monitor."""

    def __init__(self, log: TextIO, on_event: Callable[[], None]) -> None:
        self._log = log
        self._on_event = on_event
        self._client = QMPClient("testbed")
        self._closed = False
        self._connecting = asyncio.Lock()
        self._watchers: list[asyncio.Task[None]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._thread.start()

    @property
    def events(self) -> tuple[Event, ...]:
        """All events so far, in the order of arrival."""
        return tuple(_event(message) for message in self._client.events.history)

    @property
    def closed(self) -> bool:
        """Whether the connection has ended: no more events will come."""
        return self._closed

    def connect(self, sock: socket.socket, deadline: Deadline) -> None:
        """Wait for the greeting, and negotiate capabilities.

        Raises:
            QmpError: no greeting came in time, or QEMU hung up.
        """
        try:
            self._wait(self._connect(sock), "its greeting", deadline)
        except QmpError:
            self._closed = True
            raise

    def execute(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, deadline: Deadline
    ) -> Any:
        """Execute a command and return its result.

        Raises:
            QmpError: QEMU refuses the command, hangs up, or does not answer in time.
        """
        self._note("->", {"execute": command, "arguments": dict(arguments or {})})
        request = self._client.execute(command, dict(arguments or {}))
        answer = self._wait(request, f"an answer to {command}", deadline)
        self._note("<-", answer)
        return answer

    def send_file(self, name: str, fd: int, deadline: Deadline) -> None:
        """Send QEMU an open file, to which commands then refer by `name`.

        Raises:
            QmpError: QEMU does not accept it.
        """
        self._wait(self._send_fd(fd), f"a receipt for the file {name}", deadline)
        self.execute("getfd", {"fdname": name}, deadline=deadline)

    def quit(self, deadline: Deadline) -> None:
        """Ask QEMU to end. It may hang up before it answers.

        Raises:
            QmpError: QEMU neither answers nor hangs up in time.
        """
        try:
            self.execute("quit", deadline=deadline)
        except QmpError as error:
            if not isinstance(error.__cause__, ExecInterruptedError):
                raise

    def close(self) -> None:
        """End the connection and its thread."""
        asyncio.run_coroutine_threadsafe(self._disconnect(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _connect(self, sock: socket.socket) -> None:
        async with self._connecting:
            await self._client.connect(sock)
        for watcher in (self._watch_events(), self._watch_state()):
            self._watchers.append(asyncio.create_task(watcher))

    async def _send_fd(self, fd: int) -> None:
        self._client.send_fd_scm(fd)

    async def _disconnect(self) -> None:
        # An abandoned connect cleans up after itself. A concurrent disconnect would collide.
        async with self._connecting:
            with contextlib.suppress(QMPError, OSError, EOFError):
                await self._client.disconnect()
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)

    async def _watch_events(self) -> None:
        async for message in self._client.events:
            self._note("<-", dict(message))
            self._on_event()

    async def _watch_state(self) -> None:
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()
        self._closed = True
        self._on_event()

    def _wait(self, work: Coroutine[Any, Any, T], what: str, deadline: Deadline) -> T:
        bounded = asyncio.wait_for(work, deadline.remaining)
        future = asyncio.run_coroutine_threadsafe(bounded, self._loop)
        try:
            return future.result()
        except TimeoutError as exc:
            raise QmpError(f"QEMU's monitor did not send {what} within {deadline}") from exc
        except ExecuteError as exc:
            raise QmpError(f"QEMU's monitor refused: {exc}") from exc
        except (QMPError, OSError, EOFError) as exc:
            raise QmpError(f"QEMU's monitor hung up before {what}: {exc}") from exc
        except BaseException:  # an interrupt
            future.cancel()
            raise

    def _note(self, direction: str, content: object) -> None:
        self._log.write(f"{direction} {json.dumps(content)}\n")


def _event(message: Message) -> Event:
    data, stamp = message.get("data"), message["timestamp"]
    assert isinstance(stamp, dict)  # QMP's specification: every event has a timestamp
    seconds = stamp["seconds"] + stamp["microseconds"] / 1e6
    return Event(str(message["event"]), data if isinstance(data, dict) else {}, seconds)


@contextmanager
def open_qmp(log: Path, on_event: Callable[[], None]) -> Iterator[Qmp]:
    """Yield a monitor that is not yet connected. Its traffic goes to `log`.

    Args:
        on_event: called from the monitor's thread after each event, and when QEMU hangs up.
    """
    with log.open("a", buffering=1) as sink:
        qmp = Qmp(sink, on_event)
        try:
            yield qmp
        finally:
            qmp.close()
