# SPDX-License-Identifier: GPL-2.0
"""The user's driver, built against a fake kernel."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from driver_corpus import (
    FILL,
    HEADER,
    MAIN,
    SAMPLES,
    TWO_OBJECTS,
    VERSION,
    Sample,
    built_both_ways,
    commit,
    modules_in,
)
from test_build import HOST, Yard, built, content, poison, yard

from testbed.errors import BuildError, SetupError
from testbed.kernel.driver import Driver, Module, find_driver, load_order, read_module
from testbed.kernel.driverbuild import build_driver, build_warning
from testbed.kernel.driverfiles import files_below, find_text
from testbed.kernel.exports import find_exports
from testbed.kernel.release import UNNAMED
from testbed.process import run

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
    (folder / "Kbuild").write_text("ccflags-y := -Wall\n")
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


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_driver_is_built_as_make_builds_it(built: Yard, tmp_path: Path, sample: Sample) -> None:
    request = built.request()
    kernel = built.build(request)
    ours, theirs = built_both_ways(sample, tmp_path, kernel, request, built.ctx())
    assert sorted(ours) == list(sample.modules)
    assert ours == theirs


def sample(name: str) -> Sample:
    [found] = [each for each in SAMPLES if each.name == name]
    return found


def test_the_callers_environment_does_not_reach_a_driver(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sample("PWD").lay_out(tmp_path / "user")
    kernel = yard.build()
    entry = build_driver(folder, kernel, yard.request(), yard.ctx())
    ours = modules_in(entry, kernel)
    shutil.rmtree(yard.cache_dir / "driver")
    record = tmp_path / "environment"
    makefile = folder / "Makefile"
    makefile.write_text(f"$(shell env >> {record})\n{makefile.read_text()}")
    poison(monkeypatch)
    entry = build_driver(folder, kernel, yard.request(), yard.ctx())
    assert modules_in(entry, kernel) == ours
    assert [each for each in record.read_text().splitlines() if "poison" in each] == []


@pytest.mark.parametrize("name", ["outside", "quoted", "object-outside", "include-outside"])
def test_a_changed_file_outside_the_folder_is_built_again(
    built: Yard, tmp_path: Path, name: str
) -> None:
    folder = sample(name).lay_out(tmp_path)
    changed = {
        "outside": "inc/ring.h",
        "quoted": "common/pages.h",
        "object-outside": "common/seven.h",
        "include-outside": "mk/pages.mk",
    }
    read = tmp_path / changed[name]
    first = build(built, folder)
    for unrelated in (read.with_name("unrelated.c"), tmp_path / "unrelated/notes"):
        unrelated.parent.mkdir(exist_ok=True)
        unrelated.write_text("int unrelated;\n")
    assert build(built, folder) == first
    text = read.read_text()
    read.write_text(text.replace("4", "5").replace("7", "5").replace("3", "5"))
    second = build(built, folder)
    assert [path.read_bytes() for path in second.glob("*.ko")] != [
        path.read_bytes() for path in first.glob("*.ko")
    ]
    read.write_text(text)
    assert build(built, folder) == first
    assert built.recorder.steps == []


def test_a_changed_header_with_an_absolute_name_is_built_again(built: Yard, tmp_path: Path) -> None:
    makefile = f"{TWO_OBJECTS}ccflags-y := -I{tmp_path}/sdk\n"
    files = {"drv/main.c": MAIN, "drv/fill.c": FILL, "drv/Makefile": makefile}
    folder = Sample("sdk", {**files, "sdk/ring.h": HEADER}).lay_out(tmp_path)
    first = build(built, folder)
    (tmp_path / "sdk/other.h").touch()
    assert build(built, folder) == first
    (tmp_path / "sdk/ring.h").write_text("#define RING_PAGES 9\n")
    assert build(built, folder) != first


def test_a_removed_header_outside_the_folder_is_missed(built: Yard, tmp_path: Path) -> None:
    folder = sample("outside").lay_out(tmp_path)
    build(built, folder)
    (tmp_path / "inc/ring.h").unlink()
    with pytest.raises(BuildError, match=r"ring\.h: No such file"):
        build(built, folder)


def test_a_header_that_make_replaces_outside_the_folder_is_no_reason_to_build_again(
    built: Yard, tmp_path: Path
) -> None:
    rule = "$(obj)/main.o: replaced\nreplaced:\n\techo '#define RING_PAGES 9' >../inc/ring.h\n"
    makefile = f"obj-m := ring.o\nring-y := main.o\nccflags-y := -I../inc\n{rule}.PHONY: replaced\n"
    files = {"drv/main.c": MAIN, "drv/Makefile": makefile, "inc/ring.h": HEADER}
    folder = Sample("replaced", files).lay_out(tmp_path)
    first = build(built, folder)
    assert (tmp_path / "inc/ring.h").read_text() == HEADER
    assert build(built, folder) == first


def test_warnings_of_w1_are_reported_from_a_second_look(built: Yard, tmp_path: Path) -> None:
    entry = build(built, sample("werror").lay_out(tmp_path))
    assert re.fullmatch(
        r"fill\.c:5:\d+: warning: variable .last. set but not used \[-Wunused-but-set-variable\]",
        build_warning(entry),
    )


def test_a_driver_without_warnings_has_none(built: Yard, tmp_path: Path) -> None:
    assert build_warning(build(built, sample("two").lay_out(tmp_path))) == ""


def test_the_warnings_of_the_build_itself_come_first(built: Yard, folder: Path) -> None:
    (folder / "foo.c").write_text("#warning from the build\nint foo(void) { return 1; }\n")
    assert re.match(r"foo\.c:1:2: warning: .*from the build", build_warning(build(built, folder)))


def test_a_changed_version_is_built_again(built: Yard, tmp_path: Path) -> None:
    folder = sample("version").lay_out(tmp_path)
    first = build(built, folder)
    (tmp_path / "other/file").write_text("changed")
    dirty = build(built, folder)
    assert dirty != first
    commit(tmp_path, "v1.26")
    assert build(built, folder) not in (first, dirty)


@pytest.mark.parametrize("kind", ["worktree", "submodule"])
def test_the_repository_may_be_a_worktree_or_a_submodule(
    built: Yard, tmp_path: Path, kind: str
) -> None:
    folder = sample("top-of-git").lay_out(tmp_path / "plain")
    with (folder / "Makefile").open("a") as makefile:
        makefile.write(f"{VERSION}ccflags-y += -DRING=$(VERSION)\n")
    commit(tmp_path / "plain", "v1.26")
    other = tmp_path / "other"
    if kind == "worktree":
        run(["git", "-C", tmp_path / "plain", "worktree", "add", "-q", other, "HEAD"])
    else:
        run(["git", "init", "-q", other])
        local = ("git", "-C", other, "-c", "protocol.file.allow=always")
        run([*local, "submodule", "--quiet", "add", tmp_path / "plain", "drivers"])
    [module] = build(built, other / ("drv" if kind == "worktree" else "drivers/drv")).glob("*.ko")
    [expected] = build(built, folder).glob("*.ko")
    assert module.read_bytes() == expected.read_bytes()


def test_a_driver_may_be_the_top_of_a_worktree(built: Yard, tmp_path: Path) -> None:
    makefile = f"{TWO_OBJECTS}{VERSION}ccflags-y += -DRING=$(VERSION)\n"
    files = {"main.c": MAIN, "fill.c": FILL, "ring.h": HEADER, "Makefile": makefile}
    folder = Sample("top", files, folder="", tag="v1.25").lay_out(tmp_path / "plain")
    run(["git", "-C", folder, "worktree", "add", "-q", tmp_path / "other", "HEAD"])
    [module] = build(built, tmp_path / "other").glob("*.ko")
    [expected] = build(built, folder).glob("*.ko")
    assert module.read_bytes() == expected.read_bytes()


def test_the_users_repository_is_not_written(built: Yard, tmp_path: Path) -> None:
    folder = sample("version").lay_out(tmp_path)
    (folder / "main.c").touch()  # git would refresh its index
    before = content(tmp_path)
    build(built, folder)
    assert content(tmp_path) == before


def test_a_module_in_a_folder_below_is_named(built: Yard, tmp_path: Path) -> None:
    files = {"top/Makefile": "all:\n\t$(MAKE) -C kmod\n", "top/kmod/Makefile": "obj-m := ring.o\n"}
    folder = Sample("top", {**files, "top/user/Makefile": "all:\n"}, folder="top").lay_out(tmp_path)
    with pytest.raises(BuildError, match=r"builds no module: make M=.*/top has nothing") as caught:
        build(built, folder)
    assert caught.value.hint == f"pass {folder}/kmod, whose Makefile sets obj-m"
    (folder / "Makefile").unlink()
    with pytest.raises(SetupError, match=f"pass {folder}/kmod, whose Makefile"):
        find(built, folder)


@pytest.mark.parametrize("second", ["ring", "ring-x"])
def test_two_modules_of_one_name_are_refused(built: Yard, tmp_path: Path, second: str) -> None:
    first = second.replace("-", "_")
    files = {"top/Kbuild": "obj-m := a/\nobj-y := b/\n", "top/ring.h": HEADER}
    for name in (f"a/{first}", f"b/{second}"):
        source = f"top/{name}.c"
        files[source] = MAIN.replace("ring.h", "../ring.h").replace("ring_pages", f"in_{name[0]}")
        files[f"top/{name[0]}/Makefile"] = f"obj-m := {name[2:]}.o\n"
    folder = Sample("namesakes", files, folder="top").lay_out(tmp_path)
    with pytest.raises(BuildError) as caught:
        build(built, folder)
    assert caught.value.message == (
        f"the driver in {folder} has 2 modules of one name, {first}: a/{first}.ko and b/{second}.ko"
    )
    assert caught.value.hint == (
        f"pass {folder}/a or {folder}/b, whose Makefile sets obj-m, or rename one of them"
    )
    assert [path.name for path in build(built, folder / "b").glob("*.ko")] == [f"{second}.ko"]


def test_two_modules_of_one_name_in_one_folder_are_refused(built: Yard, folder: Path) -> None:
    (folder / "Kbuild").write_text("obj-m := foo_x.o foo-x.o\n")
    (folder / "foo_x.c").write_text("int foo;\n")
    (folder / "foo-x.c").write_text("int bar;\n")
    with pytest.raises(BuildError, match=r"one name, foo_x: foo_x\.ko and foo-x\.ko") as caught:
        build(built, folder)
    assert caught.value.hint == "rename one of them"


def test_options_that_nothing_sets_are_named(built: Yard, folder: Path) -> None:
    (folder / "Kbuild").write_text("obj-$(CONFIG_FOO) += foo.o\nobj-${CONFIG_BAR} += foo.o\n")
    with pytest.raises(BuildError, match="builds no module") as caught:
        build(built, folder)
    assert caught.value.hint == (
        "nothing sets CONFIG_FOO, CONFIG_BAR: configure the kernel with --config FILE, or add "
        "CONFIG_FOO := m to a Makefile"
    )


def test_a_header_that_no_name_leads_to_gets_a_hint(built: Yard, folder: Path) -> None:
    (folder / "foo.c").write_text('#include "ring.h"\n')
    with pytest.raises(BuildError, match=r"ring\.h: No such file") as caught:
        build(built, folder)
    assert "names with `..`, as in -I$(src)/../include" in caught.value.hint


def test_a_changed_file_that_a_script_outside_reads_is_built_again(
    built: Yard, tmp_path: Path
) -> None:
    folder = sample("script-outside").lay_out(tmp_path)
    first = build(built, folder)
    (tmp_path / "tools/pages.txt").write_text("#define RING_PAGES 9\n")
    assert build(built, folder) != first


def test_a_symbol_that_the_kernel_lacks_is_named(built: Yard, folder: Path) -> None:
    (folder / "foo.c").write_text("int far(void);\nint foo(void) { return far() + nowhere(); }\n")
    with pytest.raises(BuildError, match=r"modpost: .far. \[foo\.ko\] undefined") as caught:
        build(built, folder)
    assert caught.value.hint == (
        "the kernel lacks far, nowhere: drivers/far/parts.c exports far (CONFIG_FAR); "
        "configure it with --config FILE"
    )


@pytest.mark.parametrize(
    ("makefile", "option"),
    [
        ("obj-$(CONFIG_FAR) += one.o parts.o\n", "FAR"),
        ("obj-$(CONFIG_FAR) += \\\n\tone.o \\\n\tparts.o\n", "FAR"),
        ("obj-$(CONFIG_FAR) += far.o\nfar-y := one.o parts.o\n", "FAR"),
        ("obj-$(CONFIG_FAR) += far.o\nfar-$(CONFIG_FAR_MORE) := parts.o\n", "FAR"),
        ("parts-y := parts.o\nobj-m += parts.o\n", ""),
        ("parts-y := far.o\nfar-y := parts.o\n", ""),
        ("obj-y += parts.o\n", ""),
        ("", ""),
    ],
)
def test_the_option_of_an_export_is_found(tmp_path: Path, makefile: str, option: str) -> None:
    (tmp_path / "Makefile").write_text(makefile)
    (tmp_path / "parts.c").write_text("EXPORT_SYMBOL_GPL(far);\nEXPORT_SYMBOL(farther);\n")
    (tmp_path / "near.c").write_text('EXPORT_SYMBOL_NS_GPL(near, "N");\n// EXPORT_SYMBOL(far)\n')
    [far, near] = find_exports(tmp_path, ["far", "near"])
    assert (far.symbol, far.file, far.option) == ("far", "parts.c", option)
    assert (near.symbol, near.file, near.option) == ("near", "near.c", "")


def test_flags_that_kbuild_ignores_are_named(built: Yard, tmp_path: Path) -> None:
    makefile = f"{TWO_OBJECTS}EXTRA_CFLAGS += -I$(src)/inc\n"
    files = {"drv/main.c": MAIN, "drv/Makefile": makefile, "drv/inc/ring.h": HEADER}
    with pytest.raises(BuildError, match=r"ring\.h: No such file") as caught:
        build(built, Sample("extra", {**files, "drv/fill.c": FILL}).lay_out(tmp_path))
    assert caught.value.hint == "this kernel's kbuild ignores EXTRA_CFLAGS: use ccflags-y"


def test_a_folder_that_is_too_large_to_be_copied_is_named(
    built: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.kernel.driverfiles._MOST_FILES", 1)
    folder = sample("quoted").lay_out(tmp_path)
    (folder / "Kbuild").write_text(
        "obj-m := ring.o\nring-y := main.o\nccflags-y := -I../../common\n"
    )
    (folder / "main.c").write_text(MAIN)
    with pytest.raises(BuildError) as caught:
        build(built, folder)
    assert f"refers to {tmp_path}/common, which is too large" in caught.value.hint


@pytest.mark.parametrize(
    "top",
    [
        *("$(src)/..", "$(abspath $(src)/..)", "$(shell cd $(src)/.. && pwd)", "$(dir $(M))"),
        "$(shell git rev-parse --show-toplevel)",
    ],
)
def test_a_folder_behind_a_variable_is_copied_although_all_above_is_too_large(
    built: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, top: str
) -> None:
    monkeypatch.setattr("testbed.kernel.driverfiles._MOST_FILES_ABOVE", 1)
    makefile = f"export TOP := {top}\n{TWO_OBJECTS}ccflags-y := -I$(TOP)/include\n"
    files = {"drv/main.c": MAIN, "drv/fill.c": FILL, "drv/Makefile": makefile}
    more = {"include/ring.h": HEADER, "other/a": "", "other/b": ""}
    build(built, Sample("top", {**files, **more}, tag="v1").lay_out(tmp_path))
    assert not list(built.cache_dir.glob("work/*/driver/other"))


@pytest.mark.parametrize("vendor", ["fill.o_shipped", "fill.o"])
def test_objects_of_a_vendor_are_linked(built: Yard, tmp_path: Path, vendor: str) -> None:
    files = {"drv/main.c": MAIN, "drv/ring.h": HEADER, "drv/Kbuild": TWO_OBJECTS, "fill.c": FILL}
    folder = Sample("vendor", files).lay_out(tmp_path)
    run(["gcc", "-c", "-o", folder / vendor, tmp_path / "fill.c"])
    [module] = build(built, folder).glob("*.ko")
    assert b"ring_fill" in module.read_bytes()


def test_symbols_of_another_driver_are_copied_with_it(built: Yard, tmp_path: Path) -> None:
    makefile = f"{TWO_OBJECTS}KBUILD_EXTRA_SYMBOLS := $(src)/../core/Module.symvers\n"
    files = {"drv/main.c": MAIN, "drv/ring.h": HEADER, "drv/fill.c": FILL, "drv/Kbuild": makefile}
    folder = Sample("extra", {**files, "core/Module.symvers": "0x0\tfar\tcore\tEXPORT\n"})
    first = build(built, folder.lay_out(tmp_path))
    [symbols] = built.cache_dir.glob("work/*/driver/core/Module.symvers")
    assert symbols.read_text() == "0x0\tfar\tcore\tEXPORT\n"
    (tmp_path / "core/Module.symvers").write_text("0x1\tfar\tcore\tEXPORT\n")
    assert build(built, tmp_path / "drv") != first


def test_a_call_of_make_above_does_not_copy_everything_above(built: Yard, tmp_path: Path) -> None:
    files = {"drv/Makefile": "obj-m := ring.o\nall:\n\t$(MAKE) -C .. all\n", "drv/ring.h": HEADER}
    folder = Sample("call", {**files, "drv/ring.c": MAIN, "other/file": ""}).lay_out(tmp_path)
    build(built, folder)
    assert not list(built.cache_dir.glob("work/*/driver/other"))


def test_a_driver_may_be_named_by_a_link_or_relative_to_the_working_directory(
    built: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sample("outside").lay_out(tmp_path)
    (tmp_path / "links").mkdir()
    (tmp_path / "links/driver").symlink_to(folder)
    first = build(built, folder)
    assert build(built, tmp_path / "links/driver") == first
    monkeypatch.chdir(folder)
    assert build(built, Path(".")) == first


def test_output_of_earlier_builds_is_left_out(tmp_path: Path) -> None:
    sources = {
        *("main.c", "shipped.o_shipped", "vendor.o", "touched.o", ".touched.o.cmd", "Kbuild"),
        *("gen/table.txt", "my.order", ".hidden.h"),
    }
    output = {
        *("main.o", ".main.o.cmd", "ring.o", ".ring.o.cmd", "ring.ko", "ring.mod", "ring.mod.c"),
        *("ring.mod.o", "modules.order", "Module.symvers", ".module-common.o", ".main.o.d"),
        *("shipped.o", ".git/HEAD", "sub/__pycache__/x"),
    }
    for name in sources | output:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if name == ".touched.o.cmd" else "text")
    assert {str(path.relative_to(tmp_path)) for path in files_below(tmp_path)} == sources


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.c").touch()
        (tmp_path / name / "link").symlink_to(tmp_path / other)
    names = {str(path.relative_to(tmp_path)) for path in files_below(tmp_path)}
    assert names == {"a/a.c", "b/b.c"}
    text = find_text(tmp_path / "a")
    assert text.outside == (tmp_path / "b/b.c", tmp_path / "b/link/a.c")
    text.copy(tmp_path / "copy")
    assert (tmp_path / "copy/a/link/b.c").samefile(tmp_path / "copy/b/b.c")


def test_a_changed_file_behind_a_link_is_built_again(built: Yard, tmp_path: Path) -> None:
    folder = sample("links").lay_out(tmp_path)
    first = build(built, folder)
    (tmp_path / "far/unrelated").touch()
    assert build(built, folder) == first
    (tmp_path / "far/inc/ring.h").write_text("#define RING_PAGES 9\n")
    second = build(built, folder)
    assert second != first
    (tmp_path / "far/fill.c").write_text(FILL.replace("7", "8"))
    assert build(built, folder) not in (first, second)


def test_a_link_to_a_folder_that_is_too_large_is_not_followed(
    built: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.kernel.driverfiles._MOST_FILES", 1)
    folder = sample("two").lay_out(tmp_path)
    for name in ("Makefile", "Kconfig"):
        (tmp_path / "linux/mm").mkdir(parents=True, exist_ok=True)
        (tmp_path / "linux" / name).touch()
    (folder / "linux").symlink_to("../linux")
    build(built, folder)
    assert find_text(folder).too_large == (tmp_path / "linux",)
