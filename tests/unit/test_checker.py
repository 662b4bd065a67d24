# SPDX-License-Identifier: GPL-2.0
"""A check of a driver in fake guests, some of which misbehave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from test_check import observed

from testbed.check.checker import Checker
from testbed.check.checkplan import CheckPlan
from testbed.check.result import Checked, TrialResult, TrialStatus
from testbed.check.script import BaseMapping
from testbed.errors import (
    GuestFileError,
    GuestTimeout,
    InfraError,
    KernelSplat,
    ProbeProtocolError,
    SessionError,
    TestbedError,
    UnbalancedLedger,
)
from testbed.kernel.driver import Driver, Module
from testbed.lab.lab import Lab
from testbed.mmap.observation import Observation
from testbed.mmap.path import HookPath
from testbed.mmap.script import Script
from testbed.progress import SilentProgress
from testbed.settings import Settings

RELEASE = "7.3.4"

BASE = BaseMapping("shared", 4, 0, "rw")


@dataclass
class FakeGuest:
    """Records the calls, and answers as a guest in which everything works."""

    lab: FakeLab
    ledger: object = None
    has_evidence: bool = False
    damaged: bool = False
    binaries: dict[str, Path] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    endings: list[Callable[[], object]] = field(default_factory=list)

    @property
    def session(self) -> Any:
        return SimpleNamespace(
            put=lambda content, path: self.loaded.append(f"put {path}"),
            load_module=lambda path, parameters: self.loaded.append(f"{path} {parameters}"),
            unload_module=self.lab.unload,
            get=self.lab.get,
            write=lambda *writes: self.loaded.append(f"write {writes}"),
            check=lambda argv: SimpleNamespace(out=self.lab.trace if "cat " in argv[2] else ""),
        )

    @property
    def prober(self) -> Any:
        return SimpleNamespace(run=lambda script: self.lab.run(self.test, script))

    def begin(self, test: str) -> None:
        self.test = test

    def load(self, module: str) -> None:
        self.loaded.append(module)

    def at_end(self, ending: Callable[[], object]) -> None:
        self.endings.append(ending)

    def finish(self) -> None:
        while self.endings:
            self.endings.pop()()
        self.lab.finish(self.test)


@dataclass
class FakeLab:
    """Has a guest for each trial."""

    errors: dict[str, Exception] = field(default_factory=dict)  # by the first part of a test's name
    endings: dict[str, Exception] = field(default_factory=dict)
    counters: Iterator[bytes] = field(default_factory=lambda: iter(()))
    held: bool = False  # the module cannot be unloaded
    count: int = 0  # of its references
    guests: list[FakeGuest] = field(default_factory=list)
    batches: bool = False  # whether trials share guests
    trace: str = ""  # what the kernel traces
    symbols: str = "n"  # the value of each symbol of the kernel
    used_by: list[str] = field(default_factory=list)  # trials in the guest of the next one
    ctx: Any = field(
        default_factory=lambda: SimpleNamespace(progress=SilentProgress(), settings=Settings())
    )

    def prepared(self, arch: str) -> Any:
        kernel = SimpleNamespace(release=RELEASE, symbol=lambda name: self.symbols)
        return SimpleNamespace(kernel=kernel)

    @contextmanager
    def guest(self, arch: str, *, disks: bool, user: str) -> Iterator[FakeGuest]:
        self.guests.append(FakeGuest(self))
        yield self.guests[-1]
        self.used_by += [user] if self.batches else []

    def users(self, arch: str, *, disks: bool) -> tuple[str, ...]:
        return tuple(self.used_by)

    def end_batches(self, arch: str) -> None:
        self.used_by.clear()

    def run(self, test: str, script: Script) -> Observation:
        self._fail(self.errors, test)
        return observed(script, {})

    def finish(self, test: str) -> None:
        self._fail(self.endings, test)

    def unload(self, name: str) -> None:
        if self.held:
            self.count = 2
            raise GuestFileError("busy", errno=11)

    def get(self, path: str) -> bytes:
        if path == "/proc/modules":
            return b"mmap_stack 100 0 - Live 0x0\nfoo 100 %d - Live 0x0 (O)\n" % self.count
        if path == "/proc/devices":
            return b"Character devices:\n 10 misc\n\nBlock devices:\n259 blkext\n"
        return next(self.counters)

    @staticmethod
    def _fail(errors: dict[str, Exception], test: str) -> None:
        for begins, error in errors.items():
            if test.startswith(begins):
                raise error


def check(lab: FakeLab, tmp_path: Path, **plan: Any) -> list[TrialResult]:
    """Return the results of a check of one base mapping on two paths."""
    (tmp_path / "foo.ko").write_text("module")
    driver = Driver((Module(tmp_path / "foo.ko", "foo", (), RELEASE),))
    paths = (HookPath.DIRECT, HookPath.STACK)
    chosen = CheckPlan(**{"paths": paths, **plan})
    checker = Checker(cast(Lab, lab), "x86_64", driver, "foo", "/dev/foo", chosen, (BASE,))
    return list(checker.run().outcomes)


def verdicts(outcomes: list[TrialResult], path: str) -> list[TrialStatus]:
    return [each.status for each in outcomes if each.path == path and each.trial != "load"]


def only(outcomes: list[TrialResult], trial: str, path: str) -> TrialResult:
    (found,) = (each for each in outcomes if (each.trial, each.path) == (trial, path))
    return found


def test_each_trial_has_the_driver_freshly_loaded(tmp_path: Path) -> None:
    lab = FakeLab()
    check(
        lab, tmp_path, skip=("[!e]*", "edges-*"), parameters="order=2", write={"/sys/state": "on"}
    )
    assert len(lab.guests) == 4  # for load, a look at the pages, and exit-shared on two paths
    for guest in lab.guests:
        written = "write (('/sys/state', b'on'),)"
        assert guest.loaded == ["put /foo.ko", "mmap_stack", "/foo.ko order=2", written]


def test_a_shared_guest_gets_the_module_once(tmp_path: Path) -> None:
    class Shared(FakeLab):
        @contextmanager
        def guest(self, arch: str, *, disks: bool, user: str) -> Iterator[FakeGuest]:
            self.guests = self.guests or [FakeGuest(self, ledger="from before")]
            yield self.guests[0]

    lab = Shared()
    check(lab, tmp_path, skip=("[!e]*", "edges-*"))
    assert lab.guests[0].loaded.count("put /foo.ko") == 1
    assert lab.guests[0].loaded.count("/foo.ko ") == 4
    assert lab.guests[0].ledger is None  # the file uses memory, so the ledger starts after it


def test_no_trial_follows_if_the_driver_does_not_load(tmp_path: Path) -> None:
    lab = FakeLab(errors={"load": GuestFileError("no such device", errno=19)})
    (found,) = check(lab, tmp_path)
    assert found.complaints == ("no such device",)


def test_a_leak_is_a_complaint(tmp_path: Path) -> None:
    lab = FakeLab(endings={"exit-shared on stack": UnbalancedLedger("Shmem is 8 kB, was 4 kB")})
    found = check(lab, tmp_path, skip=("[!e]*", "edges-*"))
    assert only(found, "exit-shared", "stack").complaints == ("Shmem is 8 kB, was 4 kB",)
    assert only(found, "exit-shared", "direct").status is TrialStatus.HOLDS


def test_the_complaint_about_a_module_in_use_counts_its_references(tmp_path: Path) -> None:
    found = check(FakeLab(held=True), tmp_path)
    assert [each.complaints for each in found] == [
        ("foo.ko cannot be unloaded: 2 references stay behind",)
    ]


def test_a_counter_that_changed_is_a_complaint(tmp_path: Path) -> None:
    counters = iter([b"1\n"] * 6 + [b"1\n", b"2\n"])
    found = check(
        FakeLab(counters=counters), tmp_path, skip=("[!e]*", "edges-*"), counters=("/sys/users",)
    )
    assert only(found, "exit-shared", "direct").status is TrialStatus.HOLDS
    assert only(found, "exit-shared", "stack").complaints == ("/sys/users is 2, was 1",)


def test_a_path_on_which_guests_hang_is_given_up(tmp_path: Path) -> None:
    errors = {
        f"{name}-shared on stack": GuestTimeout("it cannot be killed")
        for name in ("sizes", "prot-r", "again", "fork")
    }
    found = check(FakeLab(errors=dict(errors)), tmp_path)
    on_stack = verdicts(found, "stack")
    assert on_stack.count(TrialStatus.FAILS) >= 3
    given_up = [each for each in found if "trials broke the kernel on stack" in each.skipped]
    assert {each.path for each in given_up} == {"stack"}
    assert only(found, "fork-shared", "stack") in given_up
    assert not only(found, "fork-shared", "direct").skipped


def test_a_fault_of_the_host_ends_the_check(tmp_path: Path) -> None:
    lab = FakeLab(errors={"fork": InfraError("no space")})
    with pytest.raises(InfraError):
        check(lab, tmp_path)


@pytest.mark.parametrize("error", [SessionError("it closed"), ProbeProtocolError("garbage")])
def test_a_session_that_breaks_once_is_tried_again(error: Exception, tmp_path: Path) -> None:
    class Once(FakeLab):
        def run(self, test: str, script: Script) -> Observation:
            try:
                return super().run(test, script)
            finally:
                if test.startswith("exit"):
                    self.errors.clear()

    lab = Once(errors={"exit": error})
    found = check(lab, tmp_path, skip=("[!e]*", "edges-*"))
    assert only(found, "exit-shared", "direct").complaints == ()
    tests = [guest.test for guest in lab.guests]
    assert tests.count("exit-shared on direct") == 2
    assert tests.count("exit-shared on stack") == 1


@pytest.mark.parametrize("error", [SessionError("it closed"), ProbeProtocolError("garbage")])
@pytest.mark.parametrize("when", ["errors", "endings"])
def test_a_session_that_breaks_twice_is_the_drivers_doing(
    error: TestbedError, when: str, tmp_path: Path
) -> None:
    lab = FakeLab()
    setattr(lab, when, {"exit": error})
    found = check(lab, tmp_path, skip=("[!e]*", "edges-*"))
    complaints = only(found, "exit-shared", "direct").complaints
    assert complaints == (f"{error.message}, twice, in two guests",)


def test_a_hang_names_the_functions_and_equal_splats_show_once(tmp_path: Path) -> None:
    trace = "CPU 0\nRIP=0\nCall Trace (? marks a guess):\n foo+0x1/0x2 [drv]\n ? bar+0x1/0x2\n"
    lab = FakeLab(errors={"exit": GuestTimeout("the guest hangs", evidence=trace)})
    lab.endings = {"exit": GuestTimeout("the guest hangs", evidence="the same")}
    found = only(check(lab, tmp_path, skip=("[!e]*", "edges-*")), "exit-shared", "direct")
    assert found.complaints[0] == "the guest hangs: foo [drv] < ? bar"
    assert found.evidence == trace


def test_a_guest_that_is_broken_before_a_trial_begins_is_a_complaint(tmp_path: Path) -> None:
    class Broken(FakeGuest):
        def begin(self, test: str) -> None:
            super().begin(test)
            if test.startswith("exit"):
                raise KernelSplat("oops: page fault in do_mmap")

    class Lab(FakeLab):
        @contextmanager
        def guest(self, arch: str, *, disks: bool, user: str) -> Iterator[FakeGuest]:
            yield Broken(self)

    found = check(Lab(), tmp_path, skip=("[!e]*", "edges-*"))
    complaints = only(found, "exit-shared", "direct").complaints
    assert complaints == ("oops: page fault in do_mmap",)


class Choosy(FakeLab):
    """Has a driver that maps some sizes only."""

    sizes: tuple[int, ...] = ()

    def run(self, test: str, script: Script) -> Observation:
        seen = observed(script, {})
        for (step, *_), fact in seen.facts.items():
            words = script.lines[step - 1].split()
            if words[:2] == ["map", "m"] and words[3] not in {f"len={n}p" for n in self.sizes}:
                cast(dict[str, Any], fact.values).update(errno=22, error="EINVAL")
        return seen


def check_choosy(tmp_path: Path, *sizes: int, **plan: Any) -> Checked:
    lab = Choosy()
    lab.sizes = sizes
    (tmp_path / "foo.ko").write_text("module")
    driver = Driver((Module(tmp_path / "foo.ko", "foo", (), RELEASE),))
    skip = ("[!e]*", "edges-*")
    chosen = CheckPlan(paths=(HookPath.DIRECT,), sharing=("shared",), skip=skip, **plan)
    return Checker(cast(Lab, lab), "x86_64", driver, "foo", "/dev/foo", chosen).run()


def test_the_only_size_of_a_driver_is_searched_for(tmp_path: Path) -> None:
    found = check_choosy(tmp_path, 300)
    assert found.base_mappings == ("shared rw, 300 pages at page 0",)
    assert found.failed == []
    assert "1-299, 301-512, 1024" in found.refused[1]


def test_the_sizes_of_a_plan_are_the_only_ones(tmp_path: Path) -> None:
    found = check_choosy(tmp_path, 300, sizes=(1, 2), searches=False)
    [failed] = found.failed
    assert "nothing can be mapped" in failed.complaints[0]
    assert found.refused[0] == "shared: tried rw, r, w, rx, x, none; 1-2 pages; offset 0-2"
    assert "EINVAL" in found.refused[1]


def test_a_stack_that_differs_from_the_direct_path_is_a_complaint(tmp_path: Path) -> None:
    class Odd(FakeLab):
        def run(self, test: str, script: Script) -> Observation:
            refused: dict[str, dict[str, Any]] = {"map m": {"errno": 22}}
            maps = any(line.startswith("map m") for line in script.lines)
            return observed(script, refused if test == "exit-shared on stack" and maps else {})

    found = check(Odd(), tmp_path, skip=("[!e]*", "edges-*"))
    place = "1 map m FILE len=4p off=0p prot=rw flags=shared:.errno"
    assert only(found, "exit-shared", "stack").complaints == (f"{place} is 22, but 0 on direct",)


def test_a_complaint_counts_if_a_guest_of_its_own_shows_it_too(tmp_path: Path) -> None:
    leak = UnbalancedLedger("Shmem is 8 kB, was 4 kB")
    lab = FakeLab(endings={"exit-shared on stack": leak}, batches=True)
    found = check(lab, tmp_path, skip=("[!e]*", "edges-*"))
    assert only(found, "exit-shared", "stack").complaints == ("Shmem is 8 kB, was 4 kB",)


def test_a_complaint_that_only_a_batch_shows_names_the_trial_before_it(tmp_path: Path) -> None:
    class Dirty(FakeLab):
        def finish(self, test: str) -> None:
            if self.used_by and test == "exit-shared on stack":
                raise UnbalancedLedger("Shmem is 8 kB, was 4 kB")

    found = check(Dirty(batches=True), tmp_path, skip=("[!e]*", "edges-*"))
    (complaint,) = only(found, "exit-shared", "stack").complaints
    assert complaint == (
        "only after 3 trials in one guest, at last exit-shared on direct: Shmem is 8 kB, was 4 kB"
    )


CHAIN = ("foo_mmap", "foo_insert")


def test_a_chain_that_does_not_run_is_a_complaint(tmp_path: Path) -> None:
    lab = FakeLab(symbols="y", trace=" enter0: (foo_mmap) \n leave0: (foo_mmap)\n")
    (failed,) = (each for each in check(lab, tmp_path, chain=CHAIN, skip=("*",)) if each.complaints)
    assert (failed.trial, failed.path) == ("chain", "direct")
    assert "does not call foo_insert by foo_mmap" in failed.complaints[0]


def test_a_chain_needs_a_kernel_that_traces(tmp_path: Path) -> None:
    found = only(check(FakeLab(), tmp_path, chain=CHAIN), "chain", "direct")
    assert found.skipped == "it needs --flavour drivers"


def test_a_plan_without_sizes_takes_that_of_the_opener(tmp_path: Path) -> None:
    class Reported(Choosy):
        def run(self, test: str, script: Script) -> Observation:
            seen = super().run(test, script)
            for step, line in enumerate(script.lines, 1):
                if line.startswith("opener "):
                    cast(dict[str, Any], seen[step].values).update(pages=5)
            return seen

    lab = Reported()
    lab.sizes = (5,)
    chosen = CheckPlan(
        paths=(HookPath.DIRECT,),
        sharing=("shared",),
        skip=("*",),
        sizes=(),
        searches=False,
        opener=("packet",),
    )
    (tmp_path / "foo.ko").write_text("module")
    driver = Driver((Module(tmp_path / "foo.ko", "foo", (), RELEASE),))
    found = Checker(cast(Lab, lab), "x86_64", driver, "foo", "/dev/foo", chosen).run()
    assert found.base_mappings == ("shared rw, 5 pages at page 0",)


def test_a_driver_that_decides_on_addresses_is_not_compared_where_it_is_asked(
    tmp_path: Path,
) -> None:
    class Placing(FakeLab):
        def run(self, test: str, script: Script) -> Observation:
            seen = super().run(test, script)
            if test == "move-shared on direct":
                for step, line in enumerate(script.lines, 1):
                    if line.startswith("mremap"):
                        cast(dict[str, Any], seen[step].values).update(errno=22, error="EINVAL")
            return seen

    plain = check(Placing(), tmp_path, skip=("[!m]*",))
    assert any("on direct" in text for text in only(plain, "move-shared", "stack").complaints)
    found = check(Placing(), tmp_path, skip=("[!m]*",), places=True)
    assert not any("on direct" in text for text in only(found, "move-shared", "stack").complaints)
