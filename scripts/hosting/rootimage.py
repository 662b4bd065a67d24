# SPDX-License-Identifier: GPL-2.0
"""A host's disk: Debian with what scripts/setup installs, made by mmdebstrap and kept in the cache.

Root is not required. A disk that another user makes belongs to its root altogether; the host gives
its user's files back to the user when it starts.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from hosting.hosttable import CHECKOUT_INSIDE, USER, Host
from testbed.arch import ARCHES, host_uname
from testbed.cache import Verify, digest
from testbed.context import Context
from testbed.deadline import Deadline
from testbed.errors import SetupError
from testbed.kernel.mirror import find_mirror
from testbed.process import Argv, find_tool, run
from testbed.settings import CHECKOUT

_LAYOUT = "1"

INSIDE = Path(__file__).with_name("inside")
_PREPARE = INSIDE / "prepare.sh"
_INIT = INSIDE / "init.sh"

# What scripts/setup reads of the checkout, on each machine; pyproject.toml names the last two.
_PACKAGE_LISTS = tuple(
    CHECKOUT / "scripts" / "packages" / name
    for name in ("common", *(arch.uname for arch in ARCHES.values()))
)
_SETUP = (
    *(CHECKOUT / name for name in ("scripts/setup", "requirements.lock", "pyproject.toml")),
    *_PACKAGE_LISTS,
)
_NAMED = (CHECKOUT / "README.md", CHECKOUT / "testbed" / "__init__.py")

# What the host needs besides Debian's essential packages. scripts/setup has to name the rest.
_PACKAGES = ("bsdutils", "ca-certificates", "iproute2", "kmod", "mount", "procps", "udev")

# The oldest C library that a wheel may need is that of Debian 12, 2.36.
_MANYLINUX = (
    *("manylinux1", "manylinux2010", "manylinux2014"),
    *(f"manylinux_2_{minor}" for minor in range(5, 37)),
    "linux",
)

# The initramfs has what mounts the disk, and no more: the emulated host unpacks it.
_MODULES = "/usr/share/initramfs-tools/modules.d"
_FOR_INITRAMFS = (
    f'mkdir -p "$1/etc/initramfs-tools/conf.d" "$1{_MODULES}"',
    'echo MODULES=list >"$1/etc/initramfs-tools/conf.d/hosts"',
    f'printf "virtio_pci\\nvirtio_blk\\next4\\n" >"$1{_MODULES}/hosts"',
)

# What nobody reads in a host.
_UNREAD = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")

_DISK_SIZE = "16G"  # a sparse file

# Seconds. A foreign host's programs run in QEMU's user emulation.
_DOWNLOAD = 3600.0
_BOOTSTRAP = 7200.0
_MAKE_DISK = 1200.0
_TRY = 60.0


@dataclass(frozen=True)
class RootImage:
    """A host's disk, and the kernel that boots it."""

    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "root.img"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"


def make_root_image(host: Host, ctx: Context) -> RootImage:
    """Return a host's disk, made unless the cache has it.

    Raises:
        SetupError: mmdebstrap is missing, or nothing here runs the host's programs.
        CommandError: a package could not be fetched, or scripts/setup failed in the host.
    """
    texts = [part.read_text() for part in (*_SETUP, _PREPARE, _INIT)]
    key = digest(_LAYOUT, host.suite, host.arch.name, host.kernel_package, host.python, *texts)

    def make(scratch: Path) -> None:
        wheels = _wheels(host, ctx)
        with ctx.cache.work(f"host-{host}") as work:
            log = work / "bootstrap.log"  # it stays after a failure
            log.write_text("")
            with ctx.progress.step(f"{host}: root file system"):
                _bootstrap(host, wheels, scratch / "root.tar", log, ctx)
            with ctx.progress.step(f"{host}: disk"):
                _make_disk(scratch, log)

    return RootImage(ctx.cache.get("host-root", key, make, verify=Verify.STAT))


def _wheels(host: Host, ctx: Context) -> Path:
    """Return the locked Python packages for the host: pip downloads them with its own settings."""
    lock = CHECKOUT / "requirements.lock"

    def make(scratch: Path) -> None:
        # fmt: off
        argv: Argv = [
            sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps",
            "--only-binary=:all:", "--python-version", host.python,
            *(f"--platform={name}_{host.arch.uname}" for name in _MANYLINUX),
            "--requirement", lock, "--dest", scratch,
        ]
        # fmt: on
        with ctx.progress.step(f"{host}: Python packages"):
            run(argv, deadline=Deadline.after(_DOWNLOAD))

    key = digest(_LAYOUT, host.python, host.arch.name, lock.read_text())
    return ctx.cache.get("host-wheels", key, make)


def _bootstrap(host: Host, wheels: Path, tar: Path, log: Path, ctx: Context) -> None:
    program = find_tool("mmdebstrap")
    require_namespaces()
    if host.arch.uname != host_uname():
        _require_emulation(host)
    packages = ",".join((*_PACKAGES, host.kernel_package))
    mirror = ctx.settings.mirror or find_mirror()
    # fmt: off
    argv: Argv = [
        program, "--variant=minbase", f"--architectures={host.arch.debian}",
        f"--include={packages}", f"--keyring={ctx.settings.archive_keyring}",
        "--dpkgopt=force-unsafe-io", *(f"--dpkgopt=path-exclude={path}" for path in _UNREAD),
        *(f"--essential-hook={command}" for command in _FOR_INITRAMFS),
        *(f"--customize-hook={command}" for command in _for_user(wheels)),
        host.suite, tar, f"deb {mirror} {host.suite} main",
    ]
    # fmt: on
    run(argv, log=log, deadline=Deadline.after(_BOOTSTRAP))


def _for_user(wheels: Path) -> list[str]:
    """Return the commands that make the user, and set the testbed up as the user does."""
    top = Path("/opt/checkout")
    places: dict[Path, list[Path]] = {}
    for file in (*_SETUP, *_NAMED):
        places.setdefault(top / file.relative_to(CHECKOUT).parent, []).append(file)
    return [
        *(f'mkdir -p "$1{place}"' for place in places),
        *(f"copy-in {' '.join(map(str, files))} {place}" for place, files in places.items()),
        f"copy-in {_PREPARE} {_INIT} {wheels} /opt",
        f'chroot "$1" sh /opt/prepare.sh {USER} {CHECKOUT_INSIDE} /opt/{wheels.name}',
    ]


def require_namespaces() -> None:
    """Check that a user may become root of a namespace of its own."""
    if os.getuid() == 0:
        return
    argv = ["unshare", "--map-root-user", "true"]
    done = run(argv, deadline=Deadline.after(_TRY), ok=range(256))
    if done.status:
        raise SetupError(
            "this user can make no user namespace",
            hint="run as root, or `sudo sysctl` kernel.unprivileged_userns_clone=1 (Debian) or"
            " kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu)",
            evidence=done.stderr,
        )


def _require_emulation(host: Host) -> None:
    """Check that programs of the host's architecture run here."""
    if not Path(f"/proc/sys/fs/binfmt_misc/qemu-{host.arch.uname}").exists():
        raise SetupError(
            f"{host}: programs of {host.arch} do not run here",
            hint="apt install qemu-user-static, which registers QEMU for them in binfmt_misc",
        )


def _make_disk(scratch: Path, log: Path) -> None:
    """Turn the tar archive into a disk, and copy the kernel from it."""
    root, tar = scratch / "root", scratch / "root.tar"
    root.mkdir()
    # A user becomes root of a namespace of its own, which has no other owners: mke2fs then sees
    # files of root.
    alone = [] if os.getuid() == 0 else ["unshare", "--map-root-user"]
    owners = ["--numeric-owner"] if os.getuid() == 0 else ["--no-same-owner"]
    # fmt: off
    unpack: Argv = ["tar", "--extract", "--file", tar, "--directory", root, *owners,
              "--preserve-permissions", "--exclude=./dev/*"]
    pack: Argv = [find_tool("mke2fs", package="e2fsprogs"), "-q", "-t", "ext4", "-d", root,
            "-E", "root_owner=0:0", scratch / "root.img", _DISK_SIZE]
    # fmt: on
    deadline = Deadline.after(_MAKE_DISK)
    for argv in (unpack, pack):
        run([*alone, *argv], log=log, deadline=deadline)
    for name in ("vmlinuz", "initrd.img"):
        (found,) = (root / "boot").glob(f"{name}-*")
        shutil.copy2(found, scratch / name)
    run([*alone, "rm", "-rf", root, tar], deadline=deadline)
