# SPDX-License-Identifier: GPL-2.0
"""The host's last process: runs scripts that come through a virtio-serial port.

Each line of the port is a JSON object. A request has a script for bash, its user and the seconds
that it may take. The answers are its lines of output as they come, then its exit status.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, BinaryIO

_PORT = "hosts"

_TIMED_OUT = 124  # as timeout(1) has it


def open_port() -> BinaryIO:
    for name in Path("/sys/class/virtio-ports").glob("*/name"):
        if name.read_text().strip() == _PORT:
            return open(f"/dev/{name.parent.name}", "r+b", buffering=0)
    raise SystemExit(f"no virtio port {_PORT}")


def send(port: BinaryIO, answer: dict[str, Any]) -> None:
    data = memoryview(json.dumps(answer).encode() + b"\n")
    while data:
        data = data[port.write(data) or 0 :]


def run(port: BinaryIO, request: dict[str, Any]) -> int:
    """Run one script, send its output, and return its status."""
    user = request["user"]
    argv = ["runuser", "-l", user, "-c", request["script"]]
    argv = ["bash", "-c", request["script"]] if user == "root" else argv
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        return follow(port, process, time.monotonic() + request["seconds"])


def follow(port: BinaryIO, process: subprocess.Popen[bytes], end: float) -> int:
    """Send the output of a process until it ends, and return its status. Kill it at `end`."""
    assert process.stdout is not None
    rest, fd = b"", process.stdout.fileno()
    while time.monotonic() < end:
        ready, _, _ = select.select([fd], [], [], 1.0)
        chunk = os.read(fd, 65536) if ready else b""
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            send(port, {"line": line.decode(errors="replace")})
        if (ready and not chunk) or (not ready and process.poll() is not None):
            if rest:
                send(port, {"line": rest.decode(errors="replace")})
            return process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return _TIMED_OUT


def main() -> None:
    with open_port() as port:
        send(port, {"ready": " ".join(os.uname())})
        rest = b""
        while True:
            chunk = port.read(65536)
            if not chunk:  # nobody is connected
                time.sleep(0.1)
                continue
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                send(port, {"status": run(port, json.loads(line))})


if __name__ == "__main__":
    main()
