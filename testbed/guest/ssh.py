# SPDX-License-Identifier: GPL-2.0
"""SSH to the guest: one connection, one exec channel. The only module that uses paramiko.

It uses no SSH agent, nothing from ~/.ssh, and only the keys that the caller names.
The server must have the host key that was made with the guest's image.
"""

from __future__ import annotations

import base64
import binascii
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko

from testbed.deadline import Deadline
from testbed.errors import BootNoSsh, GuestLost, GuestTimeout, SessionError, SetupError

# A library must not print. Without a handler, logging writes paramiko's messages to stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

# The login shell of this user is the agent (image/userland.py).
_USER = "agent"

# In order of preference. All are secure, and dropbear has them in 2022.83 and in 2025.89. By
# default both sides choose mlkem768x25519-sha256. A connection on 127.0.0.1 needs no protection
# from quantum computers, and an emulated guest pays for each instruction.
_KEX = ("curve25519-sha256@libssh.org", "ecdh-sha2-nistp256")
_CIPHERS = ("aes128-ctr", "aes256-ctr")
_MACS = ("hmac-sha2-256",)

# Seconds for one connection. slirp accepts it before anything listens in the guest, and it may
# stay dead: give it up and try another one.
_BANNER_TIMEOUT = 5.0

# Between two attempts to connect, in seconds.
_RETRY_PAUSE = 0.02


@dataclass(frozen=True)
class SshChannel:
    """The stdin and stdout of a program in the guest."""

    channel: paramiko.Channel

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Raises SessionError when the guest is gone, GuestTimeout when it takes too long."""
        view = memoryview(data)
        try:
            while view:
                self.channel.settimeout(deadline.remaining)
                sent = self.channel.send(bytes(view[:_PIECE]))
                if sent == 0:
                    raise self._closed()
                view = view[sent:]
        except TimeoutError as exc:
            raise GuestTimeout(
                f"the guest did not take {len(data)} bytes within {deadline}"
            ) from exc
        except (OSError, EOFError, paramiko.SSHException) as exc:
            raise self._closed() from exc

    def receive(self, deadline: Deadline) -> bytes:
        """Return the bytes that came; b"" if none came in time. Raises SessionError at the end."""
        self.channel.settimeout(deadline.remaining)
        try:
            data = self.channel.recv(_PIECE)
        except TimeoutError:
            return b""
        except (OSError, EOFError, paramiko.SSHException) as exc:
            raise self._closed() from exc
        if not data:
            raise self._closed()
        return data

    def _closed(self) -> SessionError:
        output = b""
        if self.channel.recv_stderr_ready():
            output = self.channel.recv_stderr(_PIECE)
        # -1: the channel was closed without an exit status.
        status = self.channel.exit_status
        how = "" if status < 0 else f": its program ended with status {status}"
        return SessionError(
            f"the SSH channel to the guest was closed{how}",
            evidence=output.decode(errors="replace"),
        )


_PIECE = 1 << 16


@dataclass(frozen=True)
class Connection:
    """An authenticated connection to the guest."""

    transport: paramiko.Transport

    def open_channel(self, command: str, deadline: Deadline) -> SshChannel:
        """Start a program in the guest. Raises SessionError."""
        try:
            channel = self.transport.open_session(timeout=deadline.remaining)
            channel.settimeout(deadline.remaining)
            channel.exec_command(command)
        except (OSError, EOFError, paramiko.SSHException) as exc:
            raise SessionError(f"could not start {command} over SSH: {exc}") from exc
        return SshChannel(channel)


@contextmanager
def connect(
    *,
    address: str,
    port: int,
    host_key: str,
    client_key: Path,
    deadline: Deadline,
    why_dead: Callable[[], str | None] = lambda: None,
) -> Iterator[Connection]:
    """Yield a connection to the SSH server that has `host_key` (a public key line).

    Until the deadline, connecting is retried. Nothing is retried after a server has
    identified itself.

    Raises:
        SetupError: a key cannot be read.
        BootNoSsh: nothing answered in time.
        GuestLost: `why_dead` returned a reason first.
        SessionError: another host key, another protocol, or a refused client key.
    """
    expected = _parse_public_key(host_key)
    key = _load_private_key(client_key)
    transport = _reach(address, port, expected, deadline, why_dead)
    try:
        _verify(transport, expected)
        _authenticate(transport, key, deadline)
        yield Connection(transport)
    finally:
        transport.close()


def _reach(
    address: str,
    port: int,
    expected: paramiko.PKey,
    deadline: Deadline,
    why_dead: Callable[[], str | None],
) -> paramiko.Transport:
    while True:
        try:
            return _handshake(address, port, expected, deadline)
        except _Unreached as exc:
            reason = why_dead()
            if reason is not None:
                raise GuestLost(f"the guest died before SSH answered: {reason}") from exc
            if deadline.expired:
                where = f"{address}:{port}"
                raise BootNoSsh(f"no SSH answer on {where} within {deadline}: {exc}") from exc
        time.sleep(min(_RETRY_PAUSE, deadline.remaining))


class _Unreached(Exception):
    """No SSH server has answered yet."""


def _handshake(
    address: str, port: int, expected: paramiko.PKey, deadline: Deadline
) -> paramiko.Transport:
    attempt = deadline.capped(_BANNER_TIMEOUT)
    try:
        sock = socket.create_connection((address, port), timeout=max(attempt.remaining, 0.001))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as exc:
        raise _Unreached(str(exc)) from exc
    transport = _transport(sock, expected, attempt, deadline)
    try:
        transport.start_client(timeout=deadline.remaining)
    except (OSError, EOFError, paramiko.SSHException) as exc:
        transport.close()
        if not transport.remote_version:
            raise _Unreached(str(exc)) from exc
        raise SessionError(f"the SSH handshake with {address}:{port} failed: {exc}") from exc
    if not transport.initial_kex_done:
        transport.close()
        raise _Unreached("the handshake did not finish")
    return transport


def _transport(
    sock: socket.socket, expected: paramiko.PKey, attempt: Deadline, deadline: Deadline
) -> paramiko.Transport:
    transport = paramiko.Transport(sock)
    transport.banner_timeout = attempt.remaining
    transport.handshake_timeout = deadline.remaining
    options = transport.get_security_options()
    options.kex = _KEX
    options.ciphers = _CIPHERS
    options.digests = _MACS
    options.key_types = (expected.get_name(),)
    return transport


def _verify(transport: paramiko.Transport, expected: paramiko.PKey) -> None:
    found = transport.get_remote_server_key()
    if found != expected:
        raise SessionError(
            "the SSH server that answered is not this guest: its host key is not the image's",
            hint="something else listens on the forwarded port, or the image was rebuilt",
            evidence=f"expected {expected.fingerprint}\nfound    {found.fingerprint}",
        )


def _authenticate(transport: paramiko.Transport, key: paramiko.PKey, deadline: Deadline) -> None:
    transport.auth_timeout = deadline.remaining
    try:
        transport.auth_publickey(_USER, key)
    except (OSError, EOFError, paramiko.SSHException) as exc:
        raise SessionError(
            f"the guest refused the client key: {exc}", hint="rebuild the image with this key"
        ) from exc


def _parse_public_key(line: str) -> paramiko.PKey:
    try:
        name, blob, *_ = line.split()
        return paramiko.PKey.from_type_string(name, base64.b64decode(blob, validate=True))
    except (ValueError, binascii.Error, paramiko.SSHException) as exc:
        raise SetupError(f"not a public key line: {line.strip()!r}") from exc


def _load_private_key(path: Path) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(path)
    except (OSError, ValueError, paramiko.SSHException) as exc:
        raise SetupError(f"cannot read the client key {path}: {exc}") from exc
