# SPDX-License-Identifier: GPL-2.0
"""The values of an inventory: hooks, who calls them, and what they do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any


class Deed(StrEnum):
    """What a hook does to a mapping."""

    REMAP = "remap"  # maps page frames: remap_pfn_range() and the like
    INSERT = "insert"  # inserts pages: vm_insert_page(), vm_map_pages() and the like
    DMA = "dma"  # dma_mmap_*()
    FAULT = "fault"  # sets vm_ops with a fault handler
    VM_OPS = "vm_ops"  # sets vm_ops without one, or vm_ops that its text does not name
    NESTED = "nested"  # calls a nested hook, or the hook of another file
    ACTION = "action"  # mmap_action_*()
    GENERIC = "generic"  # generic_file_mmap() and the like
    REFUSES = "refuses"  # returns an error, always
    FLAGS = "flags"  # none of these: it checks the VMA or sets its flags
    UNKNOWN = "unknown"  # its text was not found


class Shape(StrEnum):
    """How the text gives a hook to its member."""

    INITIALISER = "initialiser"
    ASSIGNMENT = "assignment"
    MACRO = "macro"
    RUST = "rust"


@dataclass(frozen=True, kw_only=True)
class Hook:
    """One initialiser, assignment, or use of a macro, that gives a member its hook."""

    struct: str
    member: str
    name: str  # of the object; for an assignment the expression
    function: str  # NULL: it takes the hook away, or says that there is none
    file: str
    line: int
    shape: Shape
    converted: bool
    macro: str = ""  # by which it is hidden
    within: str = ""  # the function that assigns it
    part: str = ""  # of several objects with this name: its function, its place in an array
    guard: str = ""  # the conditions of the preprocessor
    held: tuple[str, ...] = ()  # `struct.member`s of the file that point to the object
    symbols: tuple[str, ...] = ()  # of the configuration, the one of its object file first
    arches: tuple[str, ...] = ()  # that can have it; ("all",)
    deeds: tuple[Deed, ...] = ()
    chain: tuple[str, ...] = ()  # the functions by which it does so
    nested: tuple[str, ...] = ()  # the `struct.member`s that it calls

    @property
    def owner(self) -> str:
        return f"{self.struct}.{self.member}"

    @property
    def null(self) -> bool:
        return self.function == "NULL"

    @property
    def key(self) -> str:
        """Equal for the same hook of two trees, whatever its lines and its function."""
        return f"{self.file}:{self.struct}:{self.name}{self.part}"

    @property
    def tree_name(self) -> str:
        """Its name in tests and recipes: `FILE:OBJECT`."""
        return f"{self.file}:{self.name}"

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A call of a hook through its member."""

    struct: str  # empty: the text does not show it
    member: str
    function: str
    file: str
    line: int
    text: str  # the expression that is called
    holder: str = ""  # `struct.member` through which the object is reached, as drm_driver.fops
    converted: bool = False  # the function gets a vm_area_desc
    layered: bool = False  # it calls the compatibility layer
    knows_both: bool = False  # it chooses between the members of both kinds

    @property
    def owner(self) -> str:
        return f"{self.struct or '?'}.{self.member}"

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def hook_from(values: Mapping[str, Any]) -> Hook:
    """Undo dataclasses.asdict. Raises KeyError, TypeError, ValueError."""
    lists = {
        each.name: tuple(values[each.name])
        for each in fields(Hook)
        if each.type.startswith("tuple")
    }
    lists["deeds"] = tuple(map(Deed, values["deeds"]))
    return Hook(**{**values, **lists, "shape": Shape(values["shape"])})
