# SPDX-License-Identifier: GPL-2.0
"""The hooks of a tree, found in another way than testbed/inventory does: words and braces only.

No file is left out by its words, no parser is used, and which members and macros hold hooks is
written down here. It knows nothing of conditions, types or functions, so it is good for a check,
and for nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

# Members that hold a hook, by the struct in front of the initialiser.
_MEMBERS = frozenset(
    {"mmap", "mmap_prepare", "fb_mmap", "proc_mmap", "map_mmap", "hw_block_mmap"}
    | {"mmap_prepare_ring_buffer"}
)

# Structs whose member of that name is no hook: a function without a VMA.
_NO_HOOKS = frozenset({"host1x_bo_ops"})

# Values that no function is: what a member of another struct is given.
_NO_FUNCTIONS = frozenset({"pci_iomap", "syscon_node_to_regmap", "kern_map", "map"})

# Macros whose use is a hook, and how many hooks that is.
_MACROS = {
    "DEFINE_DRM_GEM_FOPS": 1,
    "DEFINE_DRM_GEM_DMA_FOPS": 1,
    "DEFINE_DRM_ACCEL_FOPS": 1,
    "DRM_GEM_FOPS": 1,
    "DRM_ACCEL_FOPS": 1,
    "FB_DEFAULT_IOMEM_OPS": 1,
    "FB_DEFAULT_DEFERRED_OPS": 1,
    "FB_DEFAULT_SBUS_OPS": 1,
    "__FB_DEFAULT_IOMEM_OPS_MMAP": 1,
    "__FB_DEFAULT_DEFERRED_OPS_MMAP": 1,
    "__FB_DEFAULT_SBUS_OPS_MMAP": 1,
}
_MACROS_OF = {
    "drivers/pci/pci-sysfs.c": {
        "pci_dev_resource_attr": 0,  # only a name beside the following
        "pci_dev_resource_io_attr": 1,
        "pci_dev_resource_uc_attr": 1,
        "pci_dev_resource_wc_attr": 1,
        "pci_legacy_resource_io_attr": 1,
        "pci_legacy_resource_mem_attr": 1,
    },
    "arch/alpha/kernel/pci-sysfs.c": {
        "pci_dev_resource_attr": 1,
        "pci_dev_resource_sparse_attr": 1,
        "pci_dev_resource_dense_attr": 1,
    },
}

# A file without any of these has no hook.
_WORDS = (b"mmap", b"DRM_GEM_", b"DRM_ACCEL_FOPS", b"FB_DEFAULT_")

_TOKEN = re.compile(
    rb"""(?P<comment>/\*.*?\*/|//[^\n]*)|(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+')"""
    rb"""|(?P<define>^[ \t]*\#[ \t]*define\b(?:\\\n|[^\n])*)"""
    rb"""|(?P<zero>^[ \t]*\#[ \t]*if[ \t]+0\b)""",
    re.DOTALL | re.MULTILINE,
)
_HEAD = re.compile(rb"\bstruct\s+(\w+)\b[^;{}]*=\s*$|\(\s*(?:const\s+)?struct\s+(\w+)\s*\)\s*$")
_GIVEN = re.compile(rb"(\.|->)[ \t]*(\w*mmap\w*)\s*=(?!=)\s*&?\s*([\w()]+)")

Hook = tuple[str, int, str, str]  # file, line, member, function


def hooks_by_words(tree: Path) -> Iterator[Hook]:
    """Yield the hooks of a tree: initialisers, assignments, and uses of macros (function empty)."""
    for path in sorted(tree.rglob("*.[ch]")):
        name = str(path.relative_to(tree))
        if name.split("/")[0] in ("Documentation", "tools", "scripts") or path.is_symlink():
            continue
        content = path.read_bytes()
        if any(word in content for word in _WORDS):
            yield from _of_file(name, _TOKEN.sub(_gone, content))


def _gone(match: re.Match[bytes]) -> bytes:
    return b"\n" * match[0].count(b"\n") if match["zero"] is None else match[0]


def _of_file(name: str, text: bytes) -> Iterator[Hook]:
    text = _without_zero(text)
    for match in _GIVEN.finditer(text):
        sign, member, value = match[1], match[2].decode(), match[3].decode().strip("()")
        if member not in _MEMBERS or value.partition("(")[0] in _NO_FUNCTIONS:
            continue
        struct = _struct_around(text, match.start()) if sign == b"." else ""
        if struct not in _NO_HOOKS:
            yield name, text.count(b"\n", 0, match.start(2)) + 1, member, value
    for macro, hooks in {**_MACROS, **_MACROS_OF.get(name, {})}.items():
        for match in re.finditer(rf"\b{macro}\b".encode(), text):
            for _ in range(hooks):
                yield name, text.count(b"\n", 0, match.start()) + 1, macro, ""


def _without_zero(text: bytes) -> bytes:
    """Remove what `#if 0` removes, without its `#else`."""
    lines, depth = [], 0
    for line in text.split(b"\n"):
        word = re.match(rb"[ \t]*#[ \t]*(if\w*|else|elif|endif)\b[ \t]*(\w*)", line)
        if depth and word:
            depth += {b"if": 1, b"ifdef": 1, b"ifndef": 1, b"endif": -1}.get(word[1], 0)
            if depth == 1 and word[1] in (b"else", b"elif"):
                depth = 0
        elif word and word[1] == b"if" and word[2] == b"0":
            depth = 1
        lines.append(b"" if depth else line)
    return b"\n".join(lines)


def _struct_around(text: bytes, end: int) -> str:
    """Return the struct of the innermost initialiser around a place, by counting braces."""
    depth, place = 0, end
    while place > max(0, end - 20_000):
        place -= 1
        if text[place] == ord("}"):
            depth += 1
        elif text[place] == ord("{"):
            if not depth:
                head = _HEAD.search(text, max(0, place - 300), place)
                if head:
                    return (head[1] or head[2]).decode()
            else:
                depth -= 1
    return ""
