# SPDX-License-Identifier: GPL-2.0
"""The search for tools, and the settings of make and ccache."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.arch import ARCHES, Arch, host_uname
from testbed.errors import SetupError
from testbed.kernel.toolchain import (
    CcacheUse,
    Compiler,
    ccache_environment,
    cross_prefix,
    find_compiler,
    find_gcc,
    have_ccache,
    read_ccache_use,
)
from testbed.process import find_tool, run
from testbed.settings import Toolchain

X86_64, ARM64 = ARCHES["x86_64"], ARCHES["arm64"]

TOOLS = ("make", "flex", "bison", "bc", "depmod", "gcc", "ld")


def install(folder: Path, *names: str, version: str = "12.2.0") -> None:
    """Install scripts that print a version."""
    for name in names:
        tool = folder / name
        tool.write_text(f'#!/bin/sh\necho "{version}"\necho "Copyright"\n')
        tool.chmod(0o755)


@pytest.fixture
def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An x86_64 host with only the tools that a test installs in this folder."""
    for tool in ("setpriv", "sh"):  # testbed.process needs them to start the others
        (tmp_path / tool).symlink_to(find_tool(tool))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("testbed.process.SYSTEM_PATH", "")
    monkeypatch.setattr("testbed.kernel.toolchain.host_uname", lambda: "x86_64")
    return tmp_path


def compiler(kind: Toolchain, arch: Arch, prefix: str) -> Compiler:
    return Compiler(kind=kind, arch=arch, prefix=prefix, versions=("gcc 12", "ld 2.40"))


@pytest.mark.parametrize("host", [X86_64, ARM64], ids=str)
def test_only_the_other_architecture_has_a_prefix(
    host: Arch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.kernel.toolchain.host_uname", lambda: host.uname)
    (other,) = (arch for arch in ARCHES.values() if arch is not host)
    assert cross_prefix(host) == ""
    assert cross_prefix(other) == f"{other.triplet}-"


# A host with Rust yields the same .config as one without.
UNUSED = ("RUSTC=none", "BINDGEN=none", "PAHOLE=none")


def test_gcc_for_another_architecture_is_a_cross_compiler() -> None:
    assert compiler(Toolchain.GCC, ARM64, "aarch64-linux-gnu-").variables(ccache=True) == (
        "ARCH=arm64",
        "CROSS_COMPILE=aarch64-linux-gnu-",
        "LLVM=",
        "CC=ccache aarch64-linux-gnu-gcc",
        "HOSTCC=ccache gcc",
        *UNUSED,
    )


def test_llvm_needs_no_prefix() -> None:
    assert compiler(Toolchain.LLVM, ARM64, "aarch64-linux-gnu-").variables() == (
        "ARCH=arm64",
        "CROSS_COMPILE=",
        "LLVM=1",
        "CC=clang",
        "HOSTCC=clang",
        *UNUSED,
    )


@pytest.mark.parametrize(
    ("target", "package"),
    [(ARM64, "gcc-aarch64-linux-gnu"), (X86_64, "gcc-x86-64-linux-gnu")],
    ids=["arm64", "x86_64"],
)
def test_a_missing_cross_compiler_is_named_with_its_package(
    target: Arch, package: str, only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.kernel.toolchain.host_uname", lambda: "riscv64")
    with pytest.raises(SetupError, match=f"{target.triplet}-gcc is not installed") as caught:
        find_gcc(target)
    assert caught.value.hint == f"apt install {package}"


@pytest.mark.parametrize(
    ("missing", "package"), [("flex", "flex"), ("depmod", "kmod"), ("gcc", "gcc")]
)
def test_a_missing_tool_is_named_with_its_package(missing: str, package: str, only: Path) -> None:
    install(only, *(name for name in TOOLS if name != missing))
    with pytest.raises(SetupError, match=f"{missing} is not installed") as caught:
        find_compiler(Toolchain.GCC, X86_64)
    assert caught.value.hint == f"apt install {package}"


LLVM = ("clang", "ld.lld", "llvm-ar", "llvm-nm", "llvm-objcopy", "llvm-strip")


def install_llvm(folder: Path, suffix: str, major: int) -> None:
    for name in LLVM:
        install(folder, f"{name}{suffix}", version=f"Debian {name} version {major}.0.6")


def test_plain_llvm_is_taken_if_it_is_new_enough(only: Path) -> None:
    install(only, *TOOLS)
    install_llvm(only, "", 19)
    install_llvm(only, "-21", 21)
    found = find_compiler(Toolchain.LLVM, ARM64)
    assert "LLVM=1" in found.variables()
    assert found.versions[0] == "Debian clang version 19.0.6"


def test_the_newest_llvm_with_a_suffix_is_taken_if_the_plain_one_is_too_old(only: Path) -> None:
    install(only, *TOOLS)
    for suffix, major in (("", 14), ("-16", 16), ("-17", 17), ("-19", 19)):
        install_llvm(only, suffix, major)
    found = find_compiler(Toolchain.LLVM, ARM64)
    assert "LLVM=-19" in found.variables()
    assert found.command == "clang-19"


def test_incomplete_llvm_is_named_with_its_packages(only: Path) -> None:
    install(only, *TOOLS)
    install_llvm(only, "", 19)
    (only / "ld.lld").unlink()
    with pytest.raises(
        SetupError, match=r"incomplete: a kernel build needs clang, ld\.lld"
    ) as caught:
        find_compiler(Toolchain.LLVM, X86_64)
    assert "clang lld llvm" in caught.value.hint


def test_the_compilers_and_linkers_versions_are_part_of_the_identity() -> None:
    host = next(arch for arch in ARCHES.values() if arch.uname == host_uname())
    found = find_compiler(Toolchain.GCC, host)
    gcc, ld = found.versions
    assert "gcc" in gcc
    assert "ld" in ld
    assert gcc in found.identity
    assert ld in found.identity


def test_the_kind_is_part_of_the_identity() -> None:
    gcc, llvm = (compiler(kind, X86_64, "") for kind in (Toolchain.GCC, Toolchain.LLVM))
    assert gcc.identity != llvm.identity


def test_ccache_is_bounded_and_relies_on_the_compilers_dependencies(tmp_path: Path) -> None:
    environment = ccache_environment(
        directory=tmp_path / "ccache",
        base=tmp_path / "work",
        limit=2_000_000_000,
        stats=tmp_path / "stats",
    )
    assert environment["CCACHE_DEPEND"] == "1"
    assert environment["CCACHE_MAXSIZE"] == "2000M"
    assert environment["CCACHE_BASEDIR"] == str(tmp_path / "work")


@pytest.mark.skipif(not have_ccache(), reason="ccache is not installed")
def test_files_that_assembly_includes_are_never_from_an_older_build(tmp_path: Path) -> None:
    environment = ccache_environment(
        directory=tmp_path / "ccache", base=tmp_path, limit=2_000_000_000, stats=tmp_path / "stats"
    )
    (tmp_path / "piggy.S").write_text('.section .rodata\n.incbin "kernel"\n')
    (tmp_path / "c.c").write_text("int c;\n")
    for text in ("the first", "the other"):
        (tmp_path / "kernel").write_text(text)
        for source in ("piggy.S", "c.c"):
            argv = ["ccache", "gcc", f"-Wp,-MMD,{source}.d", "-c", "-o", f"{source}.o", source]
            run(argv, cwd=tmp_path, env=environment)
        assert text.encode() in (tmp_path / "piggy.S.o").read_bytes()
    assert read_ccache_use(tmp_path / "stats") == CcacheUse(hits=1, misses=1)


def test_ccache_hits_and_misses_are_counted(tmp_path: Path) -> None:
    stats = tmp_path / "stats"
    stats.write_text(
        "# mm/util.c\ncache_miss\ndirect_cache_miss\nlocal_storage_write\n"
        "# mm/vma.c\ndirect_cache_hit\nlocal_storage_hit\n"
        "# mm/mmap.c\npreprocessed_cache_hit\ndirect_cache_miss\n"
    )
    assert read_ccache_use(stats) == CcacheUse(hits=2, misses=1)


def test_without_ccache_nothing_is_counted(tmp_path: Path) -> None:
    assert read_ccache_use(tmp_path / "nosuch") == CcacheUse(hits=0, misses=0)
