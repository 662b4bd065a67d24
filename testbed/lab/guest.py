# SPDX-License-Identifier: GPL-2.0
"""A guest for tests: a VM, its session, its kernel log and the test modules."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from testbed.deadline import Deadline
from testbed.errors import (
    GuestError,
    GuestLost,
    InfraError,
    KernelSplat,
    ProbeProtocolError,
    SessionError,
    TestbedError,
    UnbalancedLedger,
)
from testbed.guest.blame import SURVIVED, Witness, texts, titles
from testbed.guest.expect import Expectation, match_splats
from testbed.guest.kernellog import KernelLog
from testbed.guest.kmemleak import Leak, find_leaks
from testbed.guest.ledger import (
    Ledger,
    changes,
    find_server,
    ledger_files,
    ledger_of,
    read_ledger,
)
from testbed.guest.session import (
    Answer,
    Session,
    contents,
    get_calls,
    open_session,
    unload_call,
)
from testbed.guest.splat_patterns import SplatKind
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.probe import Prober
from testbed.vm.backtrace import interrupts_are_off, show_processors
from testbed.vm.machine import VirtualMachine, boot, clone
from testbed.vm.qemu import Template
from testbed.vm.symbols import SymbolTable, kernel_functions, module_functions

# Two scans of all memory, and the minimum age of a leaked object.
_SCANS = 60.0  # seconds

_RELEASE = "/proc/sys/kernel/osrelease"

# KD1: below a .mmap hook a replaced vm_file is never released, in any test.
_REPLACES = re.compile(r" replace=|/dev/zero")

# To measure the speed of a guest, a page is mapped, touched and unmapped _ROUNDS times. _USUAL is
# the time of one round in an emulated guest on an idle host.
_ROUNDS = 500
_USUAL = 50e-6  # seconds
_PATIENCE = 60.0  # seconds

MODULE_DIR = "/lib/testbed"


@dataclass(frozen=True)
class Unloading:
    """The end of a test for a module that it loaded."""

    session: Session
    module: str

    def __call__(self) -> None:
        self.session.unload_module(self.module)


@dataclass
class Guest:
    """A running guest.

    `broken` is the reason why it must not be used again. `spent` is the reason why no later test
    of a batch should use it: the guest works, but it differs from a fresh one.
    """

    prepared: PreparedKernel
    vm: VirtualMachine
    session: Session
    log: KernelLog
    prober: Prober
    broken: str = ""
    spent: str = ""
    damaged: bool = False  # the kernel printed an oops or worse, or cannot be read
    given_up: bool = False
    has_evidence: bool = False  # of an unexpected event: its logs are kept
    test: str = ""  # the test that uses it; empty between tests
    endings: list[Callable[[], object]] = field(default_factory=list)
    server: int = 0  # pid of the SSH server
    ledger: Ledger | None = None  # after the last test; nothing happens between tests
    binaries: dict[str, Path] = field(default_factory=dict)  # of modules, by name
    excused: bool = False  # the test is known to leave something behind
    keeps_modules: bool = False  # a module stays loaded for the later tests of the batch
    kept: set[str] = field(default_factory=set)  # names of the modules that stay
    leaky: set[int] = field(default_factory=set)  # pids of processes that are known to leak objects

    @property
    def usable(self) -> bool:
        """Whether another test may use it."""
        return not (self.broken or self.session.broken or self.vm.why_dead())

    def begin(self, test: str) -> None:
        """Give the guest to a test, and start to watch its kernel log."""
        self.test = test
        self.prober.observations.clear()
        self.prober.scripts.clear()
        self.server = self.server or find_server(self.session)
        self.ledger = self.ledger or read_ledger(self.session, self.server)
        self.log.begin(test, later=True)

    def finish(self) -> None:
        """Take the guest back: unload the modules, and check the kernel log and the ledger.

        Raises:
            KernelSplat: the kernel printed an unexpected splat. It takes precedence over the
                errors that it led to, because it explains them.
            GuestFileError: a module is still in use.
            UnbalancedLedger: memory, references or memory types are left behind.
        """
        if self.given_up:
            self.test = ""
            return
        replacing = (pid for pid, text in self.prober.scripts.items() if _REPLACES.search(text))
        self.leaky.update(replacing)
        try:
            while not all(isinstance(ending, Unloading) for ending in self.endings):
                self.endings.pop()()
            failures, log, files = self._unload_and_look()
        except (GuestError, SessionError, ProbeProtocolError) as error:
            self.broken = error.message
            self._check_log()
            raise
        for failure in failures:
            self.broken = self.broken or failure.message
        self._check_log(log=log)
        for failure in failures:
            raise failure
        self.test = ""
        self._balance(ledger_of(files))

    def load(self, module: str, parameters: str = "") -> None:
        """Load one of the project's modules, freshly, until the end of the test."""
        ending = Unloading(self.session, module)
        if module in self.kept or ending in self.endings:
            self.session.unload_module(module)
            self.kept.discard(module)
        self._load(module, parameters)
        if ending not in self.endings:
            self.at_end(ending)

    def load_shared(self, module: str) -> None:
        """Load a module that has no state from one test to the next.

        If the guest keeps modules, it stays until the guest ends. The ledger shows a test that
        leaves references to it behind.
        """
        if not self.keeps_modules:
            self.load(module)
        elif module not in self.kept:
            self._load(module)
            self.kept.add(module)

    def at_end(self, ending: Callable[[], object]) -> None:
        """Call `ending` at the end of the test, latest first, before the kernel log is checked."""
        self.endings.append(ending)

    def excuse_leaks(self) -> None:
        """Do not report what the programs of this test leave behind: it is known."""
        self.excused = True
        self._spend("what a test leaves behind was excused")
        self.leaky.update(self.prober.scripts)

    def leaks(self) -> list[Leak]:
        """Return the objects that all tests so far have leaked, without the excused ones."""
        self._check_log()
        self.log.begin(self.test)
        found = find_leaks(self.session, Deadline.after(_SCANS * self.session.slowdown))
        # The kernel also prints that there are leaks, even if all are excused.
        self._check_log(*([Expectation(SplatKind.KMEMLEAK)] if found else []))
        self.log.begin(self.test)
        return [leak for leak in found if leak.pid not in self.leaky]

    def give_up(self, reason: str) -> None:
        """Give the guest up: this test breaks the kernel, and no other test may use it.

        When the test ends, nothing is unloaded, and the kernel log is not checked.
        """
        self.endings.clear()
        self.broken, self.given_up = reason, True
        self._spend(reason)

    @contextmanager
    def expect_splat(
        self, kind: SplatKind, title: str = "", *, once: bool = False
    ) -> Iterator[None]:
        """Expect the block to make the kernel print a splat of this kind, and no other splat.

        `title` is a regular expression, searched in the splat's title. With `once` a second
        splat is a failure too.
        """
        self._check_log()
        self.log.begin(self.test)
        yield
        self._check_log(Expectation(kind, title, once))
        self.log.begin(self.test)

    def _load(self, module: str, parameters: str = "") -> None:
        self.session.load_module(f"{MODULE_DIR}/{module}.ko", parameters)

    def _unload_and_look(self) -> tuple[list[TestbedError], Answer, tuple[Answer, ...]]:
        """Unload the modules of `endings`, end the log, and read the files of the ledger.

        This is one exchange. Return the errors of unloading, the end of the log, and the files.
        """
        names = [ending.module for ending in self.endings if isinstance(ending, Unloading)]
        self.endings.clear()
        paths = ledger_files(self.server)
        unloads = [unload_call(name) for name in reversed(names)]
        answers = self.session.exchange([*unloads, self.log.end_call(), *get_calls(paths)])
        errors = [each for each in answers[: len(names)] if isinstance(each, TestbedError)]
        log, *files = answers[len(names) :]
        return errors, log, contents(paths, files)

    def _balance(self, after: Ledger) -> None:
        """Compare the kernel's counters with their values before the test."""
        before, excused = self.ledger, self.excused
        self.ledger, self.excused = after, False
        if before is None or excused:
            return
        if found := list(changes(before.with_modules(self.kept), after)):
            self._spend("a test left something behind: " + "; ".join(found))
            raise UnbalancedLedger("after the test " + "; ".join(found))

    def _spend(self, reason: str) -> None:
        """Set the reason why it is spent. The first reason stays."""
        self.spent = self.spent or reason

    def _check_log(self, *wishes: Expectation, log: Answer | None = None) -> None:
        """Compare the splats since the last check with the expected ones.

        `log` is the answer to the log's `end_call`, if it was made.
        """
        found = self.log.end(log)
        # The first test that finds a splat of the boot, or from between two tests, reports it.
        splats = (*found.earlier, *found.splats)
        if found.from_console or any(splat.kind not in SURVIVED for splat in splats):
            self.damaged = True
            self.broken = self.broken or "the kernel printed a splat after which it is unreliable"
        if splats:
            self._spend(f"the kernel printed {titles(splats)}")
        matched = match_splats(splats, wishes)
        if matched.unexpected:
            raise KernelSplat(titles(matched.unexpected), evidence=texts(matched.unexpected))
        if found.from_console and not splats:
            # The guest died silently: the log alone would look like a clean end.
            if (reason := self.vm.why_dead()) is not None:
                raise GuestLost(reason)
            raise self.session.broken or SessionError("the guest's kernel log cannot be read")
        if found.tainted and not splats:
            reason = f"the kernel became tainted: {found.tainted}"
            self._spend(reason)
            raise KernelSplat(reason, evidence=found.text)
        assert not matched.unmet, f"the kernel did not print {matched.unmet[0]}:\n{found.text}"


@contextmanager
def guest_up(prepared: PreparedKernel, log_dir: Path, deadline: Deadline) -> Iterator[Guest]:
    """Boot a VM of the prepared kernel and open a session. Both end with the block.

    Raises:
        BootError, LaunchError, SessionError: the guest did not come up; the class says how.
        InfraError: the guest runs another kernel than the prepared one.
    """
    with boot(prepared.vm_spec(log_dir), deadline) as vm, entered(prepared, vm, deadline) as guest:
        release = guest.session.get(_RELEASE).decode().strip()
        if release != prepared.kernel.release:
            raise InfraError(f"the guest runs {release}, not {prepared.kernel.release}")
        yield guest


@contextmanager
def clone_up(
    prepared: PreparedKernel, template: Template, log_dir: Path, deadline: Deadline
) -> Iterator[Guest]:
    """Start a clone of a template and open a session. Both end with the block.

    Raises:
        BootError, LaunchError, QmpError, SessionError: the clone did not come up; the class
            says how.
    """
    spec = dataclasses.replace(prepared.vm_spec(log_dir), template=template)
    with clone(spec, deadline) as vm, entered(prepared, vm, deadline) as guest:
        yield guest


def find_slowdown(session: Session) -> float:
    """Return how many times slower the guest is than the deadlines assume."""
    return max(1.0, session.pace(_ROUNDS, Deadline.after(_PATIENCE)) / _ROUNDS / _USUAL)


@contextmanager
def entered(prepared: PreparedKernel, vm: VirtualMachine, deadline: Deadline) -> Iterator[Guest]:
    """Open a session with a running VM."""
    binaries = {path.stem: path for path in prepared.guest_side.modules}
    with open_session(
        port=vm.ssh_port,
        host_key=prepared.image.host_key,
        client_key=prepared.image.client_key,
        deadline=deadline,
        witness=Witness(
            vm.why_dead,
            vm.console.text,
            partial(_show_processors, vm, binaries),
            partial(interrupts_are_off, vm.qmp, vm.spec.kernel.system_map),
        ),
    ) as session:
        log = KernelLog(session, vm.console.text)
        session.slowdown = vm.slowdown = vm.slowdown or find_slowdown(session)
        prober = Prober(session)
        prober.make_ready()
        yield Guest(prepared, vm, session, log, prober, binaries=binaries)


def _show_processors(
    vm: VirtualMachine, binaries: Mapping[str, Path], modules: Mapping[str, int]
) -> str:
    """Return registers and call traces. `modules` has the addresses of loaded modules."""
    functions = list(kernel_functions(vm.spec.kernel))
    for name, address in modules.items():
        if name in binaries:
            functions += module_functions(binaries[name].read_bytes(), name, address)
    return show_processors(vm.qmp, SymbolTable(functions))
