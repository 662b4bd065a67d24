# SPDX-License-Identifier: GPL-2.0
"""Commands on the host end with the testbed, and their errors name the cause."""

from __future__ import annotations

import os
import pwd
import signal
import sys
from pathlib import Path

import pytest
from waiting import wait_for_end

from testbed.deadline import Deadline
from testbed.errors import CommandError, InfraError, SetupError
from testbed.process import check_output, run, spawn, user_name, wait_any
from testbed.settings import CHECKOUT

# A child of the test. It starts a long sleep through the testbed and prints its pid.
STARTER = """
from pathlib import Path
from testbed.process import spawn
with spawn(["sleep", "600"], log=Path("{log}")) as child:
    print(child.pid, flush=True)
    input()
"""


def test_run_returns_output_and_status() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2; exit 3"], ok=(3,))
    assert (done.status, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_failure_shows_the_status_the_last_lines_and_the_command() -> None:
    with pytest.raises(CommandError) as caught:
        run(["sh", "-c", "echo the cause >&2; exit 7"])
    text = str(caught.value)
    assert "status 7" in text
    assert "the cause" in text
    assert "command: sh -c" in text


def test_a_missing_tool_is_an_error() -> None:
    with pytest.raises(SetupError, match="no-such-tool is not installed"):
        check_output(["no-such-tool"])


def test_a_command_past_its_deadline_is_ended() -> None:
    with pytest.raises(CommandError, match=r"did not end within 0\.2 s"):
        run(["sleep", "600"], deadline=Deadline.after(0.2))


def test_a_logged_command_passes_on_each_line(tmp_path: Path) -> None:
    lines: list[str] = []
    log = tmp_path / "log"
    run(["sh", "-c", "echo one; echo two >&2"], log=log, on_line=lines.append)
    assert lines == ["one", "two"]
    assert log.read_text() == "one\ntwo\n"


def test_processes_that_a_command_leaves_behind_end_with_it() -> None:
    pid = int(check_output(["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"]))
    wait_for_end(pid)


def test_a_log_that_cannot_be_written_is_an_error_of_the_host_and_not_a_hang() -> None:
    flood = ["sh", "-c", "yes | head -c 1000000; exit 1"]
    with pytest.raises(InfraError, match=r"cannot write /dev/full: No space left on device"):
        run(flood, log=Path("/dev/full"), deadline=Deadline.after(300))


def test_a_spawned_child_is_gone_after_its_block(tmp_path: Path) -> None:
    with spawn(["sleep", "600"], log=tmp_path / "log") as child:
        assert child.returncode is None
    wait_for_end(child.pid)


def test_the_first_of_several_children_to_end_is_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with spawn(["sleep", "600"], log=log) as slow, spawn(["sh", "-c", "exit 3"], log=log) as quick:
        assert wait_any([slow, quick]) == [quick]
        assert quick.returncode == 3
        assert wait_any([slow, quick]) == [quick]  # it has ended before
        slow.kill()
        assert wait_any([slow]) == [slow]


def test_a_spawned_child_dies_when_the_testbed_is_killed(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    stdin_reader, stdin_writer = os.pipe()
    script = STARTER.format(log=tmp_path / "log")
    starter = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", script],
        {**os.environ, "PYTHONPATH": str(CHECKOUT)},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_DUP2, stdin_reader, 0),
        ],
    )
    os.close(writer)
    with os.fdopen(reader) as answers:
        child = int(answers.readline())
    os.kill(starter, signal.SIGKILL)
    os.waitpid(starter, 0)
    for fd in (stdin_reader, stdin_writer):
        os.close(fd)
    wait_for_end(child)


def test_a_user_may_lack_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert user_name() == str(os.getuid())
