# SPDX-License-Identifier: GPL-2.0
"""The choice of a VM's accelerator, and the reason for it.

Even if /dev/kvm opens and creates VMs, it may fail to run a kernel: inside
some virtual machines it crawls. KVM is therefore used only after it has booted
a kernel of the series to userspace. The result is remembered per host, QEMU
and kernel series.
"""

from __future__ import annotations

import fcntl
import json
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from testbed.arch import Arch, find_arch
from testbed.cache import digest
from testbed.deadline import Deadline, host_slowness
from testbed.errors import BootHang, BootNoSsh, BootPanic, LaunchError, SetupError, TestbedError
from testbed.files import make_folder, write_whole
from testbed.flavour import find_flavour
from testbed.image import Image
from testbed.kernel.build import Kernel
from testbed.kernel.version import release
from testbed.progress import Progress
from testbed.settings import AccelChoice, Settings
from testbed.vm.kvm import Obstacle, kvm_obstacle
from testbed.vm.machine import boot
from testbed.vm.qemu import Accel, VmSpec, qemu_version

__all__ = ["Accel", "AccelDecision", "check_request", "choose_accel", "kvm_refused", "outlook"]

_PROOF_SECONDS = 20.0  # of the base flavour, on a usual host

# A failure stays valid for this long: hosts get fixed, and some failures are transient.
_BELIEVED = timedelta(days=7)

# The keys of /proc/cpuinfo that distinguish hosts, on x86 and on arm64.
_CPU_KEYS = ("model name", "flags", "CPU implementer", "CPU part", "Features")


@dataclass(frozen=True)
class AccelDecision:
    """An accelerator and the reason for it, as every report shows them."""

    accel: Accel
    reason: str
    hint: str = ""  # how KVM could be had instead

    def __str__(self) -> str:
        return f"{self.accel} ({self.reason})"


@dataclass(frozen=True)
class Proof:
    """The result of booting a kernel under KVM."""

    works: bool
    kernel: str  # its release
    when: str  # ISO 8601, UTC
    detail: str = ""  # why it failed

    @property
    def counts(self) -> bool:
        """Whether the result is still valid."""
        return self.works or datetime.now(UTC) - datetime.fromisoformat(self.when) < _BELIEVED

    def __str__(self) -> str:
        if self.works:
            return f"KVM booted {self.kernel} to userspace on {self.when[:10]}"
        return f"KVM did not boot {self.kernel} on {self.when[:10]}: {self.detail}"


Prover = Callable[[Kernel, Image, Settings], Proof]


def prove_by_boot(kernel: Kernel, image: Image, settings: Settings) -> Proof:
    """Boot the kernel once under KVM. Raises TestbedError if the result says nothing about KVM."""
    flavour = find_flavour(settings.flavour)
    with tempfile.TemporaryDirectory(prefix="kvm-proof-") as folder:
        spec = VmSpec(
            kernel=kernel,
            image=image,
            accel=Accel.KVM,
            memory_mib=settings.vm_memory_mib,
            slowdown=flavour.slowdown,
            cmdline=flavour.words(kernel.arch),
            log_dir=Path(folder),
        )
        try:
            with boot(spec, Deadline.after(_proof_seconds(settings))):
                detail = ""
        except BootNoSsh:
            detail = ""  # userspace was there
        except (BootHang, LaunchError) as error:
            detail = ": ".join([error.message, *error.evidence.splitlines()[:1]])
    return Proof(not detail, kernel.release, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", detail)


def _proof_seconds(settings: Settings) -> float:
    return _PROOF_SECONDS * find_flavour(settings.flavour).slowdown * host_slowness()


def check_request(settings: Settings) -> None:
    """Check that KVM can be tried if the user requests it: nobody should wait for a build first.

    Raises:
        SetupError: KVM cannot run guests of one of the architectures here.
    """
    if settings.accel is AccelChoice.KVM:
        for name in settings.arch:
            if obstacle := kvm_obstacle(find_arch(name)):
                raise kvm_refused(obstacle.reason, obstacle.hint)


def choose_accel(
    kernel: Kernel,
    image: Image,
    settings: Settings,
    progress: Progress,
    *,
    prove: Prover = prove_by_boot,
) -> AccelDecision:
    """Return the accelerator for a kernel. If KVM is untried, boot the kernel under it first.

    Raises:
        SetupError: the user requested KVM, which does not work; or QEMU is not installed.
    """
    if settings.accel is AccelChoice.TCG:
        return AccelDecision(Accel.TCG, "requested")
    requested = settings.accel is AccelChoice.KVM
    if obstacle := kvm_obstacle(kernel.arch):
        return _without_kvm(obstacle, requested)
    with _memory(settings) as memory:
        key = f"{_place(kernel.arch)} | {_series(kernel)}"
        proof = memory.proofs.get(key)
        # A user who requests KVM explicitly gets a new try after a remembered failure.
        if proof is None or not proof.counts or (requested and not proof.works):
            title = f"try KVM with {kernel.release} (at most {_proof_seconds(settings):.0f} s)"
            try:
                with progress.step(title):
                    proof = prove(kernel, image, settings)
            except SetupError:
                raise
            except BootPanic as error:
                # It may be the kernel's fault and not KVM's: remember nothing. To a user who
                # insists on KVM, the tests show it as the kernel's.
                reason = f"the boot under KVM failed: {error.message}"
                if requested:
                    return AccelDecision(Accel.KVM, f"requested, although {reason}")
                return _without_kvm(Obstacle(reason), requested)
            except TestbedError as error:
                return _without_kvm(
                    Obstacle(f"the boot under KVM failed: {error.message}"), requested
                )
            memory.keep(key, proof)
    if proof.works:
        return AccelDecision(Accel.KVM, str(proof))
    return _without_kvm(Obstacle(f"{proof} (remembered in {memory.path})"), requested)


def outlook(arch: Arch, settings: Settings) -> AccelDecision:
    """Predict the result of `choose_accel` without a kernel.

    Raises:
        SetupError: QEMU is not installed.
    """
    if settings.accel is AccelChoice.TCG:
        return AccelDecision(Accel.TCG, "requested")
    if obstacle := kvm_obstacle(arch):
        return AccelDecision(Accel.TCG, obstacle.reason, obstacle.hint)
    with _memory(settings) as memory:
        place = _place(arch)
        known = [proof for key, proof in memory.proofs.items() if key.startswith(f"{place} | ")]
    if not known:
        return AccelDecision(Accel.KVM, "if it boots the first kernel, otherwise tcg")
    latest = max(known, key=lambda proof: proof.when)
    return AccelDecision(Accel.KVM if latest.works else Accel.TCG, str(latest))


@dataclass(frozen=True)
class _Memory:
    """The results known so far, by host, QEMU, architecture and kernel series."""

    path: Path
    proofs: Mapping[str, Proof]

    def keep(self, key: str, proof: Proof) -> None:
        known = {**self.proofs, key: proof}
        values = {key: asdict(proof) for key, proof in known.items()}
        write_whole(self.path, json.dumps(values, indent=2) + "\n")


@contextmanager
def _memory(settings: Settings) -> Iterator[_Memory]:
    """Yield the memory, locked: of two runs that know nothing of KVM, only one tries it."""
    path = make_folder(settings.state_dir, "state_dir") / "accel.json"
    with path.with_suffix(".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _Memory(path, _read_proofs(path))


def _read_proofs(path: Path) -> dict[str, Proof]:
    # An unreadable memory counts as empty: KVM is tried again.
    try:
        return {key: Proof(**value) for key, value in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _without_kvm(obstacle: Obstacle, requested: bool) -> AccelDecision:
    if requested:
        raise kvm_refused(obstacle.reason, obstacle.hint)
    return AccelDecision(Accel.TCG, obstacle.reason, obstacle.hint)


def kvm_refused(reason: str, hint: str) -> SetupError:
    """Return the error of a user who requested KVM, which does not work."""
    without = "give --accel auto, which uses KVM where it works"
    return SetupError(
        f"KVM cannot be used: {reason}", hint=f"{hint}; or {without}" if hint else without
    )


def _place(arch: Arch) -> str:
    """Return the scope of a proof: this host, this QEMU, this architecture."""
    host = f"{platform.node()}, Linux {platform.release()}, CPU {digest(*_cpu_facts())}"
    return f"{host} | QEMU {qemu_version(arch)} | {arch}"


def _cpu_facts() -> list[str]:
    first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    return [line for line in first.splitlines() if line.startswith(_CPU_KEYS)]


def _series(kernel: Kernel) -> str:
    """Return the major and minor version, such as 7.3."""
    return ".".join(map(str, release(kernel.version)))
