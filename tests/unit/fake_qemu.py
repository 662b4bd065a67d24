#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A QEMU that runs no guest but plays one. A word on the guest's command line names the role; for
a clone, the name of its template's folder does.

fake=up        ready, and an SSH server
fake=panic     panics and resets
fake=reset     resets silently
fake=hang      prints a line and then nothing
fake=dies      begins to boot, then ends by itself
fake=refuses   does not start
fake=stubborn  as up, but ignores `quit`
fake=dies-late as up, but ends by itself at the command `stop`
fake=no-load   cannot load or save a template
fake=sleeps    does not reseed
fake=no-seed   answers, but cannot use the seed
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from fake_qmp import FakeQmp, Silence

USERNET = "  TCP[HOST_FORWARD]  3  127.0.0.1 {port}  10.0.2.15 22 0 0\r\n"
BANNER = b"SSH-2.0-fake\r\n"


class FakeQemu:
    """One run of the program."""

    def __init__(self, argv: list[str]) -> None:
        words = " ".join(argv)
        self.plays = re.split(r"[\s/]", words.partition("fake=")[2])[0]
        self.console = self._inherited(words, "console")
        self.listener = socket.create_server(("127.0.0.1", 0))
        answers = {
            "human-monitor-command": self.usernet,
            "quit": self.quit,
            "stop": self.stop,
            "migrate-set-capabilities": lambda _: {},
            "getfd": lambda _: {},
            "migrate": self.migrate,
            "migrate-incoming": self.migrate,
            "cont": lambda _: {},
        }
        self.reseed_port = self._inherited(words, "reseed")
        self.qmp = FakeQmp(self._inherited(words, "qmp"), answers)

    def run(self) -> None:
        if self.plays == "refuses":
            print("qemu-system-x86_64: no such machine", file=sys.stderr)
            sys.exit(1)
        self.say("Linux version 7.3.4")
        threading.Thread(target=self.qmp.serve, daemon=True).start()
        if self.plays not in ("panic", "reset", "hang", "dies"):
            self.say("testbed: ready")
        threading.Thread(target=self.serve_ssh, daemon=True).start()
        threading.Thread(target=self.serve_reseed, daemon=True).start()
        while True:
            signal.pause()

    def usernet(self, _: Mapping[str, Any]) -> str:
        threading.Thread(target=self.play_on, daemon=True).start()
        return USERNET.format(port=self.listener.getsockname()[1])

    def play_on(self) -> None:
        """Play the rest of the role, once the testbed listens."""
        if self.plays == "panic":
            self.say("Kernel panic - not syncing: fake")
        if self.plays in ("panic", "reset"):
            self.qmp.event("SHUTDOWN", guest=True, reason="guest-reset")
            os._exit(0)
        if self.plays == "dies":
            print("qemu-system-x86_64: out of memory", file=sys.stderr, flush=True)
            os._exit(1)

    def quit(self, _: Mapping[str, Any]) -> None:
        if self.plays == "stubborn":
            raise Silence
        os._exit(0)

    def stop(self, _: Mapping[str, Any]) -> dict[str, Any]:
        if self.plays == "dies-late":
            os._exit(3)
        return {}

    def migrate(self, _: Mapping[str, Any]) -> dict[str, Any]:
        self.qmp.event("MIGRATION", status="failed" if self.plays == "no-load" else "completed")
        return {}

    def serve_reseed(self) -> None:
        """Answer with an errno to the time and 64 random bytes; see tests/probes/reseed."""
        while message := self.reseed_port.recv(76, socket.MSG_WAITALL):
            if self.plays == "sleeps":
                continue
            self.say(f"reseeded with {message.hex()}")
            self.reseed_port.sendall((1 if self.plays == "no-seed" else 0).to_bytes(4))

    def say(self, line: str) -> None:
        stamp = f"[{time.monotonic():12.6f}] "
        self.console.sendall(f"{stamp}{line}\r\n".encode())

    def serve_ssh(self) -> None:
        while True:
            client, _ = self.listener.accept()
            with client:
                client.sendall(BANNER)

    @staticmethod
    def _inherited(words: str, name: str) -> socket.socket:
        match = re.search(rf"socket,id={name},fd=(\d+)", words)
        assert match is not None
        return socket.socket(fileno=int(match[1]))


if __name__ == "__main__":
    FakeQemu(sys.argv).run()
