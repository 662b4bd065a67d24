# SPDX-License-Identifier: GPL-2.0
"""QEMU's command line: pure functions from what a VM should be."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from testbed.arch import Arch
from testbed.deadline import Deadline
from testbed.errors import CommandError, InfraError
from testbed.image import Disk, Image
from testbed.kernel.build import Kernel
from testbed.process import check_output, find_tool

# Where a human who boots by hand finds the guest's SSH server on the host.
PORT_BY_HAND = 2222

# The memory behind the PCI BAR of the guest's ivshmem device: as many of the largest pages as
# the pool of mmap_stack.ko has.
BAR_SIZE = 64 * (64 << 10)

# By what name the guest mounts the shared folder.
SHARED_TAG = "shared"

# By what name its first program mounts a folder of the user's (image/init.sh).
_USER_TAG = "user"

_ADDRESS = "10.0.2.15"  # what slirp expects of its first guest
_GATEWAY = "10.0.2.2"
_NETMASK = "255.255.255.0"

_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

# Seconds after which a guest that runs at full speed is taken for stuck: the kernel's defaults
# but for hung tasks, which nothing here can wait 120 s for.
_WATCHDOG = 10  # a CPU's soft lockup is reported after twice this
_RCU_STALL = 21
_HUNG_TASK = 20

_VERSION = re.compile(r"QEMU emulator version (?P<version>\S+)")
_CONNECTION = re.compile(r"TCP\[(?!HOST_FORWARD)\w+\]")
_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\S+\s+127\.0\.0\.1\s+(?P<port>\d+)\s")


class Accel(StrEnum):
    """QEMU's name of an accelerator."""

    KVM = "kvm"
    TCG = "tcg"

    @property
    def slowdown(self) -> int:
        """How many times longer a guest's patience must be than on a machine of its own."""
        return 1 if self is Accel.KVM else 3


@dataclass(frozen=True)
class Template:
    """A VM that was stopped and put down in files, for clones to begin from."""

    folder: Path

    @property
    def memory(self) -> Path:
        """The guest's; clones read it, and write to copies of its pages."""
        return self.folder / "memory"

    @property
    def state(self) -> Path:
        """Of processor and devices: QEMU's migration stream."""
        return self.folder / "state"

    @property
    def slowdown(self) -> Path:
        """How slow the guest is, as it was measured before: one number."""
        return self.folder / "slowdown"


@dataclass(frozen=True)
class Channels:
    """The numbers of the sockets that QEMU inherits."""

    qmp: int
    console: int
    reseed: int


@dataclass(frozen=True, kw_only=True)
class VmSpec:
    """What a VM should be."""

    kernel: Kernel
    image: Image
    accel: Accel
    memory_mib: int
    log_dir: Path
    slowdown: int = 1  # of what the kernel is built with
    cpus: int = 1  # under TCG a second one makes the boot a fifth longer
    cmdline: tuple[str, ...] = ()  # more words for the kernel; the last of a kind counts
    disks: tuple[Disk, ...] = ()  # their content stays: a VM writes to an overlay of its own
    user_dir: Path | None = None  # a folder of the host that the guest may read
    memory_file: Path | None = None  # where a template's memory is to be; on tmpfs
    template: Template | None = None  # what it is a clone of

    @property
    def arch(self) -> Arch:
        return self.kernel.arch

    @property
    def shared_dir(self) -> Path:
        """The folder that the guest can mount by 9P."""
        return self.log_dir / "shared"


def find_qemu(arch: Arch) -> str:
    """QEMU for an architecture. Raises SetupError when it is not installed."""
    return find_tool(_program(arch), package=arch.qemu_package)


def qemu_version(arch: Arch) -> str:
    """The version of the installed QEMU, such as 10.0.2.

    Raises:
        SetupError: it is not installed.
        InfraError: it does not tell.
    """
    try:
        text = check_output([find_qemu(arch), "--version"], deadline=Deadline.after(10))
    except CommandError as exc:
        raise InfraError(f"{_program(arch)} does not run", evidence=str(exc)) from exc
    match = _VERSION.search(text)
    if match is None:
        raise InfraError(f"{_program(arch)} does not tell its version", evidence=text)
    return match["version"]


def qemu_argv(spec: VmSpec, channels: Channels) -> list[str]:
    """The command line of a VM whose monitor, console and reseed port are inherited sockets.

    The host's port for SSH is the kernel's choice: `parse_ssh_port` tells it. A clone waits for
    the template's state, and has neither kernel nor initramfs: they are in its memory.
    """
    begin = ["-incoming", "defer"] if spec.template else _direct_boot(spec, kernel_cmdline(spec))
    # fmt: off
    return [
        *_machine(spec, ssh_port=0),
        *begin,
        *_folder(SHARED_TAG, spec.shared_dir),
        "-chardev", f"socket,id=qmp,fd={channels.qmp}",
        "-mon", "chardev=qmp,mode=control",
        "-chardev", f"socket,id=console,fd={channels.console}",
        "-serial", "chardev:console",
        "-chardev", f"socket,id=reseed,fd={channels.reseed}",
        "-device", "virtio-serial-pci",
        "-device", "virtserialport,chardev=reseed,nr=1",
    ]
    # fmt: on


def argv_by_hand(spec: VmSpec) -> list[str]:
    """The same VM with console and monitor on the terminal, and a shell on the console.

    It shares no folder: nobody has made one.
    """
    cmdline = f"{kernel_cmdline(spec)} testbed.shell"
    boot = _direct_boot(spec, cmdline)
    return [*_machine(spec, ssh_port=PORT_BY_HAND), *boot, "-serial", "mon:stdio"]


def command_by_hand(spec: VmSpec) -> str:
    """`argv_by_hand` for a shell: one option a line. Ctrl-A x ends the VM."""
    lines: list[list[str]] = []
    for word in argv_by_hand(spec):
        if not lines or word.startswith("-"):
            lines.append([])
        lines[-1].append(word)
    return " \\\n    ".join(shlex.join(words) for words in lines)


def kernel_cmdline(spec: VmSpec) -> str:
    """The guest kernel's command line."""
    slowdown = spec.accel.slowdown * spec.slowdown
    words = (
        f"console={spec.arch.console}",
        # What precedes the console's driver is seen too, also when the kernel stops there.
        f"earlycon={spec.arch.earlycon}",
        # A panic ends the VM at once, together with -no-reboot.
        "panic=-1",
        f"ip={_ADDRESS}::{_GATEWAY}:{_NETMASK}:testbed:eth0:off",
        # Marks that are written to /dev/kmsg must not be rate limited away.
        "printk.devkmsg=on",
        f"watchdog_thresh={_WATCHDOG * slowdown}",
        f"rcupdate.rcu_cpu_stall_timeout={_RCU_STALL * slowdown}",
        f"sysctl.kernel.hung_task_timeout_secs={_HUNG_TASK * slowdown}",
    )
    folder = ["testbed.user"] if spec.user_dir else []
    return " ".join([*words, *folder, *spec.cmdline])


def parse_ssh_port(usernet: str) -> int | None:
    """The forwarded port on the host, out of what the monitor's `info usernet` prints."""
    match = _FORWARD.search(usernet)
    return int(match["port"]) if match else None


def parse_connections(usernet: str) -> int:
    """How many TCP connections with the guest that text shows, beside the forwarded port."""
    return len(_CONNECTION.findall(usernet))


def _program(arch: Arch) -> str:
    return f"qemu-system-{arch.qemu}"


def _value(path: Path) -> str:
    """A path within an option: what would end it is doubled."""
    return str(path).replace(",", ",,")


def _disks(disks: tuple[Disk, ...]) -> list[str]:
    words = []
    for disk in disks:
        # The overlay is a file without a name: nothing of it is left when QEMU is gone.
        drive = f"file={_value(disk.path)},format=raw,if=none,id={disk.name},snapshot=on"
        device = f"virtio-blk-pci,drive={disk.name},serial={disk.name}"
        words += ["-drive", drive, "-device", device]
    return words


def _folder(tag: str, path: Path, *options: str) -> list[str]:
    """A folder of the host that the guest may mount by its tag."""
    backend = f"local,id={tag},path={_value(path)},security_model=none"
    device = f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"
    return ["-fsdev", ",".join((backend, *options)), "-device", device]


def _direct_boot(spec: VmSpec, cmdline: str) -> list[str]:
    kernel, initrd = str(spec.kernel.image), str(spec.image.path)
    return ["-kernel", kernel, "-initrd", initrd, "-append", cmdline]


def _memory(spec: VmSpec) -> tuple[str, list[str]]:
    """What -machine says of the guest's memory, and the options that make it."""
    path = spec.template.memory if spec.template else spec.memory_file
    if path is None:
        return "", []
    # Private memory is copied where it is written to.
    share = "off" if spec.template else "on"
    backend = f"memory-backend-file,id=ram,size={spec.memory_mib}M"
    return ",memory-backend=ram", ["-object", f"{backend},mem-path={_value(path)},share={share}"]


def _machine(spec: VmSpec, *, ssh_port: int) -> list[str]:
    kvm = spec.accel is Accel.KVM
    machine = spec.arch.machine if kvm else spec.arch.tcg_machine
    from_file, memory = _memory(spec)
    forward = f"hostfwd=tcp:127.0.0.1:{ssh_port}-:22"
    # fmt: off
    return [
        _program(spec.arch),
        "-machine", f"{machine}{from_file}",
        *memory,
        "-accel", spec.accel.value,
        "-cpu", "host" if kvm else spec.arch.tcg_cpu,
        "-smp", str(spec.cpus),
        "-m", str(spec.memory_mib),
        "-nodefaults",
        "-no-user-config",
        "-display", "none",
        "-no-reboot",
        "-sandbox", _SANDBOX,
        "-netdev", f"user,id=net0,restrict=on,ipv6=off,{forward}",
        # No boot ROM: nothing boots from the network. No word of a clone to others on the network:
        # there are none.
        "-device", "virtio-net-pci,netdev=net0,romfile=,guest_announce=off",
        "-device", "virtio-rng-pci",
        # RAM behind a PCI BAR, for mappings that ordinary memory cannot have.
        "-object", f"memory-backend-ram,id=bar,size={BAR_SIZE}",
        # Only its master may be put down in a template.
        "-device", "ivshmem-plain,memdev=bar,master=on",
        *_disks(spec.disks),
        *(_folder(_USER_TAG, spec.user_dir, "readonly=on") if spec.user_dir else []),
        # Tells a memory dump's reader where the kernel's symbols are.
        "-device", "vmcoreinfo",
    ]
    # fmt: on
