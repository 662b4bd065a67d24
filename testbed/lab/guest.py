"""A guest that tests talk to: a VM, its session, its kernel log and the test modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from testbed.deadline import Deadline
from testbed.guest.kernellog import KernelLog
from testbed.guest.session import Session, open_session
from testbed.lab.cell import Cell
from testbed.mmap.probe import Prober
from testbed.vm.machine import VirtualMachine, boot

MODULE_DIR = "/lib/testbed"


@dataclass
class Guest:
    """A running guest. `broken` tells why it must not be used again."""

    cell: Cell
    vm: VirtualMachine
    session: Session
    log: KernelLog
    prober: Prober
    broken: str = ""
    loaded: list[str] = field(default_factory=list)

    def load(self, module: str) -> None:
        """Load one of the project's modules; `unload_all` takes it out again."""
        self.session.check(["insmod", f"{MODULE_DIR}/{module}.ko"])
        self.loaded.append(module)

    def unload_all(self) -> None:
        """Unload what `load` loaded: a reference that a test leaked makes this fail.

        Raises:
            GuestCommandError: a module is still in use.
        """
        while self.loaded:
            self.session.check(["rmmod", self.loaded[-1]])
            self.loaded.pop()


@contextmanager
def guest_up(cell: Cell, log_dir: Path, deadline: Deadline) -> Iterator[Guest]:
    """Boot a VM of the cell and open a session; both are gone when the block ends.

    Raises:
        BootError, LaunchError, SessionError: it did not come up; the class says how.
    """
    with (
        boot(cell.vm_spec(log_dir), deadline) as vm,
        open_session(
            port=vm.ssh_port,
            host_key=cell.image.host_key,
            client_key=cell.image.client_key,
            deadline=deadline,
            why_dead=vm.why_dead,
        ) as session,
    ):
        yield Guest(cell, vm, session, KernelLog(session, vm.console), Prober(session))
