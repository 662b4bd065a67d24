# SPDX-License-Identifier: GPL-2.0
"""The testbed's errors: the class says who is to blame.

    TestbedError
    ├── SetupError             the caller: an option, a setting, a tool that is missing
    ├── InfraError             the host or the testbed itself
    │   ├── CommandError       a command on the host failed
    │   ├── LaunchError        QEMU did not start, or ended by itself
    │   ├── QmpError           QEMU's monitor did not answer as it should
    │   └── SessionError       the SSH session broke while the guest was alive
    ├── TreeError              the kernel tree under test
    │   ├── PatchError         a patch does not apply
    │   ├── ConfigError        a symbol was asked for and did not survive
    │   └── BuildError         the tree does not compile
    ├── GuestError             the guest kernel
    │   ├── BootError          it did not come up
    │   │   ├── BootPanic      it panicked on the way
    │   │   ├── BootHang       the console fell silent before userspace
    │   │   └── BootNoSsh      userspace came up, SSH did not
    │   ├── GuestLost          it went away while a test ran
    │   ├── GuestTimeout       it did not finish in time
    │   ├── ProbeKilled        it killed the guest program
    │   ├── KernelSplat        it printed a warning, an oops or worse
    │   ├── UnbalancedLedger   memory or references stayed behind when all was over
    │   ├── GuestCommandError  a command in the guest failed
    │   └── GuestFileError     a file in the guest could not be read or written
    └── ProbeProtocolError     the guest program's answer could not be read

Only a GuestError is evidence against the kernel. Evidence is plain text,
numbers and paths, so that this module stands on nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class TestbedError(Exception):
    """What went wrong (`message`), what cures it (`cure`), what shows it (`evidence`)."""

    __test__ = False  # pytest collects classes by the prefix "Test"

    message: str
    hint: str = ""
    evidence: str = ""
    logs: Sequence[Path] = field(default_factory=tuple)

    def __str__(self) -> str:
        parts = [self.message]
        if self.evidence:
            parts.append(self.evidence.rstrip())
        parts += [f"log: {path}" for path in self.logs]
        if self.hint:
            parts.append(f"hint: {self.hint}")
        return "\n".join(parts)


class SetupError(TestbedError):
    """The caller's to mend: an option, a setting, a missing tool."""


class InfraError(TestbedError):
    """The host's fault or the testbed's own; never the kernel's."""


@dataclass
class CommandError(InfraError):
    """A command on the host ended with a status that was not asked for."""

    argv: Sequence[str] = ()
    status: int = 0

    def __str__(self) -> str:
        return f"{super().__str__()}\ncommand: {shlex.join(self.argv)}"


class LaunchError(InfraError):
    """QEMU did not start, or ended by itself."""


class QmpError(InfraError):
    """QEMU's monitor did not answer as it should."""


class SessionError(InfraError):
    """The SSH session broke although the guest was alive."""


class TreeError(TestbedError):
    """The kernel tree under test is at fault."""


class PatchError(TreeError):
    """A patch of the series does not apply."""


class ConfigError(TreeError):
    """A symbol that a fragment asks for is not in the final configuration."""


class BuildError(TreeError):
    """The tree does not compile."""


class GuestError(TestbedError):
    """The guest kernel is at fault, as far as the evidence goes."""


class BootError(GuestError):
    """The guest kernel did not come up."""


class BootPanic(BootError):
    """The guest kernel panicked before userspace answered."""


class BootHang(BootError):
    """The guest kernel did not reach userspace in time, and did not panic."""


class BootNoSsh(BootError):
    """Userspace came up but SSH did not answer."""


class GuestLost(GuestError):
    """The guest went away: a panic, a reset, or QEMU ended under it."""


class GuestTimeout(GuestError):
    """Something in the guest did not finish in time."""


class ProbeKilled(GuestError):
    """The kernel killed the guest program, which does nothing that it is killed for."""


class KernelSplat(GuestError):
    """The guest kernel printed a warning, an oops or worse."""


class UnbalancedLedger(GuestError):
    """The kernel's counters are not where they were before a test."""


@dataclass
class GuestCommandError(GuestError):
    """A command in the guest ended with a status that was not asked for."""

    argv: Sequence[str] = ()
    status: int = 0

    def __str__(self) -> str:
        return f"{super().__str__()}\nguest command: {shlex.join(self.argv)}"


@dataclass
class GuestFileError(GuestError):
    """A file in the guest could not be read or written; `errno` is the guest's."""

    path: str = ""
    errno: int = 0


class ProbeProtocolError(TestbedError):
    """The guest program's answer was truncated or could not be parsed."""
