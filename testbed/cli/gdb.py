# SPDX-License-Identifier: GPL-2.0
"""`testbed gdb`: debugs a guest through QEMU's gdb stub."""

from __future__ import annotations

import shlex
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from testbed.arch import Arch, host_uname
from testbed.cli.invocation import Invocation, booted, opened
from testbed.cli.options import kernel_options, share_option
from testbed.deadline import Deadline
from testbed.errors import SetupError
from testbed.kernel.request import Kernel
from testbed.lab.guest import Guest
from testbed.lab.login import ssh_argv
from testbed.process import find_tool, interact

# The functions of the layer (mm/vma.c, mm/util.c), in the order in which a nested mmap calls them.
LAYER = (
    "call_mmap_prepare",
    "compat_vma_mmap",
    "compat_set_desc_from_vma",
    "__compat_vma_mmap",
    "mmap_action_prepare",
    "mmap_action_complete",
)

# Seconds for QEMU to open a socket.
_PATIENCE = 10.0


@click.command()
@kernel_options
@share_option
@click.option(
    "--break", "breakpoints", multiple=True, metavar="FUNCTION",
    help="Set a breakpoint on FUNCTION; may be repeated. Default: the functions of the layer, "
    f"unless the compiler inlined them: {', '.join(LAYER)}.",
)  # fmt: skip
@click.argument("words", nargs=-1, metavar="[-- GDB...]")
def gdb(
    breakpoints: tuple[str, ...], words: tuple[str, ...], share: Path | None, **options: Any
) -> None:
    """Boot a kernel and debug it with gdb.

    gdb starts with breakpoints on the functions of the compatibility layer. The command prints how
    to log in; mappings that you make there stop at the breakpoints. The kernel has symbols, but no
    debug information. If gdb is not installed, the command prints gdb's command line, and the guest
    runs until Ctrl-C. Arguments after -- go to gdb.

    \b
    Examples:
      testbed gdb --arch x86_64
      testbed gdb --arch x86_64 --break do_mmap
      testbed gdb --arch arm64 -- -ex continue
    """
    with (
        opened(options) as invocation,
        booted(invocation, invocation.first_kernel(share)) as guest,
        # Not in the folder of results: a socket's path has at most 107 bytes (unix(7)).
        tempfile.TemporaryDirectory(prefix="testbed-gdb-") as folder,
    ):
        stub = Path(folder) / "stub"
        open_stub(guest, stub)
        argv = gdb_argv(guest.prepared.kernel, stub, breakpoints)
        _show(invocation, "log in", ssh_argv(guest))
        try:
            find_tool(argv[0])
        except SetupError:
            _show(invocation, f"{argv[0]} is not installed: apt install {argv[0]}, then run", argv)
            guest.vm.wait_until_gone()
        else:
            with ignore_sigint():
                interact([*argv, *words])


@contextmanager
def ignore_sigint() -> Iterator[None]:
    """Leave Ctrl-C to gdb, which stops the guest. A handler, because gdb would inherit SIG_IGN."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def open_stub(guest: Guest, stub: Path) -> None:
    """Make QEMU listen for gdb. The guest runs until gdb attaches."""
    command = f"gdbserver unix:{stub},server=on,wait=off"
    guest.vm.qmp.execute(
        "human-monitor-command", {"command-line": command}, deadline=Deadline.for_host(_PATIENCE)
    )


def gdb_argv(kernel: Kernel, stub: Path, breakpoints: Sequence[str] = ()) -> list[str]:
    """Return a gdb command line for a kernel: gdb attaches to the stub, which stops the guest.

    An inlined function lacks a symbol. The default list leaves it out. Names that the user gave
    are passed to gdb, which reports unknown ones.
    """
    symbols = set() if breakpoints else _symbols(kernel)
    wanted = breakpoints or tuple(name for name in LAYER if name in symbols)
    # Modules are loaded later, so their functions are unknown now.
    argv = [_program(kernel.arch), "-q", "-ex", "set breakpoint pending on"]
    argv += ["-ex", f"target remote {stub}"]
    for name in wanted:
        argv += ["-ex", f"break {name}"]
    return [*argv, str(kernel.vmlinux)]


def _program(arch: Arch) -> str:
    return "gdb" if arch.uname == host_uname() else "gdb-multiarch"


def _symbols(kernel: Kernel) -> set[str]:
    lines = (kernel.path / "System.map").read_text().splitlines()
    return {line.split()[2] for line in lines}


def _show(invocation: Invocation, what: str, argv: Sequence[str]) -> None:
    invocation.show([f"{what}: {shlex.join(argv)}"])
