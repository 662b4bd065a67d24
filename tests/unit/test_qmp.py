# SPDX-License-Identifier: GPL-2.0
"""The monitor's client, against a server that speaks QMP over a socket pair."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_qmp import Answers, FakeQmp, Hangup, Silence

from testbed.deadline import Deadline
from testbed.errors import QmpError
from testbed.vm.notifier import Notifier
from testbed.vm.qmp import Event, Qmp, open_qmp


def hang_up(_: Mapping[str, Any]) -> None:
    raise Hangup


def say_nothing(_: Mapping[str, Any]) -> None:
    raise Silence


@contextmanager
def monitor(
    tmp_path: Path, notifier: Notifier | None = None, **answers: Any
) -> Iterator[tuple[Qmp, FakeQmp]]:
    ours, theirs = socket.socketpair()
    server = FakeQmp(theirs, named(answers))
    thread = threading.Thread(target=server.serve)
    thread.start()
    with open_qmp(tmp_path / "qmp.log", (notifier or Notifier()).notify) as qmp:
        qmp.connect(ours, Deadline.after(60))
        yield qmp, server
    thread.join()


def named(answers: Mapping[str, Any]) -> Answers:
    return {name.replace("_", "-"): answer for name, answer in answers.items()}


def test_a_command_returns_qemus_answer(tmp_path: Path) -> None:
    with monitor(tmp_path, query_echo=lambda arguments: arguments) as (qmp, _):
        answer = qmp.execute("query-echo", {"word": 1}, deadline=Deadline.after(60))
    assert answer == {"word": 1}


def test_the_log_has_commands_answers_and_events(tmp_path: Path) -> None:
    notifier = Notifier()
    with monitor(tmp_path, notifier, query_status=lambda _: {"running": True}) as (qmp, server):
        qmp.execute("query-status", deadline=Deadline.after(60))
        server.event("STOP")
        log = tmp_path / "qmp.log"
        assert notifier.wait_for(lambda: "STOP" in log.read_text() or None, Deadline.after(60))
    first, second, third = log.read_text().splitlines()
    assert first.startswith("-> ")
    assert "query-status" in first
    assert second == '<- {"running": true}'
    assert third.startswith("<- ")


def test_a_command_that_qemu_refuses_is_an_error_with_the_reason(tmp_path: Path) -> None:
    with monitor(tmp_path) as (qmp, _), pytest.raises(QmpError, match="nonsense has not been"):
        qmp.execute("nonsense", deadline=Deadline.after(60))


def test_a_command_without_an_answer_ends_with_its_deadline(tmp_path: Path) -> None:
    with (
        monitor(tmp_path, query_status=say_nothing) as (qmp, _),
        pytest.raises(QmpError, match="an answer to query-status within"),
    ):
        qmp.execute("query-status", deadline=Deadline.after(0.05))


def test_a_late_answer_is_not_taken_for_the_next_one(tmp_path: Path) -> None:
    late: list[FakeQmp] = []

    def answer_late(_: Mapping[str, Any]) -> str:
        late[0].send({"return": "late", "id": "__testbed#00001"})
        return "right"

    with monitor(tmp_path, query_status=say_nothing, query_name=answer_late) as (qmp, server):
        late.append(server)
        with pytest.raises(QmpError):
            qmp.execute("query-status", deadline=Deadline.after(0.05))
        assert qmp.execute("query-name", deadline=Deadline.after(60)) == "right"


def test_qemu_that_hangs_up_during_a_command_is_an_error(tmp_path: Path) -> None:
    with monitor(tmp_path, query_status=hang_up) as (qmp, _), pytest.raises(QmpError, match="hung"):
        qmp.execute("query-status", deadline=Deadline.after(60))


def test_qemu_that_hangs_up_on_quit_has_obeyed(tmp_path: Path) -> None:
    with monitor(tmp_path, quit=hang_up) as (qmp, _):
        qmp.quit(Deadline.after(60))


def test_qemu_that_ignores_quit_is_an_error(tmp_path: Path) -> None:
    with monitor(tmp_path, quit=say_nothing) as (qmp, _), pytest.raises(QmpError, match="quit"):
        qmp.quit(Deadline.after(0.05))


def test_no_greeting_is_an_error(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with (
        theirs,
        open_qmp(tmp_path / "qmp.log", Notifier().notify) as qmp,
        pytest.raises(QmpError, match="greeting within"),
    ):
        qmp.connect(ours, Deadline.after(0.05))


def test_events_are_kept_in_order_and_notify(tmp_path: Path) -> None:
    notifier = Notifier()
    with monitor(tmp_path, notifier) as (qmp, server):
        server.event("STOP")
        server.event("SHUTDOWN", guest=True, reason="guest-reset")
        events = notifier.wait_for(lambda: len(qmp.events) == 2 or None, Deadline.after(60))
        assert events
        assert qmp.events == (
            Event("STOP", {}),
            Event("SHUTDOWN", {"guest": True, "reason": "guest-reset"}),
        )
        assert qmp.events[1].reason == "guest-reset"
        assert qmp.events[1].seconds == 1.5


def test_the_end_of_the_connection_notifies(tmp_path: Path) -> None:
    notifier = Notifier()
    with monitor(tmp_path, notifier, quit=hang_up) as (qmp, _):
        assert not qmp.closed
        qmp.quit(Deadline.after(60))
        assert notifier.wait_for(lambda: qmp.closed or None, Deadline.after(60))
