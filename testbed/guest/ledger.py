# SPDX-License-Identifier: GPL-2.0
"""The kernel's counters of memory, files and modules. A test must leave them as they were."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from testbed.errors import TestbedError
from testbed.guest.session import Answer, Session

_PAT = "/sys/kernel/debug/x86/pat_memtype_list"

_MEMINFO = re.compile(r"^(Committed_AS|Shmem): +(\d+) kB$", re.MULTILINE)

# Private writable memory and the stack: a process's part of Committed_AS.
_CHARGED = re.compile(r"^(?:VmData|VmStk):\s+(\d+) kB$", re.MULTILINE)

_PARENT = re.compile(r"^PPid:\s+(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Ledger:
    """The kernel's counters at one moment."""

    committed: int  # kB of Committed_AS, without the session's own programs
    shmem: int  # kB
    modules: Mapping[str, int] = field(default_factory=dict)  # references, except by modules
    memtypes: frozenset[str] = frozenset()  # x86: ranges that have their own caching attribute

    def with_modules(self, names: Iterable[str]) -> Ledger:
        """Return the ledger as it is when these modules are loaded too, and nobody uses them."""
        return replace(self, modules={**dict.fromkeys(names, 0), **self.modules})


def read_ledger(session: Session, server: int) -> Ledger:
    """Read a guest's ledger. `server` is the result of `find_server`.

    Raises:
        GuestFileError: a file that every kernel has cannot be read.
    """
    return ledger_of(session.get_all(*ledger_files(server)))


def ledger_files(server: int) -> tuple[str, ...]:
    """Return the paths of the files from which `ledger_of` makes a ledger."""
    return (
        # Each CPU counts a part of Shmem; a read of this file adds them up.
        "/proc/sys/vm/stat_refresh",
        "/proc/meminfo",
        # The agent and its SSH server may grow at any time.
        "/proc/self/status",
        f"/proc/{server}/status",
        "/proc/modules",
        _PAT,
    )


def ledger_of(answers: Sequence[Answer]) -> Ledger:
    """Make a ledger from the contents of `ledger_files`. Raises GuestFileError as `read_ledger`."""
    for answer in answers[:-1]:  # only x86 has the last
        if isinstance(answer, TestbedError):
            raise answer
    texts = [answer.decode() for answer in answers if isinstance(answer, bytes)]
    return parse_ledger(texts[1], tuple(texts[2:4]), texts[4], "".join(texts[5:]))


def find_server(session: Session) -> int:
    """Return the pid of the SSH server that started the agent."""
    status = session.get("/proc/self/status").decode()
    found = _PARENT.search(status)
    assert found is not None, f"no {_PARENT.pattern} in {status}"
    return int(found[1])


def parse_ledger(
    memory: str, programs: tuple[str, ...], modules: str, memtypes: str = ""
) -> Ledger:
    """Parse the kernel's files into a ledger.

    Args:
        memory: /proc/meminfo.
        programs: /proc/PID/status of each of the session's programs.
        modules: /proc/modules.
        memtypes: x86's pat_memtype_list.
    """
    accounts = {key: int(kilobytes) for key, kilobytes in _MEMINFO.findall(memory)}
    own = sum(int(kilobytes) for text in programs for kilobytes in _CHARGED.findall(text))
    return Ledger(
        committed=accounts["Committed_AS"] - own,
        shmem=accounts["Shmem"],
        modules=dict(_module(line) for line in modules.splitlines()),
        memtypes=frozenset(memtypes.splitlines()),
    )


def changes(before: Ledger, after: Ledger) -> Iterator[str]:
    """Yield each change in words.

    A test may leave modules loaded, such as those of file systems. Their references do not
    count, and memory types are not compared then.
    """
    if after.committed != before.committed:
        yield f"Committed_AS is {after.committed} kB, was {before.committed} kB"
    if after.shmem != before.shmem:
        yield f"Shmem is {after.shmem} kB, was {before.shmem} kB"
    for name, count in after.modules.items():
        had = before.modules.get(name, count)
        if count != had:
            yield f"{name} has {count} references, had {had}"
    if after.modules.keys() == before.modules.keys():
        for line in sorted(after.memtypes ^ before.memtypes):
            yield f"memory type {'stays' if line in after.memtypes else 'is gone'}: {line}"


def _module(line: str) -> tuple[str, int]:
    """Return name and references from /proc/modules, less one for each module that uses it."""
    name, _, count, users = line.split()[:4]
    return name, int(count) - len(re.findall(r"\w+(?=,)", users))
