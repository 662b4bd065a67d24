# SPDX-License-Identifier: GPL-2.0
"""The life of a VM, from its start to its end."""

from __future__ import annotations

import logging
import shlex
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from testbed.deadline import Deadline, host_slowness
from testbed.errors import (
    BootHang,
    BootNoSsh,
    BootPanic,
    LaunchError,
    QmpError,
    SetupError,
    TestbedError,
)
from testbed.process import Process, spawn
from testbed.vm.backtrace import show_processors
from testbed.vm.console import Console, make_room, open_console
from testbed.vm.migration import load_state, save_state
from testbed.vm.notifier import Notifier
from testbed.vm.phase import Phase, Snapshot, find_panic, judge, last_lines, panic_text
from testbed.vm.qemu import (
    Channels,
    Template,
    VmSpec,
    command_by_hand,
    find_qemu,
    parse_connections,
    parse_ssh_port,
    qemu_argv,
)
from testbed.vm.qmp import Qmp, open_qmp
from testbed.vm.reseed import reseed
from testbed.vm.symbols import SymbolTable, kernel_functions

__all__ = ["VirtualMachine", "VmSpec", "boot", "clone"]

logger = logging.getLogger(__name__)

# Seconds for work of QEMU alone on a loaded host; the guest has no part in it.
_QMP_PATIENCE = 10.0
_QUIT_PATIENCE = 5.0

# Seconds from a panic to the machine's reset: its text first passes a slow serial port.
_END_PATIENCE = 5.0

# Seconds of one try to see an SSH server. slirp accepts every connection, even if the guest does
# not.
_BANNER_PATIENCE = 3.0
_BANNER_PAUSE = 0.1
_SSH_BANNER = b"SSH-2.0"

E = TypeVar("E", bound=TestbedError)


@dataclass
class VirtualMachine:
    """A QEMU process and the channels to it."""

    spec: VmSpec
    argv: tuple[str, ...]
    process: Process
    console: Console
    qmp: Qmp
    reseed_port: socket.socket = field(repr=False)
    notifier: Notifier = field(repr=False)
    ssh_port: int = 0  # on 127.0.0.1
    slowdown: float = 0.0  # factor by which the guest is slower than usual; 0: not measured yet

    def why_dead(self) -> str | None:
        """Return what ended the guest; None while it lives."""
        phase = self._phase()
        if phase is Phase.PANICKED:
            return f"{phase}: {find_panic(self.console.text())}"
        if phase is Phase.QEMU_DIED:
            return f"{phase}, {self._exit_status()}"
        return str(phase) if phase.is_end else None

    def wait_until_gone(self) -> str:
        """Wait until the guest ends. Return what ended it."""
        reason = self.notifier.wait_for(self.why_dead, None)
        assert reason is not None
        return reason

    def connect(self, deadline: Deadline, sock: socket.socket) -> None:
        """Connect to the monitor, and read the SSH port from it.

        Raises:
            LaunchError: QEMU has ended; the evidence is its output.
        SetupError: it has ended, and has arguments of the user.
            BootPanic: the guest ended before the testbed was connected.
            QmpError: QEMU runs, but its monitor does not answer.
        """
        patience = deadline.capped(_QMP_PATIENCE * host_slowness())
        try:
            self.qmp.connect(sock, patience)
            usernet = self._usernet(patience)
        except QmpError as error:
            if self.process.wait(Deadline.for_host(_QUIT_PATIENCE)) is None:
                raise
            self.notifier.wait_for(self.why_dead, Deadline.for_host(_END_PATIENCE))
            raise self._boot_error(deadline) from error
        port = parse_ssh_port(usernet)
        if port is None:
            raise QmpError("QEMU does not report the forwarded port", evidence=usernet)
        self.ssh_port = port

    def wait_until_up(self, deadline: Deadline) -> None:
        """Wait until the guest's SSH server answers.

        Raises:
            BootPanic, BootHang, BootNoSsh: the guest did not come up; the class says how.
            LaunchError: QEMU ended by itself.
        """
        phase = self.notifier.wait_for(self._left_booting, deadline)
        if phase is Phase.ENDING:
            self.notifier.wait_for(self.why_dead, Deadline.for_host(_END_PATIENCE))
        if phase is not Phase.READY:
            raise self._boot_error(deadline)
        while not _ssh_answers(self.ssh_port, deadline.capped(_BANNER_PATIENCE * host_slowness())):
            # slirp does not signal when it begins to forward. The notifier signals a dead guest.
            if self.notifier.wait_for(self.why_dead, deadline.capped(_BANNER_PAUSE)):
                raise self._boot_error(deadline)
            if deadline.expired:
                message = f"the guest is up, but its SSH server did not answer within {deadline}"
                raise self._explain(BootNoSsh, message)

    def save(self, template: Template, deadline: Deadline) -> None:
        """Save the VM as a template, then quit. The caller must have closed all connections.

        Raises:
            QmpError: QEMU cannot save it, or slirp still has a connection at the deadline.
        """
        while parse_connections(self._usernet(deadline)):
            # slirp does not signal when it has seen the last packet of a connection.
            dead = self.notifier.wait_for(self.why_dead, deadline.capped(_BANNER_PAUSE))
            if dead or deadline.expired:
                raise QmpError(f"the guest's connections did not end within {deadline}")
        template.slowdown.write_text(f"{self.slowdown}\n")
        save_state(self.qmp, template.state, self.notifier, deadline)
        self.stop()

    def _usernet(self, deadline: Deadline) -> str:
        command = {"command-line": "info usernet"}
        return str(self.qmp.execute("human-monitor-command", command, deadline=deadline))

    def resume(self, deadline: Deadline) -> None:
        """Load the state of this clone's template, let it run, and reseed it.

        Raises:
            LaunchError, QmpError: QEMU cannot load the template.
            BootHang: the guest does not continue.
        """
        assert self.spec.template is not None
        try:
            load_state(self.qmp, self.spec.template.state, self.notifier, deadline)
        except QmpError as error:
            if self.process.wait(Deadline.for_host(_QUIT_PATIENCE)) is None:
                raise
            message = f"QEMU cannot load the template: {error.message}"
            raise self._launch_error(message, LaunchError) from error
        self.slowdown = float(self.spec.template.slowdown.read_text())
        self.reseed(deadline)

    def reseed(self, deadline: Deadline) -> None:
        """Give the guest fresh random bytes and the time.

        Raises:
            BootHang: the guest does not accept them.
        """
        try:
            reseed(self.reseed_port, deadline)
        except OSError as error:
            message = f"the guest did not reseed: {error}"
            raise self._explain(BootHang, message, self._where()) from error

    def stop(self) -> None:
        """End QEMU: ask it to quit, and kill it if it does not."""
        deadline = Deadline.for_host(_QUIT_PATIENCE)
        try:
            if self.process.returncode is None and not self.qmp.closed:
                self.qmp.quit(deadline)
        except QmpError as error:
            logger.warning("%s; killing QEMU (pid %d)", error.message, self.process.pid)
            deadline = Deadline.after(0)
        if self.process.wait(deadline) is None:
            self.process.kill()

    def _phase(self) -> Phase:
        gone = self.console.closed and self.qmp.closed
        return judge(Snapshot(self.console.text(), self.qmp.events, gone))

    def _left_booting(self) -> Phase | None:
        phase = self._phase()
        return None if phase is Phase.BOOTING else phase

    def _boot_error(self, deadline: Deadline) -> TestbedError:
        """Return the error that says why the guest did not come up, with its evidence."""
        phase, text = self._phase(), self.console.text()
        if cause := find_panic(text):
            message = f"the kernel panicked at boot: {cause}"
            return self._explain(BootPanic, message, panic_text(text))
        if phase in (Phase.PANICKED, Phase.RESET, Phase.POWERED_OFF):
            return self._explain(BootPanic, f"{phase} at boot, and printed no panic")
        if phase is Phase.STOPPED:
            return self._launch_error("QEMU stopped the guest while it booted", LaunchError)
        if phase is Phase.QEMU_DIED and self.spec.user_argv and not text:
            error = self._launch_error(f"QEMU did not start, {self._exit_status()}", SetupError)
            error.hint = f"is --qemu right? It appends {shlex.join(self.spec.user_argv)}"
            return error
        if phase is Phase.QEMU_DIED:
            when = "ended while the guest booted" if text else "did not start"
            return self._launch_error(f"QEMU {when}, {self._exit_status()}", LaunchError)
        message = f"the kernel did not reach userspace within {deadline}"
        return self._explain(BootHang, message, self._where())

    def _where(self) -> str:
        """Return the console's last lines, and registers and call trace of each processor."""
        symbols = SymbolTable(kernel_functions(self.spec.kernel))
        console = last_lines(self.console.text()) or "(the console is empty)"
        return f"{console}\n{show_processors(self.qmp, symbols)}"

    def _launch_error(self, message: str, kind: type[E]) -> E:
        """Return an error of QEMU with its output."""
        output = (self.spec.log_dir / "qemu.log").read_text(errors="replace")
        shown = f"{last_lines(output)}\n{last_lines(self.console.text())}".strip()
        return self._explain(kind, message, shown)

    def _explain(self, kind: type[E], message: str, shown: str = "") -> E:
        """Return an error with the console's last lines and the command line to run by hand."""
        shown = shown or last_lines(self.console.text()) or "(the console is empty)"
        evidence = f"{shown}\nby hand: {command_by_hand(self.spec)}"
        logs = tuple(self.spec.log_dir / name for name in ("console.log", "qemu.log"))
        return kind(message, evidence=evidence, logs=logs)

    def _exit_status(self) -> str:
        status = self.process.wait(Deadline.for_host(_QUIT_PATIENCE))
        return "but its process still exists" if status is None else f"exit status {status}"


@contextmanager
def boot(
    spec: VmSpec, deadline: Deadline, started: Callable[[VirtualMachine], None] | None = None
) -> Iterator[VirtualMachine]:
    """Boot a VM and yield it once its SSH server answers; QEMU is gone when the block ends.

    `started` is called with the VM before it is up.

    It leaves in spec.log_dir: console.log, qemu.log (the output of QEMU), qmp.log,
    and qemu.sh, which boots the same VM by hand.

    Raises:
        SetupError: QEMU is not installed, or did not start with the user's arguments.
        LaunchError, QmpError: QEMU did not start, or ended by itself.
        BootPanic, BootHang, BootNoSsh: the guest did not come up; the class says how.
    """
    with _started(spec, deadline) as vm:
        if started is not None:
            started(vm)
        vm.wait_until_up(deadline)
        yield vm


@contextmanager
def clone(spec: VmSpec, deadline: Deadline) -> Iterator[VirtualMachine]:
    """Start a clone of spec.template and yield it once it runs; it is gone when the block ends.

    The clone is reseeded: its random state and its time are fresh. It leaves the same files in
    spec.log_dir as `boot`.

    Raises:
        SetupError: QEMU is not installed.
        LaunchError, QmpError: QEMU did not start, or cannot load the template.
        BootHang: the guest does not continue.
    """
    with _started(spec, deadline) as vm:
        vm.resume(deadline)
        yield vm


@contextmanager
def _started(spec: VmSpec, deadline: Deadline) -> Iterator[VirtualMachine]:
    """Start QEMU and yield the VM once the monitor answers."""
    find_qemu(spec.arch)
    spec.shared_dir.mkdir(parents=True, exist_ok=True)
    (spec.log_dir / "qemu.sh").write_text(f"#!/bin/sh\n{command_by_hand(spec)}\n")
    with ExitStack() as stack:
        vm, monitor = _launch(spec, stack)
        stack.callback(vm.stop)
        vm.connect(deadline, monitor)
        yield vm


def _launch(spec: VmSpec, stack: ExitStack) -> tuple[VirtualMachine, socket.socket]:
    """Start QEMU with channels that exist before it. Return the VM and the monitor's socket."""
    notifier = Notifier()
    our_monitor, monitor = stack.enter_context(_socketpair())
    our_console, console = stack.enter_context(_socketpair())
    our_reseed, reseed_port = stack.enter_context(_socketpair())
    make_room(console)
    reader = open_console(our_console, spec.log_dir / "console.log", notifier.notify)
    watched = stack.enter_context(reader)
    qmp = stack.enter_context(open_qmp(spec.log_dir / "qmp.log", notifier.notify))
    theirs = (monitor, console, reseed_port)
    channels = Channels(*(sock.fileno() for sock in theirs))
    argv = qemu_argv(spec, channels)
    fds = tuple(sock.fileno() for sock in theirs)
    process = stack.enter_context(spawn(argv, log=spec.log_dir / "qemu.log", pass_fds=fds))
    # QEMU has copies now. These would keep the channels open after its end.
    for sock in theirs:
        sock.close()
    return VirtualMachine(
        spec, tuple(argv), process, watched, qmp, our_reseed, notifier
    ), our_monitor


@contextmanager
def _socketpair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def _ssh_answers(port: int, deadline: Deadline) -> bool:
    """Whether a server shows SSH's version string (RFC 4253, section 4.2) in time."""
    try:
        patience = max(deadline.remaining, _BANNER_PAUSE)
        with socket.create_connection(("127.0.0.1", port), patience) as sock:
            sock.settimeout(patience)
            return sock.recv(len(_SSH_BANNER), socket.MSG_WAITALL) == _SSH_BANNER
    except OSError:
        return False
