# SPDX-License-Identifier: GPL-2.0
"""The user's driver, built against a fake kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_build import HOST, Yard, built, content, yard

from testbed.errors import BuildError, SetupError
from testbed.kernel.driver import Driver, Module, build_driver, find_driver, load_order, read_module
from testbed.kernel.release import UNNAMED

__all__ = ["built", "yard"]

RELEASE = "7.3.4-testbed-0123456789abcdef"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "foo"
    folder.mkdir()
    (folder / "Kbuild").write_text("obj-m := foo.o\n")
    (folder / "foo.c").write_text("int foo(void)\n{\n\treturn 1;\n}\n")
    return folder


def build(yard: Yard, folder: Path) -> Path:
    request = yard.request()
    kernel = yard.build(request)
    return build_driver(folder, kernel, request, yard.ctx())


def find(yard: Yard, path: Path) -> Driver:
    request = yard.request()
    kernel = yard.build(request)
    return find_driver(path, kernel, request, yard.ctx())


def module(name: str, *depends: str) -> Module:
    return Module(Path(f"{name}.ko"), name, depends, RELEASE)


def ko(path: Path, **modinfo: str) -> Path:
    strings = b"".join(f"{key}={value}\0".encode() for key, value in modinfo.items())
    path.write_bytes(
        b"\x7fELF".ljust(18, b"\0") + HOST.elf_machine.to_bytes(2, "little") + b"\0" + strings
    )
    return path


def test_a_folder_is_built_from_a_copy(built: Yard, folder: Path) -> None:
    before = content(folder)
    entry = build(built, folder)
    assert [path.name for path in entry.glob("*.ko")] == ["foo.ko"]
    assert content(folder) == before


def test_a_folder_is_built_once_until_its_sources_change(built: Yard, folder: Path) -> None:
    (folder / "foo.c").write_text("int foo_that_is_new;\n")
    entry = build(built, folder)
    assert built.recorder.steps[-1] == f"foo for 7.3.0 for {HOST}"
    (folder / "foo.o").write_text("of an earlier build")
    assert build(built, folder) == entry
    assert built.recorder.steps == []
    (folder / "foo.c").write_text("int foo;\n")
    assert build(built, folder) != entry


def test_a_compile_error_is_reported_with_the_compilers_messages(built: Yard, folder: Path) -> None:
    (folder / "foo.c").write_text("int f = none;\nint g = nothing;\n")
    with pytest.raises(
        BuildError, match=r"the driver in .*foo failed: .*foo\.c:1:.*none"
    ) as caught:
        build(built, folder)
    assert "foo.c:2:" in caught.value.evidence
    assert caught.value.logs[0].exists()


def test_a_folder_without_modules_is_an_error(built: Yard, folder: Path) -> None:
    (folder / "foo.c").unlink()
    with pytest.raises(BuildError, match="builds no module"):
        build(built, folder)


def test_a_folder_without_a_makefile_is_refused(built: Yard, folder: Path) -> None:
    (folder / "Kbuild").unlink()
    with pytest.raises(
        SetupError, match=r"neither a \.ko nor a folder with a Kbuild or a Makefile"
    ):
        find(built, folder)


def test_a_modules_modinfo_section_is_read(tmp_path: Path) -> None:
    vermagic = f"{RELEASE} SMP preempt mod_unload "
    path = ko(tmp_path / "foo-bar.ko", depends="uio,core", name="foo_bar", vermagic=vermagic)
    assert read_module(path, RELEASE) == Module(path, "foo_bar", ("uio", "core"), RELEASE)


def test_a_module_of_another_kernel_is_refused(tmp_path: Path) -> None:
    path = ko(tmp_path / "foo.ko", depends="", name="foo", vermagic="6.12.0-amd64 SMP ")
    with pytest.raises(
        SetupError, match=r"for 6\.12\.0-amd64, but the kernel is 7\.3\.4-testbed-01"
    ):
        read_module(path, RELEASE)


def test_a_module_that_was_built_in_a_work_directory_gets_the_kernels_release(
    built: Yard, tmp_path: Path
) -> None:
    kernel = built.build()
    path = ko(tmp_path / "foo.ko", depends="", name="foo", vermagic=f"7.3.0{UNNAMED} SMP ")
    path.chmod(0o444)
    before = path.read_bytes()
    [taken] = find(built, path).modules
    assert taken.release == kernel.release
    assert taken.path.name == "foo.ko"
    assert path.read_bytes() == before


def test_a_module_that_is_older_than_its_kernel_is_refused(built: Yard, tmp_path: Path) -> None:
    built.build()
    path = ko(tmp_path / "foo.ko", depends="", name="foo", vermagic=f"7.3.0{UNNAMED} SMP ")
    os.utime(path, (0, 0))
    with pytest.raises(
        SetupError, match=r"foo\.ko may not be for 7\.3\.0-testbed-.*: .* has changed since"
    ):
        find(built, path)


def test_a_module_for_another_version_is_refused(built: Yard, tmp_path: Path) -> None:
    path = ko(tmp_path / "foo.ko", depends="", name="foo", vermagic=f"7.2.0{UNNAMED} SMP ")
    with pytest.raises(SetupError, match=f"{path} is for 7.2.0{UNNAMED}, but the kernel is 7.3.0-"):
        find(built, path)


def test_a_module_for_another_processor_is_refused(built: Yard, tmp_path: Path) -> None:
    path = ko(tmp_path / "foo.ko", depends="", name="foo", vermagic=f"7.3.0{UNNAMED} SMP ")
    path.write_bytes(path.read_bytes().replace(HOST.elf_machine.to_bytes(2, "little"), b"\0\x08"))
    with pytest.raises(SetupError, match=f"foo.ko is not a module for {HOST}"):
        find(built, path)


def test_a_file_that_is_not_a_module_is_refused(built: Yard, tmp_path: Path) -> None:
    (tmp_path / "foo.ko").write_text("text")
    with pytest.raises(SetupError, match="is not a kernel module"):
        find(built, tmp_path / "foo.ko")
    with pytest.raises(SetupError, match="is not a kernel module"):
        read_module(tmp_path / "foo.ko", RELEASE)


def test_modules_are_loaded_after_their_dependencies() -> None:
    driver = load_order(
        [module("a_top", "middle", "uio"), module("middle", "base"), module("base")]
    )
    assert [each.name for each in driver.modules] == ["base", "middle", "a_top"]
    assert driver.name == "a_top"
    assert driver.needs == ("uio",)


def test_modules_that_depend_on_each_other_are_refused() -> None:
    with pytest.raises(SetupError, match="modules depend on each other: a, b"):
        load_order([module("a", "b"), module("b", "a")])
