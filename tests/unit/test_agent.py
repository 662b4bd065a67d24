# SPDX-License-Identifier: GPL-2.0
"""The guest agent, built for this host and used over a socket instead of SSH."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from waiting import stat_of, wait_for_end, wait_for_line

from testbed.deadline import Deadline
from testbed.errors import (
    GuestCommandError,
    GuestFileError,
    GuestTimeout,
    ProbeProtocolError,
    SessionError,
)
from testbed.guest import protocol
from testbed.guest.protocol import Frame, Request
from testbed.guest.session import Session
from testbed.process import check_output, spawn

_SOURCES = Path(__file__).parents[1] / "probes" / "agent"


@dataclass(frozen=True)
class SocketChannel:
    """The agent's stdin and stdout as one socket."""

    sock: socket.socket

    def send(self, data: bytes, deadline: Deadline) -> None:
        self.sock.settimeout(deadline.remaining)
        self.sock.sendall(data)

    def receive(self, deadline: Deadline) -> bytes:
        self.sock.settimeout(max(deadline.remaining, 0.001))
        try:
            data = self.sock.recv(1 << 16)
        except TimeoutError:
            return b""
        if not data:
            raise SessionError("the agent has ended")
        return data


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("agent") / "agent"
    sources = sorted(_SOURCES.glob("*.c"))
    flags = ["-O1", "-Wall", "-Wextra", "-Werror"]
    check_output(["cc", *flags, *sources, "-o", program])
    return program


@pytest.fixture
def channel(agent: Path, tmp_path: Path) -> Iterator[SocketChannel]:
    ours, theirs = socket.socketpair()
    fd = theirs.fileno()
    command = ["bash", "-c", f"exec {agent} <&{fd} >&{fd} {fd}>&-"]
    with ours, spawn(command, log=tmp_path / "agent.log", pass_fds=[fd]):
        theirs.close()
        yield SocketChannel(ours)


@pytest.fixture
def session(channel: SocketChannel) -> Session:
    return Session(channel)


def _soon() -> Deadline:
    return Deadline.after(0.2)


def _begun(session: Session, script: str) -> list[str]:
    """Start a script ahead of its run, and wait until it has closed descriptor 3.

    On a busy host the time of a short run may be over before the shell has begun.
    """
    argv = ["sh", "-c", script]
    session.make_ready(argv)
    session.hello()  # its answer waits for the script
    return argv


def _minor_faults(pid: int) -> int:
    """Return the minor faults of a process (proc_pid_stat(5), minflt)."""
    return int(stat_of(pid)[7])


def _switches(pid: int) -> int:
    """Return how often a process has waited (proc_pid_status(5), voluntary_ctxt_switches)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (each for each in status.splitlines() if each.startswith("voluntary"))
    return int(line.split()[1])


def test_hello_names_the_kernel_and_the_page_size(session: Session) -> None:
    hello = session.hello()
    assert hello.release == os.uname().release
    assert hello.machine == os.uname().machine
    assert hello.page_size == os.sysconf("SC_PAGESIZE")


def test_several_files_are_read_together_and_in_order(session: Session, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    (tmp_path / "two").write_text("2")
    one, missing, two = session.get_all(*(str(tmp_path / name) for name in ("one", "no", "two")))
    assert (one, two) == (b"1", b"2")
    assert isinstance(missing, GuestFileError)
    assert missing.errno == errno.ENOENT
    assert session.hello().pid > 0


def test_the_pace_costs_one_page_fault_per_round(session: Session) -> None:
    pid = session.hello().pid
    faults = _minor_faults(pid)
    assert session.pace(1000) > 0
    assert 1000 <= _minor_faults(pid) - faults < 2000


def test_a_result_has_the_status_and_both_outputs_separately(session: Session) -> None:
    result = session.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (result.status, result.stdout, result.stderr) == (7, b"out\n", b"err\n")
    assert result.signal is None
    assert not result.truncated


def test_the_result_of_a_killed_command_names_the_signal(session: Session) -> None:
    result = session.run(["sh", "-c", "kill -SEGV $$"])
    assert (result.status, result.signal) == (-11, 11)


def test_stdin_env_and_cwd_reach_the_command(session: Session, tmp_path: Path) -> None:
    script = 'cat; echo "$COLOUR"; pwd'
    result = session.run(
        ["sh", "-c", script], stdin=b"in\n", env={"COLOUR": "red"}, cwd=str(tmp_path)
    )
    assert result.out.splitlines() == ["in", "red", str(tmp_path)]


def test_variables_of_one_command_replace_the_agents_and_do_not_stay(session: Session) -> None:
    def shown(**env: str) -> list[str]:
        lines = session.run(["env"], env=env).out.splitlines()
        return sorted(line for line in lines if line.startswith(("PATH=", "PAT=", "COLOUR=")))

    own = shown()
    assert shown(COLOUR="red", PAT="short", PATH="/bin:/usr/bin") == [
        *("COLOUR=red", "PAT=short", "PATH=/bin:/usr/bin")
    ]
    assert shown() == own
    assert len(own) == 1


def test_a_failed_start_leaves_the_agents_directory_and_signals_alone(session: Session) -> None:
    for _ in range(2):
        with pytest.raises(GuestCommandError, match="exec /no/such"):
            session.run(["/no/such"], cwd="/tmp", env={"COLOUR": "red"})
    folder = session.run(["readlink", f"/proc/{session.hello().pid}/cwd"]).out.strip()
    assert folder == str(Path.cwd())
    status = Path(f"/proc/{session.hello().pid}/status").read_text()
    (ignored,) = (line for line in status.splitlines() if line.startswith("SigIgn:"))
    assert int(ignored.split()[1], 16) & 1 << (13 - 1)  # SIGPIPE


def test_a_command_returns_a_megabyte_unchanged(session: Session) -> None:
    data = os.urandom(1 << 20)
    assert session.run(["cat"], stdin=data).stdout == data


def test_a_command_that_ignores_its_input_is_not_an_error(session: Session) -> None:
    assert session.run(["true"], stdin=bytes(1 << 20)).status == 0


def test_a_command_that_cannot_be_started_is_a_distinct_error(session: Session) -> None:
    with pytest.raises(GuestCommandError, match="exec /no/such: No such file") as caught:
        session.run(["/no/such"])
    assert caught.value.status == 127
    with pytest.raises(GuestCommandError, match="chdir /no/such"):
        session.run(["true"], cwd="/no/such")
    assert session.run(["true"]).status == 0


def test_check_raises_with_the_error_output(session: Session) -> None:
    with pytest.raises(GuestCommandError, match="status 3") as caught:
        session.check(["sh", "-c", "echo broken >&2; exit 3"])
    assert caught.value.status == 3
    assert "broken" in caught.value.evidence


def test_a_command_that_hangs_is_killed_with_its_group_and_the_agent_continues(
    session: Session, tmp_path: Path
) -> None:
    script = f"sleep 100 3>&- & echo $! > {tmp_path}/pid; echo begun; exec 3>&-; wait"
    argv = _begun(session, script)
    with pytest.raises(GuestTimeout, match="it was killed") as caught:
        session.run(argv, deadline=_soon())
    assert "begun" in caught.value.evidence
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
    assert session.run(["echo", "alive"]).out == "alive\n"


def test_a_command_that_ignores_sigterm_is_killed_too(session: Session) -> None:
    with pytest.raises(GuestTimeout):
        session.run(["sh", "-c", "trap '' TERM; while :; do sleep 0.01; done"], deadline=_soon())


def test_a_flood_is_cut_and_the_command_still_ends_by_itself(session: Session) -> None:
    result = session.run(["sh", "-c", "head -c 3000000 /dev/zero; exit 5"], limit=1000)
    assert (len(result.stdout), result.truncated, result.status) == (1000, True, 5)


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1, 5 << 20])
@pytest.mark.parametrize("descriptor", [1, 2])
def test_an_output_as_long_as_the_pipe_and_longer_arrives_whole(
    session: Session, size: int, descriptor: int
) -> None:
    script = f"head -c {size} /dev/zero | tr '\\0' x >&{descriptor}; exit 5"
    result = session.run(["sh", "-c", script], limit=8 << 20)
    outputs = (result.stdout, result.stderr)
    assert outputs[descriptor - 1] == b"x" * size
    assert outputs[2 - descriptor] == b""
    assert (result.status, result.truncated) == (5, False)


def test_both_outputs_may_be_longer_than_their_pipes(session: Session) -> None:
    script = "head -c 3000000 /dev/zero & head -c 3000000 /dev/zero >&2; wait; exit 6"
    result = session.run(["sh", "-c", script], limit=8 << 20)
    assert (len(result.stdout), len(result.stderr)) == (3_000_000, 3_000_000)
    assert (result.status, result.truncated) == (6, False)


@pytest.mark.parametrize(("limit", "cut"), [(999, True), (1000, False)])
def test_an_output_is_cut_only_beyond_the_limit(session: Session, limit: int, cut: bool) -> None:
    result = session.run(["sh", "-c", "head -c 1000 /dev/zero; exit 5"], limit=limit)
    assert (len(result.stdout), result.truncated, result.status) == (limit, cut, 5)


def test_the_output_of_a_killed_command_arrives_up_to_its_last_line(session: Session) -> None:
    result = session.run(["sh", "-c", "echo one; echo two >&2; kill -KILL $$"])
    assert (result.signal, result.stdout, result.stderr) == (9, b"one\n", b"two\n")


def test_an_output_in_pieces_over_a_longer_time_arrives_in_order(session: Session) -> None:
    script = "for n in 1 2 3 4 5; do echo $n; sleep 0.06; done"
    assert session.run(["sh", "-c", script]).out.split() == ["1", "2", "3", "4", "5"]


def test_a_timeout_shows_the_output_that_was_in_the_pipe(session: Session) -> None:
    argv = _begun(session, "echo begun; echo trouble >&2; exec 3>&-; sleep 100")
    with pytest.raises(GuestTimeout) as caught:
        session.run(argv, deadline=Deadline.after(0.05))
    assert caught.value.evidence == "begun\ntrouble\n"


def test_an_output_does_not_wake_the_agent_line_by_line(session: Session) -> None:
    pid = session.hello().pid
    session.run(["true"])
    woken = _switches(pid)
    script = "for n in $(seq 300); do echo $n; sleep 0.002; done"
    result = session.run(["sh", "-c", script], deadline=Deadline.after(600))
    assert len(result.out.split()) == 300
    # It looks by itself ten times a second, and a slow host takes long for the lines.
    assert _switches(pid) - woken < 150 + 10 * result.seconds


def test_an_endless_flood_ends_at_the_timeout(session: Session) -> None:
    with pytest.raises(GuestTimeout):
        session.run(["yes"], limit=1000, deadline=_soon())
    assert session.run(["true"]).status == 0


def test_a_background_process_that_holds_the_pipes_does_not_delay_the_answer(
    session: Session,
) -> None:
    result = session.run(["sh", "-c", "sleep 100 & echo done"])
    assert (result.out, result.leftovers) == ("done\n", True)
    assert not session.run(["true"]).leftovers


def test_a_process_that_left_the_group_and_floods_does_not_delay_the_answer(
    session: Session,
) -> None:
    result = session.run(["sh", "-c", "setsid timeout 2 yes & sleep 0.05; echo $!"], limit=1000)
    assert result.status == 0
    assert session.run(["true"]).status == 0


def test_a_command_that_closes_its_outputs_is_waited_for(session: Session) -> None:
    result = session.run(["sh", "-c", "exec >&- 2>&- <&-; sleep 0.05; exit 4"])
    assert (result.status, result.stdout) == (4, b"")


def test_a_command_does_not_inherit_the_agents_descriptors(session: Session) -> None:
    # ls itself opens the directory: descriptor 3.
    assert session.run(["ls", "/proc/self/fd"]).out.split() == ["0", "1", "2", "3"]


def test_a_command_that_writes_to_every_descriptor_does_not_disturb_the_answers(
    session: Session,
) -> None:
    script = "for fd in 3 4 5 6 7 8 9; do echo noise >&$fd; done 2>/dev/null; exit 0"
    assert session.run(["sh", "-c", script]).stdout == b""
    assert session.hello().pid > 0


@dataclass(frozen=True)
class Early:
    """A command that records its start, then waits for its input."""

    session: Session
    folder: Path

    @property
    def argv(self) -> list[str]:
        script = f"sleep 0.05; echo $$ >> {self.folder}/started; exec 3>&-; cat"
        return ["sh", "-c", script]

    @property
    def started(self) -> list[str]:
        """The pids of the started commands. The agent reads them: no other command runs then."""
        return self.session.get(str(self.folder / "started")).decode().split()


@pytest.fixture
def early(session: Session, tmp_path: Path) -> Early:
    return Early(session, tmp_path)


def test_a_command_that_is_ready_gets_the_input_of_the_next_run(early: Early) -> None:
    early.session.make_ready(early.argv)
    pids = early.started
    result = early.session.run(early.argv, stdin=b"in")
    assert result.stdout == b"in"
    assert [str(result.pid)] == pids == early.started


def test_a_run_makes_the_next_one_ready_on_request(early: Early) -> None:
    first = early.session.run(early.argv, stdin=b"1", again=True)
    assert len(early.started) == 2
    second = early.session.run(early.argv, stdin=b"2")
    assert early.started == [str(first.pid), str(second.pid)]
    assert (first.stdout, second.stdout) == (b"1", b"2")


def test_a_command_that_gets_ready_late_on_a_busy_host_is_kept(
    session: Session, tmp_path: Path
) -> None:
    # The agent once gave it up after 10 s: less memory was in use then, and tests were accused.
    argv = ["sh", "-c", f"echo $$ > {tmp_path}/started; sleep 10.2; exec 3>&-; cat"]
    session.make_ready(argv)
    ready = int(session.get(str(tmp_path / "started")))
    assert session.run(argv, stdin=b"in").pid == ready


def test_an_agent_ends_with_its_peer_while_a_command_gets_ready(
    session: Session, channel: SocketChannel, tmp_path: Path
) -> None:
    agent, started = session.hello().pid, tmp_path / "started"
    session.make_ready(["sh", "-c", f"echo $$ > {started}; exec sleep 600"])
    pid = int(wait_for_line(started))
    channel.send(
        protocol.encode_frame(Frame(Request.HELLO, 9, protocol.hello_request(b""))), _soon()
    )
    assert channel.receive(_soon()) == b""  # it waits
    channel.sock.close()
    wait_for_end(agent, pid)


def test_a_different_command_does_not_use_the_one_that_is_ready(early: Early) -> None:
    early.session.make_ready(early.argv)
    (ready,) = map(int, early.started)
    assert early.session.run(early.argv, env={"A": "b"}).pid != ready
    assert early.session.run(early.argv, cwd="/tmp").pid != ready
    assert early.session.run(["cat"], stdin=b"cat").stdout == b"cat"
    assert early.session.run(early.argv).pid == ready


def test_a_ready_command_that_died_is_started_again(early: Early) -> None:
    early.session.make_ready(early.argv)
    first = early.started[0]
    dead = f"grep -q 'State:.Z' /proc/{first}/status"
    early.session.check(["sh", "-c", f"kill -KILL {first}; until {dead}; do :; done"])
    result = early.session.run(early.argv, stdin=b"in")
    assert (result.stdout, result.pid != int(first)) == (b"in", True)


def test_only_one_command_is_ready(early: Early) -> None:
    for _ in range(2):
        early.session.make_ready(early.argv)
    first, second = early.started[-2:] if len(early.started) == 2 else ("", early.started[0])
    assert str(early.session.run(early.argv).pid) == second
    assert not first or not Path(f"/proc/{first}").exists()


def test_a_command_that_cannot_be_made_ready_is_an_error(session: Session) -> None:
    with pytest.raises(GuestFileError, match="exec /no/such"):
        session.make_ready(["/no/such"])
    assert session.run(["true"], again=True).status == 0
    assert session.run(["true"]).status == 0


def test_a_file_keeps_its_content_and_mode(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "file"
    data = os.urandom(300_000)
    session.put(data, str(path), mode=0o750)
    assert session.get(str(path)) == data
    assert path.stat().st_mode & 0o777 == 0o750
    assert sorted(os.listdir(tmp_path)) == ["agent.log", "file"]


def test_a_file_that_cannot_be_put_leaves_nothing_behind(session: Session, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    with pytest.raises(GuestFileError, match="Is a directory") as caught:
        session.put(b"x", str(tmp_path / "dir"))
    assert caught.value.path == str(tmp_path / "dir")
    assert sorted(os.listdir(tmp_path)) == ["agent.log", "dir"]


def test_a_file_longer_than_the_limit_is_an_error(session: Session) -> None:
    with pytest.raises(GuestFileError, match="longer than 10 bytes"):
        session.get("/proc/self/status", limit=10)


def test_a_file_of_proc_whose_size_is_zero_is_read_whole(session: Session) -> None:
    assert session.get("/proc/version") == Path("/proc/version").read_bytes()


def test_a_missing_file_gives_the_guests_errno(session: Session) -> None:
    with pytest.raises(GuestFileError) as caught:
        session.get("/no/such")
    assert caught.value.errno == 2


def test_writes_are_done_in_order_up_to_the_first_failure(session: Session, tmp_path: Path) -> None:
    first, last = tmp_path / "first", tmp_path / "last"
    first.touch()
    last.touch()
    with pytest.raises(GuestFileError, match="write /no/such"):
        session.write((str(first), b"1"), ("/no/such", b"2"), (str(last), b"3"))
    assert (first.read_bytes(), last.read_bytes()) == (b"1", b"")


def test_an_unknown_request_is_answered_with_an_error(channel: SocketChannel) -> None:
    answer = _ask(channel, protocol.encode_frame(Frame(99, 5, b"")))
    assert answer == Frame(0xFFFF, 5, answer.payload)
    assert b"unknown request" in answer.payload
    Session(channel).hello()


def test_a_malformed_request_is_answered_with_an_error(channel: SocketChannel) -> None:
    whole = protocol.run_request(["true"], cwd="/", env={}, stdin=b"", timeout=1, limit=1)
    for payload in (b"", whole[:-1], whole + b"x", struct.pack("!I", 0xFFFFFFFF) * 9):
        answer = _ask(channel, protocol.encode_frame(Frame(Request.RUN, 1, payload)))
        assert b"malformed request" in answer.payload
    Session(channel).hello()


def test_a_list_that_claims_more_than_it_holds_allocates_nothing(channel: SocketChannel) -> None:
    payload = struct.pack("!III", 1, 1, 1) + b"\0\0\0\x02/\0" + struct.pack("!I", 1 << 30)
    answer = _ask(channel, protocol.encode_frame(Frame(Request.RUN, 1, payload)))
    assert b"malformed request" in answer.payload


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(struct.pack("!IHHII", 0xDEAD, 1, 1, 1, 0), id="another magic"),
        pytest.param(struct.pack("!IHHII", protocol.MAGIC, 2, 1, 1, 0), id="another version"),
        pytest.param(struct.pack("!IHHII", protocol.MAGIC, 1, 1, 1, 1 << 31), id="too long"),
    ],
)
def test_bytes_that_are_not_a_frame_end_the_agent_after_an_answer(
    channel: SocketChannel, header: bytes
) -> None:
    assert b"not a frame" in _ask(channel, header).payload
    with pytest.raises(SessionError, match="has ended"):
        channel.receive(Deadline.after(60))


def test_a_refused_request_is_a_protocol_error(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "hello_request", lambda nonce: b"")
    with pytest.raises(ProbeProtocolError, match="malformed request"):
        session.hello()


def _ask(channel: SocketChannel, request: bytes) -> Frame:
    reader = protocol.FrameReader()
    channel.send(request, Deadline.after(60))
    while (frame := reader.next_frame()) is None:
        reader.feed(channel.receive(Deadline.after(60)))
    return frame


def test_a_missing_module_gives_the_guests_errno(session: Session) -> None:
    with pytest.raises(GuestFileError) as loading:
        session.load_module("/nowhere.ko")
    with pytest.raises(GuestFileError) as unloading:
        session.unload_module("no_such_module")
    assert loading.value.errno == errno.ENOENT
    # In this order: as root on a kernel with modules, as a user, on a kernel without modules.
    assert unloading.value.errno in (errno.ENOENT, errno.EPERM, errno.ENOSYS)
