# SPDX-License-Identifier: GPL-2.0
"""The examination of the host, with a hint for everything that it lacks."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from testbed.arch import ARCHES, Arch, find_arch, host_uname
from testbed.cache import Cache
from testbed.errors import SetupError, TestbedError
from testbed.files import make_folder
from testbed.flavour import find_flavour
from testbed.image.disks import disk_programs
from testbed.kernel.make import require_plain
from testbed.kernel.mirror import find_mirror
from testbed.kernel.toolchain import find_compiler, find_gcc
from testbed.process import find_tool, run
from testbed.settings import AccelChoice, Settings
from testbed.vm.accel import Accel, kvm_refused, outlook
from testbed.vm.qemu import qemu_version
from testbed.vm.vfio import group_node, handed_in, iommu_group, locked_memory, released

# Bytes for a first run on both architectures: source, two build directories, kernels, compiler
# cache.
_ROOM = 8_000_000_000

# Bytes for two VMs, the compiler and the testbed at once.
_MEMORY = 2_000_000_000

# Programs that are called by name and do not come with the compiler: name and Debian package.
_TOOLS = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "git": "git",
    "ccache": "ccache",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
}


# Headers for programs that run on the host during a build, and for the guest programs.
_HOST_HEADERS = {"gelf.h": "libelf-dev", "openssl/evp.h": "libssl-dev"}
_LIBC = {
    name: {"stdlib.h": f"libc6-dev-{arch.debian}-cross, or libc6-dev on {name}"}
    for name, arch in ARCHES.items()
}


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    what: str
    good: bool
    found: str
    hint: str = ""
    advice: str = ""  # also of a good one: what would be better


def examine(settings: Settings, cache: Cache) -> list[Finding]:
    """Check everything that a run with these settings needs."""
    return list(_findings(settings, cache))


def _findings(settings: Settings, cache: Cache) -> Iterator[Finding]:
    for tool, package in _TOOLS.items():
        yield _look(tool, partial(find_tool, tool, package=package))
    yield _look("headers for the build", partial(_headers, "gcc", _HOST_HEADERS))
    for name in settings.arch:
        arch = find_arch(name)
        yield _look(f"compiler for {name}", partial(_compiler, settings, arch))
        yield _look(f"C library for {name}", partial(_libc, arch))
        yield _look(f"QEMU for {name}", partial(qemu_version, arch))
        yield _accelerator(f"accelerator for {name}", arch, settings)
    for address in handed_in(settings.qemu):
        yield from _vfio(address, settings)
    for name, package in disk_programs().items():
        yield _look(name, partial(find_tool, name, package=package))
    yield _look("Debian mirror", lambda: settings.mirror or find_mirror())
    keys = settings.archive_keyring
    yield Finding("Debian's keys", keys.exists(), str(keys), "apt install debian-archive-keyring")
    cache_dir = _look("cache_dir", partial(_cache_dir, cache))
    yield cache_dir
    if cache_dir.good:
        yield _room(cache)
    for name in ("data_dir", "state_dir"):
        yield _look(name, partial(make_folder, getattr(settings, name), name))
    yield _memory(settings)


def _look(what: str, find: Callable[[], object]) -> Finding:
    try:
        return Finding(what, True, str(find()))
    except TestbedError as error:
        return Finding(what, False, error.message, error.hint)


def _accelerator(what: str, arch: Arch, settings: Settings) -> Finding:
    try:
        decision = outlook(arch, settings)
    except TestbedError as error:
        return Finding(what, False, error.message, error.hint)
    if settings.accel is AccelChoice.KVM and decision.accel is not Accel.KVM:
        refused = kvm_refused(decision.reason, decision.hint)
        return Finding(what, False, refused.message, refused.hint)
    return Finding(what, True, str(decision), advice=decision.hint)


def _vfio(address: str, settings: Settings) -> Iterator[Finding]:
    """Check what a PCI device of the host needs that a guest gets."""
    own = next(arch for arch in ARCHES.values() if arch.uname == host_uname())
    only_kvm = dataclasses.replace(settings, accel=AccelChoice.KVM)
    yield _accelerator(f"KVM for {address}", own, only_kvm)
    yield _look(f"IOMMU group of {address}", partial(iommu_group, address))
    yield _look(f"drivers in the group of {address}", partial(released, address))
    yield _look(f"access to {address}", partial(group_node, address))
    yield _look(f"locked memory for {address}", partial(locked_memory, settings.vm_memory_mib))


def _headers(compiler: str, headers: Mapping[str, str]) -> str:
    """Check that a compiler finds the headers. `headers` has the package of each."""
    for header, package in headers.items():
        source = f"#include <{header}>\n".encode()
        if run([compiler, "-E", "-x", "c", "-"], stdin=source, ok=range(256)).status:
            raise SetupError(f"{header} is not installed", hint=f"apt install {package}")
    return ", ".join(headers)


def _libc(arch: Arch) -> str:
    return _headers(find_gcc(arch), _LIBC[arch.name])


def _compiler(settings: Settings, arch: Arch) -> str:
    return find_compiler(settings.toolchain, arch).versions[0]


def _memory(settings: Settings) -> Finding:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    more = len(settings.arch) * find_flavour(settings.flavour).more_memory_mib
    needed = _MEMORY + more * 1024 * 1024
    hint = f"{needed / 1e9:.1f} GB are needed"
    return Finding("memory", memory >= needed, f"{memory / 1e9:.1f} GB", hint)


def _cache_dir(cache: Cache) -> Path:
    require_plain(cache.root)
    return make_folder(cache.root, cache.setting)


def _room(cache: Cache) -> Finding:
    free = shutil.disk_usage(cache.root).free
    used = sum(entry.size for entry in cache.entries())
    missing = f"{(_ROOM - used) / 1e9:.1f} GB more are needed"
    hint = f"{missing}: run `testbed cache prune`, or set cache_dir"
    return Finding("room for the cache", free + used >= _ROOM, f"{free / 1e9:.1f} GB free", hint)
