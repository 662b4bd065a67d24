# SPDX-License-Identifier: GPL-2.0
"""Certificates and command lines of a cluster. tests/long/test_cluster.py runs them."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest

from testbed.errors import SetupError
from testbed.nightly.certs import certificate_files, write_certificates
from testbed.nightly.cluster import scheduler_argv, worker_argv
from testbed.nightly.executor import QEMU, RAM
from testbed.process import check_output, find_tool
from testbed.settings import CHECKOUT


def context(folder: Path, purpose: ssl.Purpose) -> ssl.SSLContext:
    ca, certificate, key = certificate_files(folder)
    made = ssl.create_default_context(purpose, cafile=str(ca))
    made.load_cert_chain(str(certificate), str(key))
    made.verify_mode = ssl.CERT_REQUIRED
    made.check_hostname = False
    return made


def shakes_hands(server: Path, client: Path) -> bool:
    """Whether two sides accept each other's certificates."""
    ours, theirs = socket.socketpair()
    failed: list[Exception] = []

    def serve() -> None:
        try:
            with context(server, ssl.Purpose.CLIENT_AUTH).wrap_socket(theirs, True) as peer:
                peer.sendall(b"x")
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with context(client, ssl.Purpose.SERVER_AUTH).wrap_socket(ours) as peer:
            assert peer.recv(1) == b"x"
    except (OSError, AssertionError) as error:
        failed.append(error)
    finally:
        ours.close()
        thread.join()
    return not failed


def test_hosts_of_one_cluster_accept_each_other_and_no_stranger(tmp_path: Path) -> None:
    for name in ("own", "other"):
        write_certificates(tmp_path / name, 1)
    assert shakes_hands(tmp_path / "own", tmp_path / "own")
    assert not shakes_hands(tmp_path / "own", tmp_path / "other")


def test_certificates_are_secret_and_never_replaced(tmp_path: Path) -> None:
    files = write_certificates(tmp_path / "tls", 1)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    with pytest.raises(SetupError, match="has certificates"):
        write_certificates(tmp_path / "tls", 1)


def test_without_certificates_there_is_no_command_line(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cluster certs"):
        scheduler_argv("127.0.0.1", 8786, tmp_path)


def test_a_worker_counts_what_its_host_has(tmp_path: Path) -> None:
    write_certificates(tmp_path, 1)
    resources = {QEMU: 3, RAM: 2e9}
    words = worker_argv("tls://server:8786", "one", resources, tmp_path / "scratch", tmp_path)
    assert words[words.index("--resources") + 1] == "QEMU=3 RAM=2e+09"
    assert words[words.index("--nthreads") + 1] == "3"


def test_the_units_for_systemd_are_valid(tmp_path: Path) -> None:
    try:
        tool = find_tool("systemd-analyze", package="systemd")
    except SetupError as error:
        pytest.skip(error.message)
    names = ("testbed-nightly.service", "testbed-nightly.timer")
    for name in names:
        text = (CHECKOUT / "docs/ci" / name).read_text()
        # It checks that the program is there.
        text = text.replace("%h/mmap-testbed/.venv/bin/testbed", "/bin/true")
        (tmp_path / name).write_text(text)
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert (
        check_output([tool, "verify", "--user", *(tmp_path / name for name in names)], env=env)
        == ""
    )


def test_the_script_for_slurm_is_valid() -> None:
    check_output(["bash", "-n", CHECKOUT / "docs/ci/slurm.sh"])
