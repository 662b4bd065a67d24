"""What the host has and lacks, with the cure for each lack."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from testbed.arch import Arch, find_arch
from testbed.cache import Cache
from testbed.errors import TestbedError
from testbed.kernel.mirror import find_mirror
from testbed.kernel.toolchain import find_compiler
from testbed.run import find_tool
from testbed.settings import Settings
from testbed.vm.accel import outlook
from testbed.vm.qemu import qemu_version

# A fresh run for both architectures: source, two build directories, kernels, compiler cache.
_ROOM = 8_000_000_000

# Two VMs, the compiler and the testbed at once.
_MEMORY = 2_000_000_000

# What is called by name and comes with no compiler; name and Debian package.
_TOOLS = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "git": "git",
    "ccache": "ccache",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "xz": "xz-utils",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    good: bool
    found: str
    cure: str = ""


def examine(settings: Settings, cache: Cache) -> list[Finding]:
    """Look at everything that a run of these settings needs."""
    return list(_findings(settings, cache))


def _findings(settings: Settings, cache: Cache) -> Iterator[Finding]:
    for tool, package in _TOOLS.items():
        yield _look(tool, partial(find_tool, tool, package=package))
    for name in settings.arch:
        arch = find_arch(name)
        yield _look(f"compiler for {name}", partial(_compiler, settings, arch))
        yield _look(f"QEMU for {name}", partial(qemu_version, arch))
        yield _look(f"accelerator for {name}", partial(outlook, arch, settings))
    yield _look("Debian mirror", lambda: settings.mirror or find_mirror())
    keys = settings.archive_keyring
    yield Finding("Debian's keys", keys.exists(), str(keys), "apt install debian-archive-keyring")
    yield _room(settings, cache)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    yield Finding("memory", memory >= _MEMORY, f"{memory / 1e9:.1f} GB", "2 GB are needed")


def _look(what: str, find: Callable[[], object]) -> Finding:
    try:
        return Finding(what, True, str(find()))
    except TestbedError as error:
        return Finding(what, False, error.message, error.cure)


def _compiler(settings: Settings, arch: Arch) -> str:
    return find_compiler(settings.toolchain, arch).versions[0]


def _room(settings: Settings, cache: Cache) -> Finding:
    cache.root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache.root).free
    used = sum(entry.size for entry in cache.entries())
    cure = f"{(_ROOM - used) / 1e9:.1f} GB more are needed: `testbed cache prune`, or set cache_dir"
    return Finding("room for the cache", free + used >= _ROOM, f"{free / 1e9:.1f} GB free", cure)
