# SPDX-License-Identifier: GPL-2.0
"""gdb's command line, and its signals."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import vm_parts

from testbed.arch import ARCHES, host_uname
from testbed.cli.gdb import LAYER, gdb_argv, ignore_sigint


def write_system_map(folder: Path, *names: str) -> None:
    lines = [f"ffffffff8113c1{number:02x} T {name}" for number, name in enumerate(names)]
    (folder / "System.map").write_text("\n".join(lines) + "\n")


def breakpoints(argv: list[str]) -> list[str]:
    return [word.removeprefix("break ") for word in argv if word.startswith("break ")]


def test_the_default_breakpoints_are_functions_that_have_symbols(tmp_path: Path) -> None:
    write_system_map(tmp_path, *LAYER[1:], "do_mmap")
    argv = gdb_argv(vm_parts.kernel(path=tmp_path), Path("/tmp/stub"))
    assert breakpoints(argv) == list(LAYER[1:])
    assert argv[-1] == str(tmp_path / "vmlinux")
    assert argv.index("target remote /tmp/stub") < argv.index(f"break {LAYER[1]}")


def test_breakpoints_of_the_user_replace_the_default(tmp_path: Path) -> None:
    argv = gdb_argv(vm_parts.kernel(path=tmp_path), Path("stub"), ("do_mmap", "nowhere"))
    assert breakpoints(argv) == ["do_mmap", "nowhere"]


@pytest.mark.parametrize("name", ARCHES)
def test_another_architecture_needs_gdb_multiarch(tmp_path: Path, name: str) -> None:
    argv = gdb_argv(vm_parts.kernel(name, tmp_path), Path("stub"), ("do_mmap",))
    native = ARCHES[name].uname == host_uname()
    assert argv[0] == ("gdb" if native else "gdb-multiarch")


def test_the_testbed_ignores_an_interrupt_while_gdb_runs() -> None:
    before = signal.getsignal(signal.SIGINT)
    with ignore_sigint():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before
