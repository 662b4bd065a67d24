# SPDX-License-Identifier: GPL-2.0
"""A host in a VM, and the channel through which its scripts run."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hosting.hosttable import USER, Host
from hosting.rootimage import RootImage
from testbed.deadline import Deadline
from testbed.errors import InfraError
from testbed.process import Process, spawn
from testbed.vm.qemu import find_qemu

# Seconds until the agent answers.
BOOT_PATIENCE = 1800.0

# Beyond the seconds that a script may take; the agent in the host counts them itself.
_SPARE = 60.0


@dataclass(frozen=True)
class Outcome:
    """A script that ended in a host."""

    status: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass
class HostMachine:
    """A running host."""

    host: Host
    process: Process
    log_dir: Path
    channel: socket.socket
    _rest: bytes = field(default=b"", repr=False)

    def run(
        self,
        script: str,
        seconds: float,
        *,
        user: str = USER,
        on_line: Callable[[str], None] = lambda line: None,
    ) -> Outcome:
        """Run a script in bash, and return its status and output. Status 124: it took too long.

        Raises:
            InfraError: the host does not answer.
        """
        request = {"script": script, "user": user, "seconds": seconds}
        deadline = Deadline.after(seconds + _SPARE)
        self.channel.settimeout(deadline.remaining)
        self.channel.sendall(json.dumps(request).encode() + b"\n")
        lines: list[str] = []
        while "status" not in (answer := self.receive(deadline)):
            lines.append(answer["line"])
            on_line(lines[-1])
        return Outcome(answer["status"], tuple(lines))

    def receive(self, deadline: Deadline) -> dict[str, Any]:
        """Return the next answer of the agent."""
        while b"\n" not in self._rest:
            try:
                self.channel.settimeout(max(deadline.remaining, 0.001))
                chunk = self.channel.recv(65536)
            except TimeoutError as exc:
                raise self._silent(f"does not answer within {deadline}") from exc
            if not chunk:
                raise self._silent("is gone")
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _silent(self, what: str) -> InfraError:
        names = ("console.log", "qemu.log")
        texts = [(self.log_dir / name).read_text(errors="replace") for name in names]
        evidence = "\n".join("\n".join(texts).splitlines()[-20:])
        logs = tuple(self.log_dir / name for name in names)
        return InfraError(f"{self.host} {what}", evidence=evidence, logs=logs)


@contextmanager
def started(host: Host, root: RootImage, round_disk: Path, log_dir: Path) -> Iterator[HostMachine]:
    """Boot a host and yield it once its agent answers; it is gone when the block ends.

    Raises:
        InfraError: it does not come up in time.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        argv = host_argv(host, root, round_disk, log_dir / "console.log", theirs.fileno())
        (log_dir / "console.log").touch()
        with spawn(argv, log=log_dir / "qemu.log", pass_fds=(theirs.fileno(),)) as process:
            theirs.close()
            machine = HostMachine(host, process, log_dir, ours)
            machine.receive(Deadline.after(BOOT_PATIENCE))
            yield machine


def host_argv(
    host: Host, root: RootImage, round_disk: Path, console: Path, channel: int
) -> list[str]:
    """Return QEMU's command line of a host. Both disks stay as they are."""
    cmdline = (
        f"root=/dev/vda rw console={host.console} init=/usr/local/sbin/hosts-init panic=-1"
        f" {host.cmdline}"
    )
    # fmt: off
    return [
        find_qemu(host.arch),
        "-machine", host.machine,
        "-accel", "tcg,thread=multi",
        "-cpu", host.cpu,
        "-smp", "2",
        "-m", "4096",
        "-nodefaults",
        "-no-user-config",
        "-display", "none",
        "-no-reboot",
        "-kernel", str(root.kernel),
        "-initrd", str(root.initrd),
        "-append", cmdline,
        *host.devices,
        "-drive", f"file={root.disk},format=raw,if=none,id=root,snapshot=on",
        "-device", "virtio-blk-pci,drive=root",
        "-drive", f"file={round_disk},format=raw,if=none,id=round,readonly=on",
        "-device", "virtio-blk-pci,drive=round",
        "-device", "virtio-rng-pci",
        "-serial", f"file:{console}",
        "-chardev", f"socket,id=hosts,fd={channel}",
        "-device", "virtio-serial-pci",
        "-device", "virtserialport,chardev=hosts,name=hosts",
    ]
    # fmt: on
