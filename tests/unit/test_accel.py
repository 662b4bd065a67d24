# SPDX-License-Identifier: GPL-2.0
"""The choice of an accelerator, its reason, and the memory of past results."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import vm_parts

from testbed.arch import find_arch
from testbed.context import Context
from testbed.deadline import Deadline
from testbed.errors import BootPanic, InfraError, SetupError
from testbed.image import Image
from testbed.kernel.build import Kernel
from testbed.kernel.series import Series
from testbed.lab.prepared import prepare_kernel
from testbed.progress import SilentProgress
from testbed.settings import AccelChoice, Settings
from testbed.vm import accel
from testbed.vm.accel import Accel, AccelDecision, Proof, check_request, choose_accel, outlook
from testbed.vm.kvm import Obstacle
from testbed.vm.qemu import VmSpec

X86_64 = find_arch("x86_64")


def moment(ago: timedelta = timedelta()) -> str:
    return f"{datetime.now(UTC) - ago:%Y-%m-%dT%H:%M:%SZ}"


@dataclasses.dataclass
class Host:
    """A host whose /dev/kvm opens. `proofs` are the results of boots under KVM, in order."""

    settings: Settings
    proofs: list[Proof | Exception]
    booted: list[str] = dataclasses.field(default_factory=list)

    def choose(
        self, choice: AccelChoice = AccelChoice.AUTO, version: str = "7.3.4"
    ) -> AccelDecision:
        settings = dataclasses.replace(self.settings, accel=choice)
        kernel = dataclasses.replace(vm_parts.kernel(), version=version)
        return choose_accel(kernel, vm_parts.image(), settings, SilentProgress(), prove=self._prove)

    def _prove(self, kernel: Kernel, image: Image, settings: Settings) -> Proof:
        self.booted.append(kernel.version)
        proof = self.proofs.pop(0)
        if isinstance(proof, Exception):
            raise proof
        return proof


MakeHost = Callable[..., Host]

WORKS = Proof(True, "7.3.4-testbed-k", moment())
FAILS = Proof(False, "7.3.4-testbed-k", moment(), "no userspace within 20 s")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeHost:
    monkeypatch.setattr(accel, "kvm_obstacle", lambda arch: None)
    monkeypatch.setattr(accel, "qemu_version", lambda arch: "7.2.22")

    def make(*proofs: Proof | Exception) -> Host:
        return Host(Settings(state_dir=tmp_path / "state"), list(proofs))

    return make


def test_kvm_is_used_once_it_has_booted_the_kernel(host: MakeHost) -> None:
    decision = host(WORKS).choose()
    assert decision.accel is Accel.KVM
    assert "booted 7.3.4-testbed-k to userspace" in decision.reason


def test_kvm_that_does_not_boot_the_kernel_is_not_used(host: MakeHost) -> None:
    decision = host(FAILS).choose()
    assert decision.accel is Accel.TCG
    assert "no userspace within 20 s" in decision.reason


@pytest.mark.parametrize("proof", [WORKS, FAILS], ids=["works", "fails"])
def test_a_result_is_remembered_for_the_series(host: MakeHost, proof: Proof) -> None:
    machine = host(proof)
    first, second = machine.choose(), machine.choose(version="7.3.9")
    assert first == second
    assert machine.booted == ["7.3.4"]


def test_another_series_is_tried_separately(host: MakeHost) -> None:
    machine = host(WORKS, FAILS)
    assert machine.choose(version="7.2.1").accel is Accel.KVM
    assert machine.choose(version="7.3.4").accel is Accel.TCG


def test_another_qemu_is_tried_separately(host: MakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = host(FAILS, WORKS)
    assert machine.choose().accel is Accel.TCG
    monkeypatch.setattr(accel, "qemu_version", lambda arch: "10.0.2")
    assert machine.choose().accel is Accel.KVM


def test_a_failure_is_tried_again_after_a_week(host: MakeHost) -> None:
    machine = host(dataclasses.replace(FAILS, when=moment(timedelta(days=8))), WORKS)
    assert machine.choose().accel is Accel.TCG
    assert machine.choose().accel is Accel.KVM


def test_a_request_for_kvm_tries_again_after_a_failure(host: MakeHost) -> None:
    machine = host(FAILS, WORKS)
    machine.choose()
    assert machine.choose(AccelChoice.KVM).accel is Accel.KVM
    assert machine.choose().accel is Accel.KVM


def test_a_request_for_kvm_that_fails_is_an_error_with_the_reason(host: MakeHost) -> None:
    with pytest.raises(SetupError, match="KVM cannot be used: KVM did not boot"):
        host(FAILS).choose(AccelChoice.KVM)


def test_a_request_for_tcg_boots_nothing(host: MakeHost) -> None:
    assert host().choose(AccelChoice.TCG) == AccelDecision(Accel.TCG, "requested")


def test_a_panic_under_kvm_is_not_remembered(host: MakeHost) -> None:
    machine = host(BootPanic("the kernel panicked at boot: x"), WORKS)
    assert "panicked at boot: x" in machine.choose().reason
    assert machine.choose().accel is Accel.KVM


def test_a_kernel_that_panics_under_the_requested_kvm_is_tested_there(host: MakeHost) -> None:
    machine = host(BootPanic("the kernel panicked at boot: x"))
    decision = machine.choose(AccelChoice.KVM)
    assert decision.accel is Accel.KVM
    assert "panicked at boot: x" in decision.reason


def test_a_host_that_fails_while_the_requested_kvm_is_tried_is_an_error(host: MakeHost) -> None:
    with pytest.raises(SetupError, match="KVM cannot be used: the boot under KVM failed: no fds"):
        host(InfraError("no fds")).choose(AccelChoice.KVM)


def test_a_damaged_memory_counts_as_empty(host: MakeHost) -> None:
    machine = host(WORKS, WORKS)
    machine.choose()
    (machine.settings.state_dir / "accel.json").write_text("{")
    assert machine.choose().accel is Accel.KVM
    assert len(machine.booted) == 2


def test_people_can_read_the_memory(host: MakeHost) -> None:
    machine = host(FAILS)
    machine.choose()
    [(key, value)] = json.loads((machine.settings.state_dir / "accel.json").read_text()).items()
    assert key.endswith(" | QEMU 7.2.22 | x86_64 | 7.3")
    assert value["detail"] == "no userspace within 20 s"


def test_the_outlook_boots_nothing(host: MakeHost) -> None:
    machine = host(FAILS)
    assert outlook(X86_64, machine.settings).accel is Accel.KVM
    machine.choose()
    assert outlook(X86_64, machine.settings) == AccelDecision(Accel.TCG, str(FAILS))


def test_a_refusal_of_kvm_names_the_obstacle_and_the_hint(
    host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Obstacle("the host has no /dev/kvm", "run modprobe")
    monkeypatch.setattr(accel, "kvm_obstacle", lambda arch: found)
    with pytest.raises(SetupError, match="KVM cannot be used: the host has no /dev/kvm") as caught:
        host().choose(AccelChoice.KVM)
    assert caught.value.hint.startswith("run modprobe; or give --accel auto")
    assert host().choose().hint == "run modprobe"


@pytest.mark.parametrize(("flavour", "factor"), [("base", 1), ("debug", 4)])
def test_kvm_may_take_longer_to_boot_on_a_slow_host_and_with_a_slow_flavour(
    flavour: str, factor: int, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    budgets: list[float] = []

    @contextmanager
    def fake_boot(spec: VmSpec, deadline: Deadline) -> Iterator[None]:
        budgets.append(deadline.budget)
        yield

    monkeypatch.setattr(accel, "boot", fake_boot)
    monkeypatch.setattr(accel, "host_slowness", lambda: 15.0)
    chosen = dataclasses.replace(settings, flavour=flavour)
    assert accel.prove_by_boot(vm_parts.kernel(), vm_parts.image(), chosen).works
    assert budgets == [20 * 15 * factor]


@pytest.fixture
def only_x86_64(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose KVM runs guests of x86_64."""
    foreign = Obstacle("the host is x86_64, where KVM cannot run arm64 guests")
    monkeypatch.setattr(accel, "kvm_obstacle", lambda arch: None if arch is X86_64 else foreign)


@pytest.mark.usefixtures("only_x86_64")
def test_a_request_for_kvm_that_is_in_vain_is_refused_before_a_build(settings: Settings) -> None:
    asked = dataclasses.replace(settings, accel=AccelChoice.KVM)
    with pytest.raises(SetupError, match="cannot run arm64 guests") as caught:
        check_request(asked)
    assert "--accel auto" in caught.value.hint
    with pytest.raises(SetupError, match="cannot run arm64 guests"):
        prepare_kernel("x86_64", Series(), Context.of(asked, SilentProgress()))


@pytest.mark.usefixtures("only_x86_64")
def test_a_request_that_can_be_tried_goes_on(settings: Settings) -> None:
    check_request(settings)
    check_request(dataclasses.replace(settings, accel=AccelChoice.KVM, arch=("x86_64",)))
