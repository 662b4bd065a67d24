# SPDX-License-Identifier: GPL-2.0
"""Edits of a kernel's tree that make chosen objects count (gcov), with no other object changed.

CONFIG_GCOV_KERNEL would do the same, but it changes struct module, and with it nearly every object.
So the compiler lists its counters in a section of their own (-fprofile-info-section, GCC 11 or
later) instead of calling constructors, and the kernel's gcov code reads that list at its start, and
each module's when the module is loaded.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

from testbed.errors import SetupError

_SECTION = "gcov_info"
_FLAGS = f"-fprofile-arcs -ftest-coverage -fno-tree-loop-im -fprofile-info-section={_SECTION}"

_AT_START = """
/* Added by the testbed: the counters of objects that are part of the kernel. */
static int __init testbed_link_counters(void)
{
	extern struct gcov_info *testbed_counters[], *testbed_counters_end[];
	struct gcov_info **info;

	for (info = testbed_counters; info < testbed_counters_end; info++)
		__gcov_init(*info);
	return 0;
}
pure_initcall(testbed_link_counters);
"""

_INCLUDES = "#include <linux/export.h>\n#include <linux/init.h>\n"

_LOADED = "static int post_relocation(struct module *mod, const struct load_info *info)\n{\n"
_OF_MODULE = f"""/* Added by the testbed: the counters of a module. */
struct gcov_info;
void __gcov_init(struct gcov_info *info);

static void testbed_link_counters(const struct load_info *info)
{{
	unsigned int count;
	struct gcov_info **each = section_objs(info, "{_SECTION}", sizeof(*each), &count);

	while (count--)
		__gcov_init(*each++);
}}

{_LOADED}	testbed_link_counters(info);
"""

_DATA = "#define DATA_DATA\t\t\t\t\t\t\t\\\n"
_BOUNDS = (
    "\t. = ALIGN(8);\t\\\n"
    f"\ttestbed_counters = .; KEEP(*({_SECTION})) testbed_counters_end = .;\t\\\n"
)

# The file, the text to replace, and what replaces it.
_EDITS = (
    ("kernel/Makefile", "obj-$(CONFIG_GCOV_KERNEL) += gcov/", "obj-y += gcov/"),
    ("kernel/gcov/gcc_base.c", "#include <linux/export.h>\n", _INCLUDES),
    ("kernel/gcov/gcc_base.c", "", _AT_START),
    ("kernel/module/main.c", _LOADED, _OF_MODULE),
    ("include/asm-generic/vmlinux.lds.h", _DATA, _DATA + _BOUNDS),
)


# Returns the text of a file of the tree; nothing if there is none.
Reader = Callable[[str], str]


def counting_diff(text_of: Reader, objects: Sequence[str]) -> str:
    """Return a diff of a tree in which `objects`, named as `mm/util.o`, count.

    Raises:
        SetupError: this kernel's text differs from what the edits expect.
    """
    edited: dict[str, str] = {}
    for name, old, new in (*_EDITS, *_flags_of(text_of, objects)):
        text = edited[name] if name in edited else text_of(name)
        if not text or old not in text:
            raise _differs(name)
        # Without an old text, the new one goes to the end.
        edited[name] = text.replace(old, new, 1) if old else text + new
    return "".join(
        line for name, text in edited.items() for line in _diff(name, text_of(name), text)
    )


def _flags_of(text_of: Reader, objects: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the edit of a Makefile for each object."""
    for name in objects:
        folder = next(each for each in PurePosixPath(name).parents if text_of(f"{each}/Makefile"))
        stem = PurePosixPath(name).relative_to(folder)
        # The seed is in the stamp of notes and counters: equal texts must have equal stamps.
        flags = f"{_FLAGS} -frandom-seed={name}"
        yield f"{folder}/Makefile", "", f"CFLAGS_{stem} += {flags}\n"


def _diff(name: str, before: str, after: str) -> Iterator[str]:
    old, new = (text.splitlines(keepends=True) for text in (before, after))
    return difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")


def _differs(name: str) -> SetupError:
    message = f"this kernel cannot count: its {name} is not as the testbed expects"
    return SetupError(message, hint="testbed/coverage/counters.py edits it")
