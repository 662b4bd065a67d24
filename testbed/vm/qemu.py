# SPDX-License-Identifier: GPL-2.0
"""QEMU's command line: pure functions from the specification of a VM."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from testbed.arch import Arch
from testbed.deadline import Deadline
from testbed.errors import CommandError, InfraError, SetupError
from testbed.image import Disk, Image
from testbed.kernel.build import Kernel
from testbed.process import check_output, find_tool

# The host's port of the guest's SSH server after a boot by hand.
PORT_BY_HAND = 2222

# Bytes of memory behind the PCI BAR of the guest's ivshmem device: as many of the largest pages
# as the pool of mmap_stack.ko has.
BAR_SIZE = 64 * (64 << 10)

# The guest mounts the shared folder by this name.
SHARED_TAG = "shared"

# The guest's first program mounts a folder of the user by this name (image/init.sh).
_USER_TAG = "user"

_ADDRESS = "10.0.2.15"  # the address that slirp expects of its first guest
_GATEWAY = "10.0.2.2"
_NETMASK = "255.255.255.0"

_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

# No device, file of options or window but those that are asked for.
_BARE = ("-nodefaults", "-no-user-config", "-display", "none")

# Seconds after which the kernel reports a guest at full speed as stuck: the kernel's defaults,
# except for hung tasks, because nothing here can wait 120 s.
_WATCHDOG = 10  # a CPU's soft lockup is reported after twice this
_RCU_STALL = 21
_HUNG_TASK = 20

# arch/x86/include/asm/setup.h and arch/arm64/include/uapi/asm/setup.h: COMMAND_LINE_SIZE, less
# the NUL byte and the word that a boot by hand adds. The kernel cuts a longer one silently.
_LONGEST_CMDLINE = 2048 - 1 - len(" testbed.shell")

_VERSION = re.compile(r"QEMU emulator version (?P<version>\S+)")
_DEVICE = re.compile(r'^name "(.+?)"', re.MULTILINE)
_CONNECTION = re.compile(r"TCP\[(?!HOST_FORWARD)\w+\]")
_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\S+\s+127\.0\.0\.1\s+(?P<port>\d+)\s")


class Accel(StrEnum):
    """An accelerator, by QEMU's name."""

    KVM = "kvm"
    TCG = "tcg"

    @property
    def slowdown(self) -> int:
        """The factor by which a guest's timeouts are longer than on a real machine."""
        return 1 if self is Accel.KVM else 3


@dataclass(frozen=True)
class Template:
    """A VM that was stopped and saved in files, from which clones start."""

    folder: Path

    @property
    def memory(self) -> Path:
        """The guest's memory. Clones read it, and write to copies of its pages."""
        return self.folder / "memory"

    @property
    def state(self) -> Path:
        """The state of processor and devices: QEMU's migration stream."""
        return self.folder / "state"

    @property
    def slowdown(self) -> Path:
        """The factor by which the guest is slow, measured before it was saved: one number."""
        return self.folder / "slowdown"


@dataclass(frozen=True)
class Channels:
    """The descriptors of the sockets that QEMU inherits."""

    qmp: int
    console: int
    reseed: int


@dataclass(frozen=True, kw_only=True)
class VmSpec:
    """The specification of a VM."""

    kernel: Kernel
    image: Image
    accel: Accel
    memory_mib: int
    log_dir: Path
    slowdown: int = 1  # factor of the kernel's configuration
    cpus: int = 1  # under TCG a second one makes the boot a fifth longer
    cmdline: tuple[str, ...] = ()  # more words for the kernel; the last of a kind counts
    user_argv: tuple[str, ...] = ()  # the user's words, behind all others
    disks: tuple[Disk, ...] = ()  # their content stays: each VM writes to its own overlay
    user_dir: Path | None = None  # a folder of the host that the guest may read
    memory_file: Path | None = None  # for the memory of a future template; on tmpfs
    template: Template | None = None  # the template of which this is a clone

    @property
    def arch(self) -> Arch:
        return self.kernel.arch

    @property
    def shared_dir(self) -> Path:
        """The folder that the guest can mount through 9P."""
        return self.log_dir / "shared"


def find_qemu(arch: Arch) -> str:
    """Return the path of QEMU for an architecture. Raises SetupError if it is not installed."""
    return find_tool(_program(arch), package=arch.qemu_package)


def qemu_version(arch: Arch) -> str:
    """Return the version of the installed QEMU, such as 10.0.2.

    Raises:
        SetupError: QEMU is not installed.
        InfraError: QEMU does not print its version.
    """
    try:
        text = check_output([find_qemu(arch), "--version"], deadline=Deadline.for_host(10))
    except CommandError as exc:
        raise InfraError(f"{_program(arch)} does not run", evidence=str(exc)) from exc
    match = _VERSION.search(text)
    if match is None:
        raise InfraError(f"{_program(arch)} does not print its version", evidence=text)
    return match["version"]


def qemu_devices(arch: Arch) -> frozenset[str]:
    """Return the devices that the installed QEMU has, by the names that -device takes.

    Raises:
        SetupError: QEMU is not installed.
    """
    argv = [find_qemu(arch), "-machine", arch.machine, "-device", "help"]
    return frozenset(_DEVICE.findall(check_output(argv, deadline=Deadline.for_host(10))))


def qemu_argv(spec: VmSpec, channels: Channels) -> list[str]:
    """Return the command of a VM whose monitor, console and reseed port are inherited sockets.

    The kernel chooses the host's port for SSH: see `parse_ssh_port`. A clone waits for the
    template's state. It needs no kernel and no initramfs: they are in its memory.
    """
    begin = ["-incoming", "defer"] if spec.template else _direct_boot(spec, kernel_cmdline(spec))
    user_argv = _without_devicetree(spec.user_argv) if spec.template else spec.user_argv
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
        *user_argv,
    ]
    # fmt: on


def devicetree_argv(arch: Arch, accel: Accel, memory_mib: int, file: Path) -> list[str]:
    """Return the command that writes the device tree of such a VM to a file, and runs nothing."""
    machine = f"{_board(arch, accel)},dumpdtb={_value(file)}"
    memory = ["-m", str(memory_mib)]
    return [_program(arch), "-machine", machine, *_processor(arch, accel), *memory, *_BARE]


def _without_devicetree(words: Sequence[str]) -> list[str]:
    """Leave out -dtb, which QEMU takes only with a kernel. A clone's tree is in its memory."""
    return [
        word
        for before, word in zip(("", *words), words, strict=False)
        if "-dtb" not in (before, word)
    ]


def argv_by_hand(spec: VmSpec) -> list[str]:
    """Return the command of the same VM with console and monitor on the terminal.

    A shell runs on the console. The VM shares no folder: the testbed is not there to make one.
    """
    cmdline = f"{kernel_cmdline(spec)} testbed.shell"
    boot = _direct_boot(spec, cmdline)
    machine = _machine(spec, ssh_port=PORT_BY_HAND)
    return [*machine, *boot, "-serial", "mon:stdio", *spec.user_argv]


def command_by_hand(spec: VmSpec) -> str:
    """Return `argv_by_hand` for a shell, one option per line. Ctrl-A x ends the VM."""
    lines: list[list[str]] = []
    for word in argv_by_hand(spec):
        if not lines or word.startswith("-"):
            lines.append([])
        lines[-1].append(word)
    return " \\\n    ".join(shlex.join(words) for words in lines)


def kernel_cmdline(spec: VmSpec) -> str:
    """Return the guest kernel's command line.

    Raises:
        SetupError: it is longer than the kernel takes.
    """
    slowdown = spec.accel.slowdown * spec.slowdown
    words = (
        f"console={spec.arch.console}",
        # Shows the messages before the console's driver is up, even if the kernel stops there.
        f"earlycon={spec.arch.earlycon}",
        # Together with -no-reboot: a panic ends the VM at once.
        "panic=-1",
        f"ip={_ADDRESS}::{_GATEWAY}:{_NETMASK}:testbed:eth0:off",
        # Programs have the same addresses in each run: how many pages a fault maps depends on where
        # a mapping lies in its page table (mm/memory.c, do_fault_around()).
        "norandmaps",
        # No rate limit for /dev/kmsg, or the log would lose marks.
        "printk.devkmsg=on",
        f"watchdog_thresh={_WATCHDOG * slowdown}",
        f"rcupdate.rcu_cpu_stall_timeout={_RCU_STALL * slowdown}",
        f"sysctl.kernel.hung_task_timeout_secs={_HUNG_TASK * slowdown}",
    )
    more = [*filter(None, [spec.arch.cmdline]), *(["testbed.user"] if spec.user_dir else [])]
    line = " ".join([*words, *more, *spec.cmdline])
    if len(line) > _LONGEST_CMDLINE:
        message = f"the kernel's command line has {len(line)} characters"
        raise SetupError(message, hint=f"give a --cmdline that leaves {_LONGEST_CMDLINE} at most")
    return line


def parse_ssh_port(usernet: str) -> int | None:
    """Return the forwarded port on the host. `usernet`: the output of `info usernet`."""
    match = _FORWARD.search(usernet)
    return int(match["port"]) if match else None


def parse_connections(usernet: str) -> int:
    """Return the number of the guest's TCP connections, without the forwarded port."""
    return len(_CONNECTION.findall(usernet))


def _program(arch: Arch) -> str:
    return f"qemu-system-{arch.qemu}"


def _value(path: Path) -> str:
    """Return a path for use in an option: commas, which end a value, are doubled."""
    return str(path).replace(",", ",,")


def _disks(disks: tuple[Disk, ...]) -> list[str]:
    words = []
    for disk in disks:
        # The overlay is a file without a name: it vanishes with QEMU.
        drive = f"file={_value(disk.path)},format=raw,if=none,id={disk.name},snapshot=on"
        device = f"virtio-blk-pci,drive={disk.name},serial={disk.name}"
        words += ["-drive", drive, "-device", device]
    return words


def _folder(tag: str, path: Path, *options: str) -> list[str]:
    """Return the options for a folder of the host that the guest may mount by its tag."""
    backend = f"local,id={tag},path={_value(path)},security_model=none"
    device = f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"
    return ["-fsdev", ",".join((backend, *options)), "-device", device]


def _direct_boot(spec: VmSpec, cmdline: str) -> list[str]:
    kernel, initrd = str(spec.kernel.image), str(spec.image.path)
    return ["-kernel", kernel, "-initrd", initrd, "-append", cmdline]


def _memory(spec: VmSpec) -> tuple[str, list[str]]:
    """Return the part of -machine on the guest's memory, and the options that create it."""
    path = spec.template.memory if spec.template else spec.memory_file
    if path is None:
        return "", []
    # With share=off a write goes to a copy of the page.
    share = "off" if spec.template else "on"
    backend = f"memory-backend-file,id=ram,size={spec.memory_mib}M"
    return ",memory-backend=ram", ["-object", f"{backend},mem-path={_value(path)},share={share}"]


def _board(arch: Arch, accel: Accel) -> str:
    return arch.machine if accel is Accel.KVM else arch.tcg_machine


def _processor(arch: Arch, accel: Accel) -> list[str]:
    cpu = "host" if accel is Accel.KVM else arch.tcg_cpu
    return ["-accel", accel.value, "-cpu", cpu]


def _machine(spec: VmSpec, *, ssh_port: int) -> list[str]:
    machine = _board(spec.arch, spec.accel)
    from_file, memory = _memory(spec)
    forward = f"hostfwd=tcp:127.0.0.1:{ssh_port}-:22"
    # fmt: off
    return [
        _program(spec.arch),
        "-machine", f"{machine}{from_file}",
        *memory,
        *_processor(spec.arch, spec.accel),
        "-smp", str(spec.cpus),
        "-m", str(spec.memory_mib),
        *_BARE,
        "-no-reboot",
        "-sandbox", _SANDBOX,
        "-netdev", f"user,id=net0,restrict=on,ipv6=off,{forward}",
        # No boot ROM: nothing boots from the network. No announcement of a clone: there is nobody
        # else on the network.
        "-device", "virtio-net-pci,netdev=net0,romfile=,guest_announce=off",
        "-device", "virtio-rng-pci",
        # RAM behind a PCI BAR, for mappings that ordinary memory cannot have.
        "-object", f"memory-backend-ram,id=bar,size={BAR_SIZE}",
        # QEMU can migrate only the master of an ivshmem device.
        "-device", "ivshmem-plain,memdev=bar,master=on",
        *_disks(spec.disks),
        *(_folder(_USER_TAG, spec.user_dir, "readonly=on") if spec.user_dir else []),
        # Shows the reader of a memory dump where the kernel's symbols are.
        "-device", "vmcoreinfo",
    ]
    # fmt: on
