# SPDX-License-Identifier: GPL-2.0
"""The SSH client, against a server in this process and against things that are not servers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED

from testbed.deadline import Deadline
from testbed.errors import BootNoSsh, GuestLost, SessionError, SetupError
from testbed.guest.ssh import Connection, connect


def _make_key(path: Path) -> paramiko.PKey:
    private = Ed25519PrivateKey.generate()
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return paramiko.PKey.from_path(path)


def _line(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {key.get_base64()} host\n"


class _Server(paramiko.ServerInterface):
    """Accepts one key. Its program echoes each line that it receives."""

    def __init__(self, client: paramiko.PKey) -> None:
        self.client = client

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        welcome = username == "agent" and key == self.client
        return AUTH_SUCCESSFUL if welcome else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=_echo, args=(channel,), daemon=True).start()
        return True


def _echo(channel: paramiko.Channel) -> None:
    with contextlib.suppress(OSError):
        while (data := channel.recv(1000)) and data != b"end":
            channel.sendall(data)
        channel.sendall_stderr(b"last words")
        channel.send_exit_status(7)
        channel.close()


@contextmanager
def _listening() -> Iterator[tuple[socket.socket, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener, listener.getsockname()[1]


@contextmanager
def _refusing() -> Iterator[int]:
    """Yield a port that refuses connections. It is held: another process might listen on it."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield closed.getsockname()[1]


@contextmanager
def _serving(host: paramiko.PKey, client: paramiko.PKey, *, resets: int = 0) -> Iterator[int]:
    """Yield the port of a server. It closes the first `resets` connections at once."""
    transports: list[paramiko.Transport] = []

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for _ in range(resets):
                listener.accept()[0].close()
            transports.append(paramiko.Transport(listener.accept()[0]))
            transports[0].add_server_key(host)
            transports[0].start_server(event=threading.Event(), server=_Server(client))

    with _listening() as (listener, port):
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield port
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for transport in transports:
        transport.close()
        transport.join()


@pytest.fixture
def host(tmp_path: Path) -> paramiko.PKey:
    return _make_key(tmp_path / "host_key")


@pytest.fixture
def client(tmp_path: Path) -> paramiko.PKey:
    return _make_key(tmp_path / "client_key")


@contextmanager
def _connected(
    port: int, host: paramiko.PKey, key: Path, *, seconds: float = 60
) -> Iterator[Connection]:
    with connect(
        address="127.0.0.1",
        port=port,
        host_key=_line(host),
        client_key=key,
        deadline=Deadline.after(seconds),
    ) as connection:
        yield connection


def _receive(channel: object, deadline: Deadline) -> bytes:
    while not (data := channel.receive(deadline)):  # type: ignore[attr-defined]
        pass
    assert isinstance(data, bytes)
    return data


def test_bytes_go_to_the_program_and_back(
    host: paramiko.PKey, client: paramiko.PKey, tmp_path: Path
) -> None:
    soon = Deadline.after(60)
    with (
        _serving(host, client) as port,
        _connected(port, host, tmp_path / "client_key") as connection,
    ):
        channel = connection.open_channel("/bin/agent", soon)
        channel.send(b"hello", soon)
        assert _receive(channel, soon) == b"hello"
        assert channel.receive(Deadline.after(0.001)) == b""


def test_a_program_that_ends_closes_the_channel_with_its_last_words(
    host: paramiko.PKey, client: paramiko.PKey, tmp_path: Path
) -> None:
    soon = Deadline.after(60)
    with (
        _serving(host, client) as port,
        _connected(port, host, tmp_path / "client_key") as connection,
    ):
        channel = connection.open_channel("/bin/agent", soon)
        channel.send(b"end", soon)
        with pytest.raises(SessionError, match="status 7") as caught:
            _receive(channel, soon)
        assert caught.value.evidence == "last words"


def test_another_host_key_is_refused(
    host: paramiko.PKey, client: paramiko.PKey, tmp_path: Path
) -> None:
    expected = _make_key(tmp_path / "expected_key")
    with (
        _serving(host, client) as port,
        pytest.raises(SessionError, match="its host key is not the image's") as caught,
        _connected(port, expected, tmp_path / "client_key"),
    ):
        pass
    assert host.fingerprint in caught.value.evidence
    assert expected.fingerprint in caught.value.evidence


def test_a_client_key_that_the_guest_refuses_is_an_error(
    host: paramiko.PKey, client: paramiko.PKey, tmp_path: Path
) -> None:
    _make_key(tmp_path / "other_key")
    with (
        _serving(host, client) as port,
        pytest.raises(SessionError, match="refused the client key"),
        _connected(port, host, tmp_path / "other_key"),
    ):
        pass


def test_connections_that_are_reset_at_once_are_tried_again(
    host: paramiko.PKey, client: paramiko.PKey, tmp_path: Path
) -> None:
    with (
        _serving(host, client, resets=3) as port,
        _connected(port, host, tmp_path / "client_key") as connection,
    ):
        assert connection.transport.is_authenticated()


def test_a_port_where_nothing_listens_is_a_boot_without_ssh(
    host: paramiko.PKey, client: paramiko.PKey, tmp_path: Path
) -> None:
    with (
        _refusing() as port,
        pytest.raises(BootNoSsh, match="no SSH answer"),
        _connected(port, host, tmp_path / "client_key", seconds=0.1),
    ):
        pass


def test_a_silent_server_is_a_boot_without_ssh(
    host: paramiko.PKey, client: paramiko.PKey, tmp_path: Path
) -> None:
    with (
        _listening() as (_, port),
        pytest.raises(BootNoSsh),
        _connected(port, host, tmp_path / "client_key", seconds=0.1),
    ):
        pass


def test_a_guest_that_died_is_not_waited_for(
    host: paramiko.PKey, client: paramiko.PKey, tmp_path: Path
) -> None:
    with (
        _refusing() as port,
        pytest.raises(GuestLost, match="Kernel panic"),
        connect(
            address="127.0.0.1",
            port=port,
            host_key=_line(host),
            client_key=tmp_path / "client_key",
            deadline=Deadline.after(1000),
            why_dead=lambda: "Kernel panic - not syncing",
        ),
    ):
        pass


@pytest.mark.parametrize("line", ["", "ssh-ed25519", "ssh-ed25519 ???", "ssh-ed25519 AAAA"])
def test_an_invalid_host_key_line_is_an_error(
    line: str, client: paramiko.PKey, tmp_path: Path
) -> None:
    with (
        pytest.raises(SetupError, match="not a public key line"),
        connect(
            address="127.0.0.1",
            port=1,
            host_key=line,
            client_key=tmp_path / "client_key",
            deadline=Deadline.after(1),
        ),
    ):
        pass


def test_an_invalid_client_key_is_an_error(host: paramiko.PKey, tmp_path: Path) -> None:
    (tmp_path / "client_key").write_text("no key")
    with (
        pytest.raises(SetupError, match="cannot read the client key"),
        _connected(1, host, tmp_path / "client_key"),
    ):
        pass
