# SPDX-License-Identifier: GPL-2.0
"""Drivers of all shapes that kbuild takes, each of a few lines.

A driver must be built as make builds it, for the fake kernel and for a real one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tree_parts import GIT_ALONE

from testbed.context import Context
from testbed.kernel.build import open_builder
from testbed.kernel.driverbuild import build_driver
from testbed.kernel.make import Make
from testbed.kernel.modules import bring_to
from testbed.kernel.release import nameless
from testbed.kernel.request import Kernel, KernelRequest
from testbed.process import run

# The source of the module, which returns what a header says, and of its second object.
MAIN = """\
#include <linux/module.h>
#include "ring.h"
int ring_pages(void);
int ring_pages(void)
{
	return RING_PAGES;
}
MODULE_DESCRIPTION("ring");
MODULE_LICENSE("GPL");
"""
HEADER = "#define RING_PAGES 4\n"
FILL = "int ring_fill(void);\nint ring_fill(void)\n{\n\treturn 7;\n}\n"

TWO_OBJECTS = "obj-m := ring.o\nring-y := main.o fill.o\n"

# The form of most Makefiles outside the kernel's tree.
BOTH_SIDES = """\
ifneq ($(KERNELRELEASE),)
obj-m := ring.o
ring-objs := main.o fill.o
ccflags-y += -I{include}
else
KDIR ?= /lib/modules/$(shell uname -r)/build
PWD := $(shell pwd)
all:
	$(MAKE) -C $(KDIR) M=$(PWD) modules
endif
"""

# W=1 warns about `last`. A build with W=1 and -Werror would fail.
UNUSED = """\
#include "ring.h"
int ring_fill(void);
int ring_fill(void)
{
	int last;

	last = RING_PAGES;
	return 7;
}
"""

EXPORTS = """\
#include <linux/module.h>
#include "ring.h"
int ring_fill(void)
{
	return RING_PAGES;
}
EXPORT_SYMBOL_GPL(ring_fill);
MODULE_DESCRIPTION("core");
MODULE_LICENSE("GPL");
"""

USES = """\
#include <linux/module.h>
#include "ring.h"
int ring_pages(void);
int ring_pages(void)
{
	return ring_fill();
}
MODULE_DESCRIPTION("front");
MODULE_LICENSE("GPL");
"""

GENERATED = f"""\
{TWO_OBJECTS}ccflags-y := -I$(obj)
$(obj)/main.o: $(obj)/ring.h
$(obj)/ring.h: $(src)/ring.txt
	sed 's/^/\\#define RING_PAGES /' $< > $@
clean-files := ring.h
"""

# fill.c includes ring.h too. That goes well as long as main.o is made first.
UNDECLARED = GENERATED.replace("\tsed", "\tsleep 1; sed")

NESTED_Y = {
    "drv/Makefile": "obj-y := sub/\nsubdir-ccflags-y := -I$(src)/inc\n",
    "drv/inc/ring.h": HEADER,
    "drv/sub/Makefile": "obj-m := ring.o\nring-y := main.o\nccflags-y := -I$(src)/../inc\n",
    "drv/sub/main.c": MAIN,
}

VERSION = "VERSION := $(shell git -C $(src) describe --always --tags --dirty 2>/dev/null)\n"


@dataclass(frozen=True)
class Sample:
    """A driver: its files, and the modules that make builds in `folder`."""

    name: str
    files: Mapping[str, str]
    folder: str = "drv"
    modules: tuple[str, ...] = ("ring.ko",)
    links: Mapping[str, str] = field(default_factory=dict)
    tag: str = ""  # of the commit, if it is in a git repository
    objects: Mapping[str, bytes] = field(default_factory=dict)  # files that a compiler has made

    def lay_out(self, top: Path) -> Path:
        """Write the files below `top`. Return the driver's folder."""
        for name, text in self.files.items():
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name, content in self.objects.items():
            (top / name).write_bytes(content)
        for name, target in self.links.items():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).symlink_to(target)
        if self.tag:
            commit(top, self.tag)
        return top / self.folder


def commit(top: Path, tag: str) -> None:
    """Commit all files of a repository, and tag the commit."""
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", tag], ["tag", tag]):
        run(["git", "-C", top, *words], env=GIT_ALONE)


def ring(name: str, makefile: str, more: Mapping[str, str], **options: Any) -> Sample:
    """A module of two objects in the folder drv, with a Makefile and more files."""
    files = {"drv/main.c": MAIN, "drv/fill.c": FILL, "drv/Makefile": makefile}
    return Sample(name, {**files, **more}, **options)


def including(name: str, include: str, header: str) -> Sample:
    """A driver whose Makefile names the folder of a header."""
    return ring(name, BOTH_SIDES.format(include=include), {header: HEADER})


FAR = {
    "a/b/drv/Kbuild": "obj-m := ring.o\nring-y := main.o\nccflags-y := -I../../../c/inc\n",
    "a/b/drv/main.c": MAIN,
    "c/inc/ring.h": HEADER,
}

QUOTED = {
    "a/drv/Kbuild": "obj-m := ring.o\nring-y := main.o\n",
    "a/drv/main.c": MAIN.replace("ring.h", "../../common/ring.h"),
    "common/ring.h": '#include "pages.h"\n',
    "common/pages.h": HEADER,
}

OBJECT_OUTSIDE = {
    "drv/main.c": MAIN,
    "drv/ring.h": HEADER,
    "drv/Makefile": "obj-m := ring.o\nring-y := main.o ../common/fill.o\n",
    "common/fill.c": '#include "seven.h"\n' + FILL.replace("7", "SEVEN"),
    "common/seven.h": "#define SEVEN 7\n",
}

INCLUDE_OUTSIDE = {
    "mk/flags.mk": "include $(dir $(lastword $(MAKEFILE_LIST)))pages.mk\n",
    "mk/pages.mk": "ccflags-y += -DRING_PAGES=3\n",
    "drv/ring.h": "",
}

NESTED = {
    "drv/Makefile": "obj-m := front/ core/\nexport FLAGS := -I$(src)/include\n",
    "drv/include/ring.h": f"{HEADER}int ring_fill(void);\n",
    "drv/core/Makefile": "obj-m := core.o\nccflags-y := $(FLAGS)\n",
    "drv/core/core.c": EXPORTS,
    "drv/front/Makefile": "obj-m := ring.o\nccflags-y := -I$(src)/../include\n",
    "drv/front/ring.c": USES,
}

BLANK = {
    "my dr\u00efver/Kbuild": TWO_OBJECTS,
    "my dr\u00efver/main.c": MAIN,
    "my dr\u00efver/fill.c": FILL,
    "my dr\u00efver/ring.h": HEADER,
}

BLANK_ABOVE = {
    "my work/drv/Kbuild": "obj-m := ring.o\nring-y := main.o\nccflags-y := -I$(src)/../inc\n",
    "my work/drv/main.c": MAIN,
    "my work/inc/ring.h": HEADER,
}

LINKS = {
    "drv/Kbuild": f"{TWO_OBJECTS}ccflags-y := -I$(src)/inc\n",
    "drv/main.c": MAIN,
    "far/fill.c": FILL,
    "far/inc/ring.h": '#include "../pages.h"\n',  # in the folder to which the link points
    "far/pages.h": HEADER,
}
LINKED = {
    "drv/inc": "../far/inc",
    "drv/fill.c": "../far/fill.c",
    "drv/self": ".",
    "drv/gone": "nowhere",
}

ALL = {
    "drivers/drv/Makefile": "obj-m := front/ core/\nccflags-y := -DUNUSED\n",
    "drivers/drv/core/Kbuild": "obj-m := core.o\nccflags-y := -I$(PWD)/../inc\n",
    "drivers/drv/core/core.c": EXPORTS,
    "drivers/drv/front/Makefile": (
        f"{VERSION}{TWO_OBJECTS}ring-y += used.o\n"
        'ccflags-y := -I$(M)/../inc -Wall -Werror -DRING=\\"$(VERSION)\\"\n'
    ),
    "drivers/drv/front/main.c": MAIN.replace("RING_PAGES", "sizeof(RING)"),
    "drivers/drv/front/fill.c": UNUSED.replace("ring_fill", "ring_waste"),
    "drivers/drv/front/used.c": USES.partition("MODULE")[0].replace("ring_pages", "ring_more"),
    "drivers/inc/ring.h": f"{HEADER}int ring_fill(void);\n",
}

NAMED = f'{VERSION}{TWO_OBJECTS}ccflags-y := -DRING=\\"$(VERSION)\\"\n'
LENGTH = {
    "drv/ring.h": "#define RING_PAGES (sizeof(RING))\n",
    "other/file": "",
    ".gitignore": "*.o\n",
}

SUBDIR_FLAGS = {
    "drv/Makefile": "obj-m := sub/\nsubdir-ccflags-y := -I$(src)/../shared/include\n",
    "drv/sub/Makefile": TWO_OBJECTS,
    "drv/sub/main.c": MAIN,
    "drv/sub/fill.c": FILL,
    "shared/include/ring.h": HEADER,
}

IN_SRC = {
    "drv/Makefile": "obj-m := ring.o\nring-y := src/main.o\nccflags-y := -I$(src)/include\n",
    "drv/src/main.c": MAIN,
    "drv/include/ring.h": HEADER,
}

FAR_SOURCES = {
    "drv/Makefile": "obj-m := ring.o\nring-y := src/main.o src/fill.o\n",
    "far/src/main.c": MAIN.replace("ring.h", "../inc/ring.h"),
    "far/src/fill.c": FILL,
    "far/inc/ring.h": HEADER,
}

OPTIONAL = {
    "drv/Makefile": "export CONFIG_RING := m\nobj-$(CONFIG_RING) += sub/\n",
    "drv/sub/Makefile": "obj-$(CONFIG_RING) += ring.o\nring-y := main.o\n",
    "drv/sub/main.c": MAIN,
    "drv/sub/ring.h": HEADER,
}

# The name counts from the folder of -I, not from that of the source.
BY_FLAG = {
    "drv/Makefile": "obj-m := ring.o\nring-y := main.o\nccflags-y := -I$(src)/inc/deep\n",
    "drv/main.c": MAIN.replace("ring.h", "../../../common/ring.h"),
    "drv/inc/deep/empty.h": "",
    "common/ring.h": HEADER,
}

BY_MACRO = {
    "drv/Makefile": "obj-m := ring.o\nring-y := main.o\n",
    "drv/main.c": MAIN.replace('"ring.h"', "RING"),
    "common/ring.h": HEADER,
}
RING_MACRO = '#define RING "../common/ring.h"\n'

ASSEMBLER = {
    "drv/main.c": MAIN,
    "drv/fill.S": (
        '#include "../inc/bin.h"\n\t.section .rodata\n\t.globl ring_bin\nring_bin:\n\t.incbin BIN\n'
    ),
    "drv/ring.h": HEADER,
    "drv/Makefile": TWO_OBJECTS,
    "inc/bin.h": '#define BIN "../inc/ring.bin"\n',
    "inc/ring.bin": "seven\n",
}

SCRIPT = {
    "tools/gen.sh": "cat $(dirname $0)/pages.txt\n",
    "tools/gen": "#!/bin/sh\ncat $(dirname $0)/../data/pages.txt\n",
    "tools/pages.txt": HEADER,
    "data/pages.txt": HEADER,
}

RULE = f"""\
{TWO_OBJECTS}ccflags-y := -I$(obj)
$(obj)/main.o: $(obj)/ring.h
$(obj)/ring.h: """

GENERATOR = """\
#include <stdio.h>
int main(void)
{
	puts("#define RING_PAGES 4");
	return 0;
}
"""

TOP_OF_GIT = """\
TOP := $(shell git -C $(src) rev-parse --show-toplevel)
ccflags-y := -I$(TOP)/include
"""

# These need more of kbuild than the fake kernel has.
REAL_SAMPLES = (
    Sample("subdir-flags", SUBDIR_FLAGS),
    Sample("in-src", IN_SRC),
    Sample("assembler", ASSEMBLER),
    ring(
        "flags-of-object",
        f"{TWO_OBJECTS}CFLAGS_main.o := -I$(src)/../inc\n",
        {"inc/ring.h": HEADER},
    ),
    ring(
        "linuxinclude",
        f"LINUXINCLUDE := -I$(src)/../inc $(LINUXINCLUDE)\n{TWO_OBJECTS}",
        {"inc/ring.h": HEADER},
    ),
    ring(
        "wildcard-outside",
        "obj-m := ring.o\nring-y := main.o $(patsubst %.c,%.o,$(wildcard ../common/*.c))\n",
        {"drv/ring.h": HEADER, "common/more.c": FILL.replace("ring_fill", "ring_more")},
    ),
    ring(
        "hostprog",
        f"hostprogs := gen\n{RULE}$(obj)/gen\n\t$(obj)/gen > $@\n",
        {"drv/gen.c": GENERATOR},
    ),
)

SAMPLES = (
    including("src", "$(src)/inc", "drv/inc/ring.h"),
    including("M", "$(M)/inc", "drv/inc/ring.h"),
    including("PWD", "$(PWD)/inc", "drv/inc/ring.h"),
    including("relative", "inc", "drv/inc/ring.h"),
    including("outside", "$(src)/../inc", "inc/ring.h"),
    including("outside-relative", "../inc", "inc/ring.h"),
    Sample("outside-far", FAR, folder="a/b/drv"),
    ring(
        "outside-roundabout",
        BOTH_SIDES.format(include="$(src)/sub/../../inc"),
        {"inc/ring.h": HEADER, "drv/sub/empty.h": ""},
    ),
    including("above", "$(src)/..", "ring.h"),
    ring(
        "above-variable",
        f"UP := ..\n{TWO_OBJECTS}ccflags-y := -I$(src)/$(UP)/inc\n",
        {"inc/ring.h": HEADER},
    ),
    including("dirname", "$(dir $(M))inc", "inc/ring.h"),
    including("realpath", "$(realpath $(src)/../inc)", "inc/ring.h"),
    Sample("quoted", QUOTED, folder="a/drv"),
    Sample("object-outside", OBJECT_OUTSIDE),
    ring(
        "werror",
        f"{TWO_OBJECTS}ccflags-y := -Wall -Werror\n",
        {"drv/fill.c": UNUSED, "drv/ring.h": HEADER},
    ),
    ring("include", "include config.mk\n", {"drv/ring.h": HEADER, "drv/config.mk": TWO_OBJECTS}),
    ring("include-outside", f"include $(src)/../mk/flags.mk\n{TWO_OBJECTS}", INCLUDE_OUTSIDE),
    ring(
        "kbuild-first",
        "$(error this Makefile is not for kbuild)\n",
        {"drv/ring.h": HEADER, "drv/Kbuild": TWO_OBJECTS},
    ),
    ring(
        "two",
        f"{TWO_OBJECTS}obj-m += second.o\n",
        {"drv/ring.h": HEADER, "drv/second.c": MAIN.replace("ring_pages", "second_pages")},
        modules=("ring.ko", "second.ko"),
    ),
    Sample("nested", NESTED, modules=("core.ko", "ring.ko")),
    Sample("nested-y", NESTED_Y),
    ring("generated", GENERATED, {"drv/ring.txt": "5\n"}),
    ring("undeclared", UNDECLARED, {"drv/ring.txt": "5\n", "drv/fill.c": UNUSED}),
    ring("script-outside", f"{RULE}$(src)/../tools/gen.sh\n\tsh $< > $@\n", SCRIPT),
    ring("script-without-suffix", f"{RULE}../tools/gen\n\tsh $< > $@\n", SCRIPT),
    Sample("optional", OPTIONAL),
    Sample("linked-sources", FAR_SOURCES, links={"drv/src": "../far/src"}),
    Sample("include-by-flag", BY_FLAG),
    Sample(
        "include-by-macro",
        {**BY_MACRO, "drv/main.c": RING_MACRO + BY_MACRO["drv/main.c"]},
    ),
    ring(
        "include-by-define",
        f"{TWO_OBJECTS}ccflags-y := '-DRING=\"../common/ring.h\"'\n",
        {"drv/main.c": BY_MACRO["drv/main.c"], "common/ring.h": HEADER},
    ),
    ring(
        "include-forced",
        f"{TWO_OBJECTS}ccflags-y := -include $(src)/../inc/ring.h\n",
        {"inc/ring.h": HEADER, "drv/ring.h": ""},
    ),
    ring("top-of-git", f"{TOP_OF_GIT}{TWO_OBJECTS}", {"include/ring.h": HEADER}, tag="v1.25"),
    Sample("blank", BLANK, folder="my dr\u00efver"),
    Sample("blank-above", BLANK_ABOVE, folder="my work/drv"),
    Sample("links", LINKS, links=LINKED),
    ring("version", NAMED, LENGTH, tag="v1.25-of-the-ring"),
    ring("no-version", NAMED, LENGTH),
    # Most of the above in one.
    Sample("all", ALL, folder="drivers/drv", modules=("core.ko", "ring.ko"), tag="v1.25"),
)


def native(folder: Path, make: Make, log: Path) -> Path:
    """Build a driver in place as its author would, by make alone. Return its folder."""
    # kbuild refuses a blank in the name of the folder, so the author's has none.
    plain = [part for part in folder.parts if " " in part]
    for part in plain:
        at = Path(*folder.parts[: folder.parts.index(part) + 1])
        at.rename(at.with_name("plain"))
        folder = at.with_name("plain") / folder.relative_to(at)
    words = ["make", "-C", str(make.src), f"O={make.obj}", f"M={folder}"]
    words += make.compiler.variables()
    run([*words, "modules"], cwd=folder, env={"PWD": str(folder)}, alone=True, log=log)
    return folder


def modules_in(folder: Path, kernel: Kernel) -> dict[str, bytes]:
    """The modules below a folder, by name, without the name of their kernel."""
    found = sorted(folder.rglob("*.ko"))
    return {path.name: nameless(path.read_bytes(), kernel.key) for path in found}


def built_both_ways(
    sample: Sample, top: Path, kernel: Kernel, request: KernelRequest, ctx: Context
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Build a sample by the testbed and by make alone. Return the modules of each."""
    entry = build_driver(sample.lay_out(top / "testbed"), kernel, request, ctx)
    log = top / "native.log"
    with open_builder(request, ctx) as builder:
        bring_to(builder.build_dir, kernel, request, log)
        folder = native(sample.lay_out(top / "native"), builder.build_dir.make, log)
    return modules_in(entry, kernel), modules_in(folder, kernel)
