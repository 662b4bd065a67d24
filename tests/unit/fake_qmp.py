# SPDX-License-Identifier: GPL-2.0
"""QEMU's side of the monitor, as far as the testbed uses it. It imports no module of the testbed:
fake_qemu.py is a separate program.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}}

Answers = Mapping[str, Callable[[Mapping[str, Any]], Any]]


class Hangup(Exception):
    """Raised by an answer: the server closes the connection."""


class Silence(Exception):
    """Raised by an answer: the server never gives it."""


class FakeQmp:
    """Answers commands until the client hangs up, or an answer raises Hangup."""

    def __init__(self, sock: socket.socket, answers: Answers) -> None:
        self._sock = sock
        self._answers = {"qmp_capabilities": lambda _: {}, **answers}

    def event(self, name: str, **data: Any) -> None:
        stamp = {"seconds": 1, "microseconds": 500_000}
        self.send({"event": name, "data": data, "timestamp": stamp})

    def send(self, message: Mapping[str, Any]) -> None:
        self._sock.sendall(json.dumps(message).encode() + b"\r\n")

    def serve(self) -> None:
        self.send(GREETING)
        with self._sock:
            for request in self._requests():
                try:
                    self._answer(request)
                except Silence:
                    continue
                except (Hangup, BrokenPipeError):
                    return

    def _requests(self) -> Iterator[Mapping[str, Any]]:
        # Clients put nothing between two requests.
        text = ""
        while chunk := self._sock.recv(65536):
            text += chunk.decode()
            while text := text.lstrip():
                try:
                    request, end = json.JSONDecoder().raw_decode(text)
                except ValueError:
                    break
                text = text[end:]
                yield request

    def _answer(self, request: Mapping[str, Any]) -> None:
        reply: dict[str, Any] = {"id": request["id"]} if "id" in request else {}
        answer = self._answers.get(request["execute"])
        if answer is None:
            desc = f"The command {request['execute']} has not been found"
            self.send({**reply, "error": {"class": "CommandNotFound", "desc": desc}})
            return
        self.send({**reply, "return": answer(request.get("arguments", {}))})
