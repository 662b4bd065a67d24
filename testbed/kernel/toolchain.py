"""The tools that turn a tree into a kernel: which are there, and how make is told of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from testbed.arch import Arch, host_uname
from testbed.run import check_output, find_tool
from testbed.settings import Toolchain

# What a kernel build needs on any architecture, and the Debian packages that bring it.
_TOOLS = {"make": "make", "flex": "flex", "bison": "bison", "bc": "bc", "depmod": "kmod"}

# With LLVM=1 make takes these from PATH.
_LLVM_TOOLS = {"clang": "clang", "ld.lld": "lld", "llvm-ar": "llvm", "llvm-objcopy": "llvm"}


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """A toolchain that is installed, for one architecture."""

    kind: Toolchain
    arch: Arch
    prefix: str  # CROSS_COMPILE: empty where the host is of that architecture
    versions: tuple[str, ...]  # compiler and linker, as they name themselves

    @property
    def identity(self) -> str:
        """Equal for toolchains that make equal objects: part of a kernel's key."""
        return "\n".join((self.kind, *self.versions))

    @property
    def command(self) -> str:
        """The compiler that make calls."""
        return "clang" if self.kind is Toolchain.LLVM else f"{self.prefix}gcc"

    @property
    def host_command(self) -> str:
        """The compiler for what runs during the build."""
        return "clang" if self.kind is Toolchain.LLVM else "gcc"

    def variables(self, *, ccache: bool = False) -> tuple[str, ...]:
        """What selects this toolchain on make's command line."""
        # Each is given even where it is empty: make takes it from the environment otherwise.
        launcher = "ccache " if ccache else ""
        return (
            f"ARCH={self.arch.kernel_arch}",
            f"CROSS_COMPILE={self.prefix if self.kind is Toolchain.GCC else ''}",
            f"LLVM={'1' if self.kind is Toolchain.LLVM else ''}",
            f"CC={launcher}{self.command}",
            f"HOSTCC={launcher}{self.host_command}",
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
    prefix = cross_prefix(arch)
    if kind is Toolchain.LLVM:
        for tool, package in _LLVM_TOOLS.items():
            find_tool(tool, package=package)
        commands = ["clang", "ld.lld"]
    else:
        find_tool("gcc", package="gcc")  # compiles what runs during the build
        commands = [find_gcc(arch), f"{prefix}ld"]
    versions = tuple(_version(command) for command in commands)
    return Compiler(kind=kind, arch=arch, prefix=prefix, versions=versions)


def _version(command: str) -> str:
    return check_output([command, "--version"]).partition("\n")[0]


def have_ccache() -> bool:
    return shutil.which("ccache") is not None


def ccache_environment(*, directory: Path, base: Path, limit: int, stats: Path) -> dict[str, str]:
    """How ccache is told to serve a kernel build.

    Args:
        base: below this, paths are hashed as relative: work directories share objects.
        limit: bytes that the compiler cache may take.
        stats: file to which each call appends what became of it.
    """
    return {
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
