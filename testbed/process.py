# SPDX-License-Identifier: GPL-2.0
"""Commands on the host. The only module that uses subprocess.

Every child leads its own process group. Ctrl-C thus reaches only the testbed,
which then ends the whole group. A child also dies when the testbed is killed
outright: the kernel sends it a signal (prctl(2), PR_SET_PDEATHSIG). The kernel
does so when the *thread* that spawned the child ends, so one thread that lives
as long as the process spawns all children.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import select
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from testbed.deadline import Deadline
from testbed.errors import CommandError, InfraError, SetupError

logger = logging.getLogger(__name__)

Argv = Sequence[str | os.PathLike[str]]

_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")

# Debian installs tools such as depmod in folders that a user's PATH lacks.
SYSTEM_PATH = ":/usr/sbin:/sbin"

# All that a child with `alone` inherits: where tools, git's settings and scratch space are.
_INHERITED = ("HOME", "TMPDIR")

# Seconds in which a group may end after SIGTERM. make needs them to remove half-made targets.
_TERM_GRACE = 10.0

_EVIDENCE_LINES = 15

# Runs after the death signal is set, and so notices a parent that died before that.
_IF_PARENT_LIVES = '[ "$PPID" = "$0" ] && exec "$@"'


@dataclass(frozen=True)
class Completed:
    """A command that has ended. With a log, `stdout` is empty and the log has all output."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str


def find_tool(name: str, *, package: str = "") -> str:
    """Return the absolute path of a tool on PATH.

    Raises:
        SetupError: it is not installed; the hint names its Debian package.
    """
    path = shutil.which(name, path=_path())
    if path is None:
        raise SetupError(f"{name} is not installed", hint=f"apt install {package or name}")
    return path


def user_name() -> str:
    """Return the name of the user. In a container the user may have a number only."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def check_output(
    argv: Argv,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    deadline: Deadline | None = None,
) -> str:
    """Return the stdout of a command. Raises CommandError unless its exit status is 0."""
    return run(argv, cwd=cwd, env=env, deadline=deadline).stdout


def run(
    argv: Argv,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    alone: bool = False,
    deadline: Deadline | None = None,
    log: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    stdin: bytes | None = None,
    ok: Sequence[int] = (0,),
) -> Completed:
    """Run a command to its end.

    With `log`, stdout and stderr are both appended there, and `on_line` gets each
    line as it comes. Otherwise both are captured.

    Args:
        env: variables to add to the testbed's own environment, or to override there.
        alone: of the testbed's own environment, the command gets only PATH, HOME and TMPDIR.
        ok: exit statuses that count as success.

    Raises:
        SetupError: the tool is not installed.
        CommandError: another exit status, or the deadline passed.
        InfraError: `log` cannot be written.
    """
    words = _words(argv)
    logger.debug("run: %s", shlex.join(words))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT if log else subprocess.PIPE}
    source = subprocess.PIPE if stdin is not None else subprocess.DEVNULL
    environment = _environment(env, alone=alone)
    with _child(
        words, death=signal.SIGTERM, env=environment, cwd=cwd, stdin=source, **pipes
    ) as process:
        try:
            out, err = _collect(process, stdin, log, on_line, deadline)
        except subprocess.TimeoutExpired as exc:
            message = f"{words[0]} did not end within {deadline}"
            raise CommandError(message, argv=words, logs=_logs(log), status=-1) from exc
    if process.returncode not in ok:
        tail = (err or out) if log is None else log.read_text(errors="replace")
        evidence = "\n".join(tail.splitlines()[-_EVIDENCE_LINES:])
        message = f"{words[0]} ended with {_status_text(process.returncode)}"
        raise CommandError(
            message, evidence=evidence, argv=words, status=process.returncode, logs=_logs(log)
        )
    return Completed(tuple(words), process.returncode, out, err)


@dataclass
class Process:
    """A running child; `returncode` is None while it lives."""

    argv: tuple[str, ...]
    popen: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def returncode(self) -> int | None:
        return self.popen.poll()

    def wait(self, deadline: Deadline) -> int | None:
        """Return the exit status, or None when the deadline passes first."""
        try:
            return self.popen.wait(deadline.remaining)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Kill it at once, with all that it started."""
        _signal_group(self.popen, signal.SIGKILL)


@contextmanager
def spawn(
    argv: Argv,
    *,
    log: Path,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
) -> Iterator[Process]:
    """Run a child beside the testbed; it is gone when the block ends.

    Its output goes to `log`. The kernel kills it when the testbed dies.

    Raises:
        SetupError: the tool is not installed.
    """
    words = _words(argv)
    logger.debug("spawn: %s", shlex.join(words))
    with (
        log.open("ab") as sink,
        _child(
            words,
            death=signal.SIGKILL,
            env=_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            pass_fds=tuple(pass_fds),
        ) as popen,
    ):
        yield Process(tuple(words), popen)


def wait_any(processes: Sequence[Process], seconds: float | None = None) -> list[Process]:
    """Wait until at least one of these children has ended. Return those that have.

    With `seconds`, wait for no longer, and perhaps return none.
    """
    with contextlib.ExitStack() as stack:
        ends = []
        for process in processes:
            if process.returncode is not None:
                return [each for each in processes if each.returncode is not None]
            # Until its status is read, the number of a process is not used again.
            ends.append(os.pidfd_open(process.pid))
            stack.callback(os.close, ends[-1])
        select.select(ends, [], [], seconds)
        return [each for each in processes if each.returncode is not None]


def interact(argv: Argv, *, env: Mapping[str, str] | None = None) -> int:
    """Give the terminal to a command until it ends. Return its exit status."""
    return subprocess.call(_words(argv), env=_environment(env))


def _words(argv: Argv) -> list[str]:
    words = [os.fspath(word) for word in argv]
    find_tool(words[0])
    return words


def _environment(env: Mapping[str, str] | None, *, alone: bool = False) -> dict[str, str]:
    names = [name for name in _INHERITED if name in os.environ] if alone else list(os.environ)
    # The testbed parses some messages: C.UTF-8 keeps them in English, unless LANGUAGE is set.
    english = {"LC_ALL": "C.UTF-8", "LANGUAGE": ""}
    return {**{name: os.environ[name] for name in names}, "PATH": _path(), **english, **(env or {})}


def _path() -> str:
    return os.environ.get("PATH", os.defpath) + SYSTEM_PATH


@contextmanager
def _child(
    words: list[str], *, death: signal.Signals, env: dict[str, str], **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    guard = ["sh", "-c", _IF_PARENT_LIVES, str(os.getpid())]
    argv = ["setpriv", "--pdeathsig", death.name.removeprefix("SIG"), "--", *guard, *words]
    options |= {"env": env, "start_new_session": True}
    future = _SPAWNER.submit(_popen, argv, options)
    try:
        process = future.result()
    except BaseException:
        # An interrupt came while the spawner was working: do not lose the child.
        future.add_done_callback(_end_unclaimed)
        raise
    try:
        yield process
    finally:
        _end(process)


def _popen(argv: list[str], options: dict[str, Any]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, **options)


def _end_unclaimed(future: Future[subprocess.Popen[bytes]]) -> None:
    if not future.cancelled() and future.exception() is None:
        _end(future.result())


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the child's whole process group."""
    try:
        if process.poll() is None:
            _signal_group(process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_TERM_GRACE)
    finally:
        _signal_group(process, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _collect(
    process: subprocess.Popen[bytes],
    stdin: bytes | None,
    log: Path | None,
    on_line: Callable[[str], None] | None,
    deadline: Deadline | None,
) -> tuple[str, str]:
    timeout = None if deadline is None else deadline.remaining
    if log is None:
        out, err = process.communicate(stdin, timeout)
        return out.decode(errors="replace"), err.decode(errors="replace")
    assert process.stdout is not None
    failures: list[OSError] = []
    words = (process.stdout, log, on_line, failures)
    reader = threading.Thread(target=_tee, args=words, daemon=True)
    reader.start()
    process.wait(timeout)
    # Processes that the child left behind may hold the pipe open: they end with the group.
    reader.join(None if deadline is None else deadline.remaining)
    if failures:
        raise InfraError(f"cannot write {log}: {failures[0].strerror}", hint="free some space")
    return "", ""


def _tee(
    pipe: IO[bytes], log: Path, on_line: Callable[[str], None] | None, failures: list[OSError]
) -> None:
    with log.open("ab", buffering=0) as sink:
        for line in pipe:
            # Read on when the disk is full: a child that writes to an unread pipe waits for ever.
            try:
                if not failures:
                    sink.write(line)
            except OSError as error:
                failures.append(error)
            if on_line is not None:
                on_line(line.decode(errors="replace").rstrip("\n"))


def _logs(log: Path | None) -> tuple[Path, ...]:
    return () if log is None else (log,)


def _status_text(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    return f"signal {signal.Signals(-status).name}"
