# SPDX-License-Identifier: GPL-2.0
"""Find the tools that build a kernel, and select them on make's command line."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from testbed.arch import Arch, host_uname
from testbed.errors import SetupError
from testbed.process import SYSTEM_PATH, find_tool, run
from testbed.settings import Toolchain

# The tools that a kernel build needs on any architecture, and their Debian packages.
_TOOLS = {"make": "make", "flex": "flex", "bison": "bison", "bc": "bc", "depmod": "kmod"}

# The tools that make calls with LLVM=1. With LLVM=-19 each has that suffix.
_LLVM_TOOLS = ("clang", "ld.lld", "llvm-ar", "llvm-nm", "llvm-objcopy", "llvm-strip")

# 7.3 requires 17.0.1 (scripts/min-tool-version.sh). Debian 12's plain `clang` is 14; newer ones
# have their version in their names.
_LLVM_OLDEST = 17
_LLVM_NEWEST = 29


# Kconfig writes the versions of these tools to .config if the host has them, although the build
# uses neither Rust nor BTF. Then equal requests would yield different kernels.
_UNUSED = ("RUSTC", "BINDGEN", "PAHOLE")


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """An installed toolchain for one architecture."""

    kind: Toolchain
    arch: Arch
    prefix: str  # CROSS_COMPILE; empty if the host has that architecture
    versions: tuple[str, ...]  # the first line of --version, of compiler and linker
    suffix: str = ""  # of LLVM's tools, such as -19

    @property
    def identity(self) -> str:
        """A part of a kernel's key, equal for toolchains that make equal objects."""
        return "\n".join((self.kind, *self.versions))

    @property
    def command(self) -> str:
        """The compiler that make calls."""
        return f"clang{self.suffix}" if self.kind is Toolchain.LLVM else f"{self.prefix}gcc"

    @property
    def objcopy(self) -> str:
        """The tool that copies parts of an object."""
        llvm = self.kind is Toolchain.LLVM
        return f"llvm-objcopy{self.suffix}" if llvm else f"{self.prefix}objcopy"

    @property
    def gcov(self) -> str:
        """The program that reads what an object of this compiler has counted."""
        version = self.versions[0].split(")")[-1].split()[0].partition(".")[0]
        return f"{self.prefix}gcov-{version}"

    @property
    def host_command(self) -> str:
        """The compiler for programs that run during the build."""
        return f"clang{self.suffix}" if self.kind is Toolchain.LLVM else "gcc"

    def variables(self, *, ccache: bool = False) -> tuple[str, ...]:
        """Return the variables that select this toolchain on make's command line."""
        # Pass empty ones too, or make takes them from the environment.
        launcher = "ccache " if ccache else ""
        llvm = self.kind is Toolchain.LLVM
        return (
            f"ARCH={self.arch.kernel_arch}",
            f"CROSS_COMPILE={'' if llvm else self.prefix}",
            f"LLVM={(self.suffix or '1') if llvm else ''}",
            f"CC={launcher}{self.command}",
            f"HOSTCC={launcher}{self.host_command}",
            *(f"{tool}=none" for tool in _UNUSED),
        )


def cross_prefix(arch: Arch) -> str:
    """Return CROSS_COMPILE for that architecture on this host."""
    return "" if arch.uname == host_uname() else f"{arch.triplet}-"


def find_gcc(arch: Arch) -> str:
    """Return the GNU compiler for an architecture.

    Raises:
        SetupError: it is not installed. The hint names the Debian package.
    """
    prefix = cross_prefix(arch)
    package = f"gcc-{arch.triplet.replace('_', '-')}" if prefix else "gcc"
    return find_tool(f"{prefix}gcc", package=package)


def find_compiler(kind: Toolchain, arch: Arch) -> Compiler:
    """Find the toolchain of that kind, and check all other tools of a kernel build.

    Raises:
        SetupError: a tool is not installed. The hint names the Debian package.
    """
    for tool, package in _TOOLS.items():
        find_tool(tool, package=package)
    return _find_llvm(arch) if kind is Toolchain.LLVM else _find_gnu(arch)


def _find_gnu(arch: Arch) -> Compiler:
    find_tool("gcc", package="gcc")  # compiles the programs that run during the build
    prefix = cross_prefix(arch)
    versions = _version(find_gcc(arch)), _version(f"{prefix}ld")
    return Compiler(kind=Toolchain.GCC, arch=arch, prefix=prefix, versions=versions)


def _find_llvm(arch: Arch) -> Compiler:
    """Take the plain names if they are new enough, else the newest with a suffix."""
    suffixes = ["", *(f"-{major}" for major in range(_LLVM_NEWEST, _LLVM_OLDEST - 1, -1))]
    for suffix in suffixes:
        if all(shutil.which(f"{tool}{suffix}") for tool in _LLVM_TOOLS):
            versions = _version(f"clang{suffix}"), _version(f"ld.lld{suffix}")
            if _major(versions[0]) >= _LLVM_OLDEST:
                return Compiler(
                    kind=Toolchain.LLVM, arch=arch, prefix="", versions=versions, suffix=suffix
                )
    raise SetupError(
        f"LLVM {_LLVM_OLDEST} or later is not installed or incomplete: "
        f"a kernel build needs {', '.join(_LLVM_TOOLS)}",
        hint="apt install clang lld llvm; if those are older: clang-19 lld-19 llvm-19",
    )


def _major(version: str) -> int:
    match = re.search(r"version (\d+)\.", version)
    return int(match[1]) if match else 0


def _version(command: str) -> str:
    return run([command, "--version"], alone=True).stdout.partition("\n")[0]


def have_ccache() -> bool:
    return shutil.which("ccache") is not None


# A ccache that relies on the compiler's dependencies ignores files that assembly includes by
# .incbin (seen with 4.7.5). x86's piggy.S includes the compressed kernel. If two compressed
# kernels had the same length, the second build would yield the first kernel.
_FRONT = """\
#!/bin/sh
for word; do
	case $word in *.S) export CCACHE_DISABLE=1 ;; esac
done
exec {ccache} "$@"
"""


def ccache_front(folder: Path) -> Path:
    """Create a wrapper named `ccache` in `folder` that disables ccache for assembly.

    It is found by PATH. So the command that kbuild records for an object stays the same.
    """
    front = folder / "ccache"
    folder.mkdir(parents=True, exist_ok=True)
    front.write_text(_FRONT.format(ccache=shlex.quote(find_tool("ccache"))))
    front.chmod(0o755)
    return front


def ccache_environment(*, directory: Path, base: Path, limit: int, stats: Path) -> dict[str, str]:
    """Return the environment of ccache for a kernel build.

    Args:
        base: paths below it are hashed as relative, so that work directories share objects.
        limit: size of the compiler cache in bytes.
        stats: file to which each call appends its result.
    """
    return {
        "PATH": f"{ccache_front(base / 'bin').parent}:{os.environ['PATH']}{SYSTEM_PATH}",
        "CCACHE_DIR": str(directory),
        # kbuild makes the compiler write dependencies anyway. Relying on them saves a run of the
        # preprocessor per object: 1.02 times plain make with a cold cache, instead of 1.32.
        "CCACHE_DEPEND": "1",
        "CCACHE_BASEDIR": str(base),
        "CCACHE_NOHASHDIR": "1",
        "CCACHE_MAXSIZE": f"{limit // 1_000_000}M",
        "CCACHE_STATSLOG": str(stats),
    }


@dataclass(frozen=True)
class CcacheUse:
    """Counts of ccache's hits and misses in one build."""

    hits: int
    misses: int


def read_ccache_use(stats: Path) -> CcacheUse:
    """Count hits and misses in a statistics log. Without ccache there is no log."""
    lines = stats.read_text().splitlines() if stats.exists() else []
    hits = lines.count("direct_cache_hit") + lines.count("preprocessed_cache_hit")
    return CcacheUse(hits, lines.count("cache_miss"))
