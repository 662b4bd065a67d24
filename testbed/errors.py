# SPDX-License-Identifier: GPL-2.0
"""The testbed's errors. The class says who is to blame.

    TestbedError
    ├── SetupError             the caller: an option, a setting, a tool that is missing
    ├── InfraError             the host or the testbed itself
    │   ├── CommandError       a command on the host failed
    │   ├── LaunchError        QEMU did not start, or ended by itself
    │   ├── QmpError           QEMU's monitor did not answer as expected
    │   ├── SessionError       the SSH session broke, though guest and kernel are well
    │   └── HistoryError       the database of the history is away, or held by another process
    ├── TreeError              the kernel tree under test
    │   ├── PatchError         a patch does not apply
    │   ├── ConfigError        the final configuration lacks a requested symbol
    │   └── BuildError         the tree does not compile
    ├── GuestError             the guest kernel
    │   ├── BootError          it did not come up
    │   │   ├── BootPanic      it panicked before userspace answered
    │   │   ├── BootHang       it did not reach userspace in time
    │   │   └── BootNoSsh      userspace came up, but SSH did not answer
    │   ├── GuestLost          it went away while a test ran
    │   ├── GuestTimeout       it did not finish in time, or hangs
    │   ├── ProbeKilled        it killed the guest program
    │   ├── KernelSplat        it printed a warning, an oops or worse
    │   ├── UnbalancedLedger   memory or references were left after a test
    │   ├── GuestCommandError  a command in the guest failed
    │   └── GuestFileError     a file in the guest could not be read or written
    └── ProbeProtocolError     the guest program's answer could not be read

Only a GuestError is evidence against the kernel. Evidence is plain text,
numbers and paths, so this module imports no other one of the testbed.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class TestbedError(Exception):
    """An error: the problem (`message`), a remedy (`hint`), and the proof (`evidence`, `logs`)."""

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
    """The caller must fix this: an option, a setting, a missing tool."""


class InfraError(TestbedError):
    """The host or the testbed itself is at fault, never the kernel."""


@dataclass
class CommandError(InfraError):
    """A command on the host ended with an unexpected status."""

    argv: Sequence[str] = ()
    status: int = 0

    def __str__(self) -> str:
        return f"{super().__str__()}\ncommand: {shlex.join(self.argv)}"


class LaunchError(InfraError):
    """QEMU did not start, or ended by itself."""


class QmpError(InfraError):
    """QEMU's monitor did not answer as expected."""


class SessionError(InfraError):
    """The SSH session broke although the guest was alive and its kernel clean."""


class HistoryError(InfraError):
    """The database of the history cannot be reached, or another process holds it."""


class TreeError(TestbedError):
    """The kernel tree under test is at fault."""


class PatchError(TreeError):
    """A patch of the series does not apply."""


class ConfigError(TreeError):
    """The final configuration lacks a symbol that a fragment requests."""


class BuildError(TreeError):
    """The tree does not compile."""


class GuestError(TestbedError):
    """The guest kernel is at fault, as far as the evidence shows."""


class BootError(GuestError):
    """The guest kernel did not come up."""


class BootPanic(BootError):
    """The guest kernel panicked before userspace answered."""


class BootHang(BootError):
    """The guest kernel did not reach userspace in time, and did not panic."""


class BootNoSsh(BootError):
    """Userspace came up but SSH did not answer."""


class GuestLost(GuestError):
    """The guest went away: it panicked, it reset itself, or QEMU ended."""


class GuestTimeout(GuestError):
    """Something in the guest did not finish in time, or nothing answers."""


class ProbeKilled(GuestError):
    """The kernel killed the guest program, which did nothing to cause that."""


class KernelSplat(GuestError):
    """The guest kernel printed a warning, an oops or worse."""


class UnbalancedLedger(GuestError):
    """The kernel's counters differ from their values before the test."""


@dataclass
class GuestCommandError(GuestError):
    """A command in the guest ended with an unexpected status."""

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
    """The guest program's answer was truncated or could not be parsed, and the kernel is clean."""
