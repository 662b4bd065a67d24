# SPDX-License-Identifier: GPL-2.0
"""The tools that turn a tree into a kernel: which are there, and how make is told of them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from testbed.arch import Arch, host_uname
from testbed.errors import SetupError
from testbed.process import SYSTEM_PATH, check_output, find_tool
from testbed.settings import Toolchain

# What a kernel build needs on any architecture, and the Debian packages that bring it.
_TOOLS = {"make": "make", "flex": "flex", "bison": "bison", "bc": "bc", "depmod": "kmod"}

# What make calls with LLVM=1, and with the same suffix each with LLVM=-19.
_LLVM_TOOLS = ("clang", "ld.lld", "llvm-ar", "llvm-nm", "llvm-objcopy", "llvm-strip")

# 7.3 wants 17.0.1 (scripts/min-tool-version.sh). Debian 12's plain `clang` is 14; newer ones
# are there under names with their version.
_LLVM_OLDEST = 17
_LLVM_NEWEST = 29


# Kconfig notes their versions in .config wherever the host has them, although nothing here
# is written in Rust or described in BTF: equal requests would come to different kernels.
_UNUSED = ("RUSTC", "BINDGEN", "PAHOLE")


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """A toolchain that is installed, for one architecture."""

    kind: Toolchain
    arch: Arch
    prefix: str  # CROSS_COMPILE: empty where the host is of that architecture
    versions: tuple[str, ...]  # compiler and linker, as they name themselves
    suffix: str = ""  # of LLVM's tools, such as -19

    @property
    def identity(self) -> str:
        """Equal for toolchains that make equal objects: part of a kernel's key."""
        return "\n".join((self.kind, *self.versions))

    @property
    def command(self) -> str:
        """The compiler that make calls."""
        return f"clang{self.suffix}" if self.kind is Toolchain.LLVM else f"{self.prefix}gcc"

    @property
    def host_command(self) -> str:
        """The compiler for what runs during the build."""
        return f"clang{self.suffix}" if self.kind is Toolchain.LLVM else "gcc"

    def variables(self, *, ccache: bool = False) -> tuple[str, ...]:
        """What selects this toolchain on make's command line."""
        # Each is given even where it is empty: make takes it from the environment otherwise.
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
    """CROSS_COMPILE for that architecture on this host."""
    return "" if arch.uname == host_uname() else f"{arch.triplet}-"


def find_gcc(arch: Arch) -> str:
    """The GNU compiler for an architecture.

    Raises:
        SetupError: it is not installed; names the Debian package.
    """
    prefix = cross_prefix(arch)
    package = f"gcc-{arch.triplet.replace('_', '-')}" if prefix else "gcc"
    return find_tool(f"{prefix}gcc", package=package)


def find_compiler(kind: Toolchain, arch: Arch) -> Compiler:
    """The toolchain of that kind, with all else that a kernel build calls.

    Raises:
        SetupError: a tool is not installed; names the Debian package.
    """
    for tool, package in _TOOLS.items():
        find_tool(tool, package=package)
    return _find_llvm(arch) if kind is Toolchain.LLVM else _find_gnu(arch)


def _find_gnu(arch: Arch) -> Compiler:
    find_tool("gcc", package="gcc")  # compiles what runs during the build
    prefix = cross_prefix(arch)
    versions = _version(find_gcc(arch)), _version(f"{prefix}ld")
    return Compiler(kind=Toolchain.GCC, arch=arch, prefix=prefix, versions=versions)


def _find_llvm(arch: Arch) -> Compiler:
    """The plain names where they are new enough, else the newest with a suffix."""
    suffixes = ["", *(f"-{major}" for major in range(_LLVM_NEWEST, _LLVM_OLDEST - 1, -1))]
    for suffix in suffixes:
        if all(shutil.which(f"{tool}{suffix}") for tool in _LLVM_TOOLS):
            versions = _version(f"clang{suffix}"), _version(f"ld.lld{suffix}")
            if _major(versions[0]) >= _LLVM_OLDEST:
                return Compiler(
                    kind=Toolchain.LLVM, arch=arch, prefix="", versions=versions, suffix=suffix
                )
    raise SetupError(
        f"LLVM {_LLVM_OLDEST} or later is not installed, or not all of it: "
        f"a kernel needs {', '.join(_LLVM_TOOLS)}",
        hint="apt install clang lld llvm; where those are older: clang-19 lld-19 llvm-19",
    )


def _major(version: str) -> int:
    match = re.search(r"version (\d+)\.", version)
    return int(match[1]) if match else 0


def _version(command: str) -> str:
    return check_output([command, "--version"]).partition("\n")[0]


def have_ccache() -> bool:
    return shutil.which("ccache") is not None


# A ccache that relies on the compiler's dependencies does not know what assembly takes in by
# .incbin (seen with 4.7.5). x86's piggy.S takes in the compressed kernel: of two kernels that
# are equally long when compressed, the second would be the first.
_FRONT = """\
#!/bin/sh
for word; do
	case $word in *.S) export CCACHE_DISABLE=1 ;; esac
done
exec {ccache} "$@"
"""


def ccache_front(folder: Path) -> Path:
    """A `ccache` of our own, made in `folder`, that leaves assembly to the compiler.

    It goes by PATH, so that the command that kbuild remembers for an object stays the same.
    """
    front = folder / "ccache"
    folder.mkdir(parents=True, exist_ok=True)
    front.write_text(_FRONT.format(ccache=shlex.quote(find_tool("ccache"))))
    front.chmod(0o755)
    return front


def ccache_environment(*, directory: Path, base: Path, limit: int, stats: Path) -> dict[str, str]:
    """How ccache is told to serve a kernel build.

    Args:
        base: below this, paths are hashed as relative: work directories share objects.
        limit: bytes that the compiler cache may take.
        stats: file to which each call appends what became of it.
    """
    return {
        "PATH": f"{ccache_front(base / 'bin').parent}:{os.environ['PATH']}{SYSTEM_PATH}",
        "CCACHE_DIR": str(directory),
        # kbuild asks the compiler for dependencies anyway. To rely on them saves a run of
        # the preprocessor per object: 1.02 times plain make with a cold cache, not 1.32.
        "CCACHE_DEPEND": "1",
        "CCACHE_BASEDIR": str(base),
        "CCACHE_NOHASHDIR": "1",
        "CCACHE_MAXSIZE": f"{limit // 1_000_000}M",
        "CCACHE_STATSLOG": str(stats),
    }


@dataclass(frozen=True)
class CcacheUse:
    """How often ccache had an object, in one build."""

    hits: int
    misses: int


def read_ccache_use(stats: Path) -> CcacheUse:
    """Count the calls in a statistics log; a missing log is a build without ccache."""
    lines = stats.read_text().splitlines() if stats.exists() else []
    hits = lines.count("direct_cache_hit") + lines.count("preprocessed_cache_hit")
    return CcacheUse(hits, lines.count("cache_miss"))
