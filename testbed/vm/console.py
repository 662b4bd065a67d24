# SPDX-License-Identifier: GPL-2.0
"""The guest's serial console: evidence, never a channel for results. Only user of pexpect.

A thread reads all output as long as the VM lives: a console that nobody reads
would eventually block the guest.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pexpect import EOF
from pexpect.socket_pexpect import SocketSpawn

_CHUNK = 65536

# Bytes of room for output of the guest while a busy host does not run the reader.
_ROOM = 16 << 20

_SO_SNDBUFFORCE = 32  # socket(7); Python has no name for it


class Console:
    """All that the guest has printed."""

    def __init__(self, sock: socket.socket, sink: BinaryIO, on_change: Callable[[], None]) -> None:
        self._spawn: SocketSpawn[bytes] = SocketSpawn(sock, timeout=None)
        self._sink = sink
        self._on_change = on_change
        self._shown = bytearray()
        self._closed = False
        self._reader = threading.Thread(target=self._read, name="console", daemon=True)
        self._reader.start()

    @property
    def closed(self) -> bool:
        """Whether QEMU has closed its end: nothing more will come."""
        return self._closed

    def text(self) -> str:
        """Return all output so far, with plain line ends."""
        return self._shown.decode(errors="replace").replace("\r", "")

    def type(self, text: str) -> None:
        """Send input to the guest, as if a user typed it."""
        self._spawn.send(text.encode())

    def close(self) -> None:
        """Stop reading."""
        with contextlib.suppress(OSError):
            self._spawn.close()
        self._reader.join()

    def _read(self) -> None:
        # A killed QEMU may reset the connection instead of closing it.
        with contextlib.suppress(EOF, OSError):
            while True:
                chunk = self._spawn.read_nonblocking(_CHUNK, timeout=None)
                self._sink.write(chunk)
                self._shown += chunk
                self._on_change()
        self._closed = True
        self._on_change()


def make_room(sock: socket.socket) -> None:
    """Make the send buffer of QEMU's end of the console as large as allowed.

    QEMU writes each character by itself, which takes 768 bytes of the buffer: 278 of them fill
    a buffer of the default size. A guest waits 160 ms for a stuck UART, and then overruns it
    (drivers/tty/serial/8250/8250_port.c, serial8250_fifo_wait_for_lsr_thre()). The beginning of a
    panic's line was lost that way.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)  # net.core.wmem_max bounds it
    with contextlib.suppress(PermissionError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _ROOM)


@contextmanager
def open_console(
    sock: socket.socket, log: Path, on_change: Callable[[], None]
) -> Iterator[Console]:
    """Read a console until the block ends. Write all of it to `log` as well.

    Args:
        on_change: called from the reading thread after each piece of text, and at the end.
    """
    with log.open("ab", buffering=0) as sink:
        console = Console(sock, sink, on_change)
        try:
            yield console
        finally:
            console.close()
