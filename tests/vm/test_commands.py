# SPDX-License-Identifier: GPL-2.0
"""The commands that use a VM, from the command line."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pexpect
import pytest

from testbed.cli.gdb import gdb_argv
from testbed.deadline import Deadline
from testbed.lab.prepared import PreparedKernel
from testbed.process import run, spawn
from testbed.settings import CHECKOUT

Command = Callable[..., list[str]]

# Seconds for a VM to boot, run its tests and end, on a busy host.
PATIENCE = 1800


@contextmanager
def terminal(words: list[str]) -> Iterator[pexpect.spawn[str]]:
    """Run a command on a terminal; it is killed when the block ends."""
    # The terminal is wide, so that it does not break long lines.
    child = pexpect.spawn(
        words[0], words[1:], timeout=PATIENCE, encoding="utf-8", dimensions=(24, 4000)
    )
    with ExitStack() as stack:
        stack.callback(child.close, force=True)
        yield child


@pytest.fixture
def pytest_words(command: Command) -> Command:
    """Return a function that makes the argv of pytest for the kernel under test."""

    def words(*more: str) -> list[str]:
        testbed, _, *options = command("run")
        program = str(Path(testbed).with_name("pytest"))
        return [program, "-c", str(CHECKOUT / "pyproject.toml"), *options, *more]

    return words


def test_shell_runs_a_command_in_the_guest(prepared: PreparedKernel, command: Command) -> None:
    done = run(command("shell", "--", "uname", "-r"))
    assert done.stdout.splitlines()[-1] == prepared.kernel.release


def test_shell_exits_with_the_status_of_its_command(command: Command) -> None:
    assert run(command("shell", "--", "false"), ok=range(256)).status == 1


def test_shell_loads_the_test_modules(command: Command) -> None:
    loaded = run(command("shell", "--", "lsmod")).stdout
    assert "mmap_stack" in loaded
    assert "mmap_ring" in loaded


def test_shell_shares_a_folder_that_the_guest_cannot_write_to(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "note").write_text("by the host")
    look = ("sh", "-c", "cat /mnt/note; echo by the guest >/mnt/note")
    done = run(command("shell", "--share", str(tmp_path), "--", *look), ok=range(256))
    assert "by the host" in done.stdout
    assert "Read-only file system" in done.stderr
    assert (tmp_path / "note").read_text() == "by the host"


def test_shell_on_the_console_also_shows_kernel_messages(
    prepared: PreparedKernel, command: Command
) -> None:
    with terminal(command("shell", "--console")) as console:
        console.expect_exact("testbed: ready")
        # The echo of the typed line must not match, so it differs from the output.
        console.sendline("echo release=$(uname -r)")
        console.expect_exact(f"release={prepared.kernel.release}")
        console.send("\x01x")  # Ctrl-A x
        console.expect(pexpect.EOF)


FAILING = """
def test_it(guest):
    guest.session.check(["touch", "/tmp/a-trace"])
    raise AssertionError("on purpose")
"""


def test_keep_holds_the_vm_of_a_failed_test_until_the_user_continues(
    pytest_words: Command, tmp_path: Path
) -> None:
    test = tmp_path / "test_failing.py"
    test.write_text(FAILING)
    with terminal(pytest_words(str(test), "--keep")) as session:
        session.expect(r"log in: (ssh [^\r\n]*)")
        assert isinstance(session.match, re.Match)
        login = shlex.split(session.match[1])
        assert run([*login, "ls", "/tmp"]).stdout == "a-trace\n"
        session.sendline("")
        session.expect_exact("1 failed")
        session.expect(pexpect.EOF)
    assert run([*login, "true"], ok=range(256)).status != 0


def test_keep_is_refused_without_a_terminal(pytest_words: Command, tmp_path: Path) -> None:
    # run() starts its child in a new session, without a terminal.
    done = run(pytest_words(str(tmp_path), "--keep"), ok=range(256))
    assert done.status == pytest.ExitCode.USAGE_ERROR
    assert "--keep needs a terminal to wait for Enter" in done.stderr
    assert "hint: omit --keep" in done.stderr


def test_boot_prints_a_command_line_without_booting(
    prepared: PreparedKernel, command: Command
) -> None:
    shown = run(command("boot", "--print")).stdout
    assert f"qemu-system-{prepared.arch.qemu}" in shown
    assert str(prepared.kernel.image) in shown


def test_gdb_is_attached_with_breakpoints_on_the_layer(
    prepared: PreparedKernel, command: Command
) -> None:
    program = gdb_argv(prepared.kernel, Path("stub"))[0]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    # When gdb ends, it kills the guest that it has stopped.
    shown = run(command("gdb", "--", "-batch", "-ex", "info breakpoints")).stdout
    assert "<compat_vma_mmap" in shown
    assert "<__compat_vma_mmap" in shown


def test_build_prints_the_path_of_the_kernel(prepared: PreparedKernel, command: Command) -> None:
    shown = run(command("build")).stdout
    assert prepared.kernel.release in shown
    assert str(prepared.image.path) in shown


def test_doctor_finds_what_a_run_needs(command: Command) -> None:
    done = run(command("doctor"), ok=range(256))
    assert done.status == 0, done.stdout


def test_two_runs_at_once_do_not_disturb_each_other(command: Command, tmp_path: Path) -> None:
    sample = ("-k", "test_guest_runs_the_kernel or test_pages_come_from")
    with ExitStack() as stack:
        runs = [
            stack.enter_context(
                spawn(command("run", *sample, results=name), log=tmp_path / f"{name}.log")
            )
            for name in ("one", "two")
        ]
        assert [testbed.wait(Deadline.after(PATIENCE)) for testbed in runs] == [0, 0]
