# SPDX-License-Identifier: GPL-2.0
"""The user's settings. Options override a settings file, which overrides the defaults."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import platformdirs

from testbed.arch import ARCHES, find_arch
from testbed.deadline import host_slowness
from testbed.errors import SetupError
from testbed.flavour import BASE, find_flavour
from testbed.tomlfile import read_toml

APP = "mmap-testbed"

CHECKOUT = Path(__file__).resolve().parent.parent
KERNEL_CONFIG = CHECKOUT / "kernel-config"

_GB = 1_000_000_000


class AccelChoice(StrEnum):
    """The accelerator that the user requests; `auto` is KVM where proven, TCG otherwise."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class Isolation(StrEnum):
    """The kernel that a test gets."""

    BATCH = "batch"  # one that began as a clone, and that up to 32 tests share
    CLONE = "clone"  # its own: a copy of a VM that booted once
    BOOT = "boot"  # its own, booted for it
    SHARED = "shared"  # the kernel of the tests before it, as long as it is healthy

    @property
    def alone(self) -> bool:
        """Whether no other test has used the kernel of a test."""
        return self in (Isolation.CLONE, Isolation.BOOT)


class Toolchain(StrEnum):
    GCC = "gcc"
    LLVM = "llvm"


def _default_jobs() -> int:
    return len(os.sched_getaffinity(0))


# Memory per worker besides its VM, in MiB: Python, QEMU, and clones prepared in advance.
WORKER_MIB = 512


def available_mib() -> int:
    """Return the memory available without swapping, in MiB (proc(5), MemAvailable)."""
    fields = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return next(int(words[1]) >> 10 for words in fields if words[0] == "MemAvailable:")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The choices of one run. Field names are the keys of the settings file."""

    arch: tuple[str, ...] = tuple(ARCHES)
    kernel: str = "debian"
    series: str = ""  # patches to apply on top, as `--series` names them
    flavour: str = BASE
    recipes: tuple[str, ...] = ()  # whose drivers the flavour `drivers` has; empty: all
    config: tuple[Path, ...] = ()  # the user's fragments, which override the flavour's
    cmdline: str = ""  # more words for the kernel's command line
    qemu: tuple[str, ...] = ()  # more words for QEMU's command line
    accel: AccelChoice = AccelChoice.AUTO
    toolchain: Toolchain = Toolchain.GCC
    jobs: int = field(default_factory=_default_jobs)
    isolation: Isolation = Isolation.BATCH
    workers: int = 0  # processes that run tests; 0: one per processor that memory allows
    memory_mib: int = 512  # of a VM; some flavours add to this
    boot_timeout: float = 60.0  # seconds until SSH must answer; more for a slow flavour or host
    mirror: str = ""  # URL of a Debian mirror; if empty, the one that the host's apt uses
    suites: tuple[str, ...] = ("trixie-backports", "sid")  # where to look for linux-source
    guest_suite: str = "trixie"  # the source of the guest's programs
    archive_keyring: Path = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    archive_max_age: float = 24.0  # hours before the archive's index is fetched again
    accept_expired: bool = False  # use a suite whose Release file is past its Valid-Until
    cache_dir: Path = field(default_factory=lambda: Path(platformdirs.user_cache_dir(APP)))
    cache_limit: int = 20 * _GB  # bytes
    template_dir: Path = Path(f"/dev/shm/{APP}-{os.getuid()}")  # of templates; on tmpfs
    template_limit: int = 2 * _GB  # bytes
    data_dir: Path = field(default_factory=lambda: Path(platformdirs.user_data_dir(APP)))
    state_dir: Path = field(default_factory=lambda: Path(platformdirs.user_state_dir(APP)))
    results_dir: Path = CHECKOUT / "results"
    history: str = ""  # URL of the database of nights; if empty, a file in data_dir
    artifacts: str = ""  # URL of their files; if empty, a folder in data_dir
    sendmail: str = ""  # the command that sends the mail of a night; if empty, none is sent

    @property
    def user_words(self) -> tuple[str, ...]:
        """The options that repeat the user's changes to kernel and QEMU."""
        return option_words(map(str, self.config), self.cmdline, self.qemu)

    @property
    def vm_memory_mib(self) -> int:
        """The memory of a VM of the flavour, in MiB."""
        return self.memory_mib + find_flavour(self.flavour).more_memory_mib

    def worker_slots(self, mib: int) -> int:
        """Return how many workers fit into `mib` MiB of memory."""
        return mib // (self.vm_memory_mib + WORKER_MIB)

    def worker_count(self, mib: int) -> int:
        """Return the number of processes that run tests on a host with `mib` MiB to spare.

        Raises:
            SetupError: more workers are requested than fit into memory.
        """
        slots = self.worker_slots(mib)
        if self.workers > slots:
            message = f"{self.workers} workers need more memory than the {mib} MiB that are free"
            need = self.vm_memory_mib + WORKER_MIB
            raise SetupError(message, hint=f"each needs {need} MiB: use at most {max(1, slots)}")
        return self.workers or max(1, min(_default_jobs(), slots))

    @property
    def boot_seconds(self) -> float:
        """The seconds in which a VM of the flavour must boot on this host."""
        return self.boot_timeout * find_flavour(self.flavour).slowdown * host_slowness()


def option_words(config: Iterable[str], cmdline: str, qemu: Sequence[str]) -> tuple[str, ...]:
    """Return options with these values. Each is one word, because pytest requires that.

    A separate value that begins with a dash would be an option to pytest.
    """
    words = [f"--config={file}" for file in config]
    words += [f"--cmdline={cmdline}"] if cmdline else []
    words += [f"--qemu={shlex.join(qemu)}"] if qemu else []
    return tuple(words)


def default_settings_file() -> Path:
    """Return the path of the user's settings file (XDG base directory specification)."""
    return Path(platformdirs.user_config_dir(APP)) / "testbed.toml"


def load_settings(file: Path | None = None, options: Mapping[str, Any] | None = None) -> Settings:
    """Read settings from a TOML file. Those `options` that are not None override it.

    Without `file`, the user's own file is read, if it exists.

    Raises:
        SetupError: the file is missing or not TOML, a key is unknown, or a value is invalid.
    """
    path = file or default_settings_file()
    values: dict[str, Any] = {}
    if file is not None or path.exists():
        values = read_toml(path, "settings file", _KNOWN)
    # An option that may be repeated is an empty tuple if it is absent.
    values |= {key: value for key, value in (options or {}).items() if value not in (None, ())}
    return _checked(values)


def settings_text(settings: Settings) -> str:
    """Return a settings file that `load_settings` reads as these settings."""
    words = {"qemu": [shlex.join(settings.qemu)] if settings.qemu else []}
    lines = []
    for each in dataclasses.fields(settings):
        value = words.get(each.name, getattr(settings, each.name))
        if value != getattr(_DEFAULTS, each.name):
            lines.append(f"{each.name} = {json.dumps(value, default=str)}\n")
    return "".join(lines)


def _checked(values: Mapping[str, Any]) -> Settings:
    settings = Settings(**{key: _convert(key, value) for key, value in values.items()})
    for name in settings.arch:
        find_arch(name)
    if not settings.arch:
        raise SetupError("no architecture is given", hint=f"choose from {', '.join(ARCHES)}")
    find_flavour(settings.flavour, settings.arch)
    for key in (
        *("jobs", "memory_mib", "boot_timeout", "cache_limit", "template_limit"),
        *(["workers"] if "workers" in values else []),  # the default is 0: as many as fit
    ):
        if getattr(settings, key) < 1:
            raise SetupError(f"{key} is {getattr(settings, key)}", hint="set it to 1 or more")
    return settings


def _convert(key: str, value: Any) -> Any:
    """Convert a TOML or option value to the type of its field."""
    kind = type(getattr(_DEFAULTS, key))
    try:
        if key in _CONVERTERS:
            return _CONVERTERS[key](value)
        if kind is tuple:
            words = value.split(",") if isinstance(value, str) else value
            return tuple(dict.fromkeys(str(word).strip() for word in words))
        if kind is bool and not isinstance(value, bool):
            raise ValueError("it must be true or false")
        if kind in (int, float) and isinstance(value, bool | str):
            raise ValueError("it must be a number")
        if kind is float and math.isnan(value):
            raise ValueError("it must be a number")
        return Path(value).expanduser().absolute() if issubclass(kind, Path) else kind(value)
    except (TypeError, ValueError, RuntimeError) as exc:  # RuntimeError: `~` of no user
        choices = ", ".join(kind) if issubclass(kind, StrEnum) else kind.__name__
        message = f"setting {key}: {value!r} is invalid: {exc}"
        raise SetupError(message, hint=f"expected {_EXPECTED.get(key, choices)}") from exc


def _paths(value: Any) -> tuple[Path, ...]:
    """Convert one path, or a list of them."""
    texts = [value] if isinstance(value, str | Path) else value
    return tuple(Path(text).expanduser().absolute() for text in texts)


def _shell_words(value: Any) -> tuple[str, ...]:
    """Split one text, or each of a list, into words as a shell does."""
    texts = [value] if isinstance(value, str) else value
    words = tuple(word for text in texts for word in shlex.split(text))
    if any("\0" in word for word in words):
        raise ValueError("a word has a NUL byte")
    return words


def _one_line(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("it must be a string")
    if not value.isprintable() or not value.isascii():
        raise ValueError("it has a character that a kernel's command line cannot have")
    return value.strip()


# Settings that are converted in a way of their own, and the hint for an invalid value.
_CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    "config": _paths,
    "cmdline": _one_line,
    "qemu": _shell_words,
}
_EXPECTED = {
    "config": "a list of files",
    "cmdline": "words for the kernel, in one string",
    "qemu": "a list of words for QEMU, quoted as for a shell",
}

_DEFAULTS = Settings()
_KNOWN = tuple(each.name for each in dataclasses.fields(Settings))
