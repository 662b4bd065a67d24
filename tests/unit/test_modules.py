# SPDX-License-Identifier: GPL-2.0
"""Test modules and programs, built against a fake kernel."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
from test_build import HOST, Recorder, Yard, built, compiled, yard

from testbed.errors import BuildError, InfraError, SetupError
from testbed.kernel.build import open_builder
from testbed.kernel.builddir import BuildDir, open_build_dir
from testbed.kernel.guestsources import GuestSources
from testbed.kernel.modules import NEEDS, GuestSide, build_guest_side
from testbed.kernel.release import UNNAMED
from testbed.kernel.request import KernelRequest

__all__ = ["built", "yard"]

MODULE = '#include "shared.h"\nint probe(void)\n{\n\treturn SHARED;\n}\n'
PROGRAM = """\
#include <stdio.h>
#include "shared.h"
int main(void)
{
	printf("%d\\n", SHARED);
}
"""


@pytest.fixture
def sources(tmp_path: Path) -> GuestSources:
    sources = GuestSources(modules=tmp_path / "modules", programs=tmp_path / "probes")
    for folder in ("modules/include", "modules/mmap_one", "probes/pair"):
        (tmp_path / folder).mkdir(parents=True)
    (sources.modules / "include/shared.h").write_text("#define SHARED 42\n")
    (sources.modules / "mmap_one/mmap_one.c").write_text(MODULE)
    (sources.programs / "agent.c").write_text(PROGRAM)
    (sources.programs / "pair/main.c").write_text(
        "int answer(void);\nint main(void)\n{\n\treturn answer();\n}\n"
    )
    (sources.programs / "pair/answer.c").write_text(
        "int answer(void);\nint answer(void)\n{\n\treturn 7;\n}\n"
    )
    return sources


def build(yard: Yard, sources: GuestSources) -> GuestSide:
    request = yard.request()
    yard.recorder = Recorder()
    with open_builder(request, yard.ctx()) as builder:
        return build_guest_side(builder.kernel(), builder, sources=sources)


def guest_sides(yard: Yard) -> list[Path]:
    return list(yard.cache_dir.glob("guest/*"))


def test_modules_and_programs_are_built_for_a_kernel(built: Yard, sources: GuestSources) -> None:
    side = build(built, sources)
    assert [path.name for path in side.modules] == ["mmap_one.ko"]
    assert [path.name for path in side.programs] == ["agent", "pair"]


def test_modules_have_the_release_of_their_kernel(built: Yard, sources: GuestSources) -> None:
    kernel = built.build()
    [module] = build(built, sources).modules
    assert kernel.release.encode() in module.read_bytes()
    assert UNNAMED.encode() not in module.read_bytes()


def test_a_program_is_static_and_shares_a_header_with_the_modules(
    built: Yard, sources: GuestSources
) -> None:
    agent, pair = build(built, sources).programs
    assert subprocess.check_output([agent]) == b"42\n"
    assert subprocess.call([pair]) == 7
    assert b"INTERP" not in subprocess.check_output(["readelf", "--program-headers", agent])


def test_a_cold_build_opens_its_build_directory_once(
    yard: Yard, sources: GuestSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[KernelRequest] = []

    def open_counted(
        request: KernelRequest, *rest: Any
    ) -> contextlib.AbstractContextManager[BuildDir]:
        opened.append(request)
        return open_build_dir(request, *rest)

    monkeypatch.setattr("testbed.kernel.build.open_build_dir", open_counted)
    build(yard, sources)
    assert len(opened) == 1
    build(yard, sources)
    assert len(opened) == 1, "a build from the cache opened the build directory"


def test_modules_and_programs_are_built_once(built: Yard, sources: GuestSources) -> None:
    (sources.modules / "include/new.h").touch()
    first = build(built, sources)
    assert built.recorder.steps[-1] == f"modules for 7.3.0 for {HOST}"
    assert build(built, sources) == first
    assert built.recorder.steps == []


def test_a_changed_source_is_built_again(built: Yard, sources: GuestSources) -> None:
    first = build(built, sources)
    (sources.modules / "include/shared.h").write_text("#define SHARED 43\n")
    second = build(built, sources)
    assert second.path != first.path
    assert subprocess.check_output([second.programs[0]]) == b"43\n"


def made(side: GuestSide) -> list[str]:
    """Return the files that make built for the modules, from its output."""
    lines = (side.path / "build.log").read_text().splitlines()
    return [line.split()[-1] for line in lines if line.startswith(("  CC", "  LD"))]


def test_another_kernel_with_the_same_headers_makes_no_module_again(
    yard: Yard, sources: GuestSources
) -> None:
    assert made(build(yard, sources)) == ["mmap_one/mmap_one.o", "mmap_one/mmap_one.ko"]
    (yard.tree / "mm/vma.c").write_text("int may_merge = 1;\n")
    again = build(yard, sources)
    assert made(again) == []
    assert [path.name for path in again.modules] == ["mmap_one.ko"]


def test_a_module_of_an_earlier_kernel_is_not_used_for_a_kernel_that_lacks_its_needs(
    yard: Yard, sources: GuestSources
) -> None:
    (sources.modules / "mmap_two").mkdir()
    (sources.modules / "mmap_two/mmap_two.c").write_text("int two;\n")
    assert len(build(yard, sources).modules) == 2
    makefile = yard.tree / "Makefile"
    text = makefile.read_text()
    makefile.write_text(text.replace("$(wildcard $(M)/*.c $(M)/*/*.c)", "$(M)/mmap_one/mmap_one.c"))
    assert [path.name for path in build(yard, sources).modules] == ["mmap_one.ko"]


def test_programs_are_built_once_for_all_kernels(yard: Yard, sources: GuestSources) -> None:
    first = build(yard, sources)
    (yard.tree / "mm/vma.c").write_text("int may_merge = 1;\n")
    second = build(yard, sources)
    assert first.path != second.path
    assert first.programs == second.programs


def test_the_module_of_a_deleted_source_is_gone(yard: Yard, sources: GuestSources) -> None:
    build(yard, sources)
    (sources.modules / "mmap_two").mkdir()
    (sources.modules / "mmap_one/mmap_one.c").rename(sources.modules / "mmap_two/mmap_two.c")
    assert [path.name for path in build(yard, sources).modules] == ["mmap_two.ko"]


def test_the_sources_are_never_written(built: Yard, sources: GuestSources) -> None:
    before = sources.modules_identity, sources.programs_identity
    build(built, sources)
    assert (sources.modules_identity, sources.programs_identity) == before


def test_modules_are_built_against_their_kernel_even_if_another_was_built_since(
    yard: Yard, sources: GuestSources
) -> None:
    text = yard.tarball()
    plain, patched = yard.request(text), yard.request(text, yard.patch())
    kernel = yard.build(plain)
    yard.build(patched)
    with open_builder(plain, yard.ctx()) as builder:
        side = build_guest_side(builder.kernel(), builder, sources=sources)
    assert yard.recorder.steps[-1] == f"compile 7.3.0 for {HOST} again"
    assert "  CC      mm/util.o" in (side.path / "build.log").read_text()
    assert compiled(kernel) == ["init/main.o", "mm/util.o", "mm/vma.o"]


MODULE_FILE = "modules/mmap_one/mmap_one.c"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (MODULE_FILE, "int f = none;\n", r"the modules failed: .*mmap_one\.c:1:"),
        (MODULE_FILE, "static int unused;\n", r"mmap_one\.c:1:.*\[-Werror=unused"),
        ("probes/agent.c", "int f = none;\n", r"the program agent failed: .*agent\.c:1:"),
        ("probes/agent.c", "int main(int argc)\n{\n}\n", r"agent\.c:1:.*\[-Werror"),
        ("probes/pair/answer.c", "int x;\n", r"the program pair failed: .*undefined reference"),
    ],
)
def test_the_first_line_of_an_error_or_a_warning_is_named(
    built: Yard, sources: GuestSources, file: str, text: str, message: str
) -> None:
    (sources.modules.parent / file).write_text(text)
    before = guest_sides(built)
    ours = SetupError if file.startswith("probes/") else BuildError
    with pytest.raises(ours, match=message) as caught:
        build(built, sources)
    (log,) = caught.value.logs
    assert log.exists()
    assert guest_sides(built) == before


def test_a_full_disk_during_the_build_of_a_program_is_the_hosts_fault(
    built: Yard, sources: GuestSources
) -> None:
    program = sources.modules.parent / "probes/agent.c"
    program.write_text("#error No space left on device\n")
    with pytest.raises(InfraError, match="the program agent failed: the disk is full"):
        build(built, sources)


def test_a_warning_of_modpost_is_an_error(yard: Yard, sources: GuestSources) -> None:
    makefile = yard.tree / "Makefile"
    warning = "WARNING: modpost: missing MODULE_LICENSE() in mmap_one.o"
    text = makefile.read_text()
    makefile.write_text(text.replace('@echo "  CC [M]  $*.o"', f'@echo "{warning}"'))
    with pytest.raises(BuildError, match=r"compile with a warning: WARNING: modpost: missing"):
        build(yard, sources)


@pytest.mark.parametrize(
    ("declared", "hook", "found"),
    [
        ("int __compat_vma_mmap(void);", "int (*mmap_prepare)(void);", "y y"),
        ("int __compat_vma_mmap(void);", "int (*mmap)(void);", "y "),
        ("int compat_vma_mmap(void);", "int (*mmap)(void);", " "),
    ],
    ids=["today", "uio-by-mmap", "monolithic"],
)
def test_the_parts_of_the_layer_are_found_in_the_kernels_headers(
    tmp_path: Path, declared: str, hook: str, found: str
) -> None:
    headers = tmp_path / "include/linux"
    headers.mkdir(parents=True)
    (headers / "fs.h").write_text(f"{declared}\n")
    (headers / "uio_driver.h").write_text(f"{hook}\n")
    makefile = f"include {GuestSources().modules}/layer.mk\n"
    makefile += "all:\n\t@echo '$(layer-nests) $(layer-uio)'\n"
    words = ["make", "-s", "-f", "-", f"srctree={tmp_path}"]
    assert subprocess.check_output(words, input=makefile, text=True) == f"{found}\n"


def test_an_absent_module_is_listed_with_the_missing_part_of_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/mmap_ring.ko").touch()
    assert GuestSide(tmp_path, tmp_path).absent == {"mmap_uio": NEEDS["mmap_uio"]}
