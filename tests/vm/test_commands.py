"""The commands around a VM, as a user types them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from testbed.cli.debugger import gdb_argv
from testbed.deadline import Deadline
from testbed.lab.cell import Cell
from testbed.run import run, spawn

Command = Callable[..., list[str]]


def test_shell_runs_a_command_in_the_guest(cell: Cell, command: Command) -> None:
    done = run(command("shell", "--", "uname", "-r"))
    assert done.stdout.splitlines()[-1] == cell.kernel.release


def test_shell_ends_with_the_commands_status(command: Command) -> None:
    assert run(command("shell", "--", "false"), ok=range(256)).status == 1


def test_boot_prints_a_command_line_without_booting(cell: Cell, command: Command) -> None:
    shown = run(command("boot", "--print")).stdout
    assert f"qemu-system-{cell.arch.qemu}" in shown
    assert str(cell.kernel.image) in shown


def test_gdb_is_attached_with_breakpoints_on_the_layer(cell: Cell, command: Command) -> None:
    program = gdb_argv(cell.kernel, Path("stub"))[0]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    # At its end gdb kills the guest that it has stopped.
    shown = run(command("gdb", "--", "-batch", "-ex", "info breakpoints")).stdout
    assert "<compat_vma_mmap" in shown
    assert "<__compat_vma_mmap" in shown


def test_build_tells_where_the_kernel_is(cell: Cell, command: Command) -> None:
    shown = run(command("build")).stdout
    assert cell.kernel.release in shown
    assert str(cell.image.path) in shown


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
        assert [testbed.wait(Deadline.after(120)) for testbed in runs] == [0, 0]
