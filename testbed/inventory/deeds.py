# SPDX-License-Identifier: GPL-2.0
"""What functions do to the VMA that they get, by their text and the functions that they call."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from testbed.inventory.csyntax import (
    Node,
    Parsed,
    called_member,
    function_name,
    function_of,
    text_of,
    walk,
)
from testbed.inventory.ctext import CText
from testbed.inventory.hook import Caller, Deed
from testbed.inventory.structs import Structs
from testbed.inventory.words import Use, Word, member_words

# The functions of the kernel by which a hook does something. Their own text is not followed.
_DEEDS = {
    Deed.REMAP: r"(io_)?remap_pfn_range\w*|io_remap_\w+|vm_iomap_memory|vmf_insert_pfn\w*",
    Deed.INSERT: r"vm_insert_\w+|vm_map_pages\w*|remap_vmalloc_range\w*",
    Deed.DMA: r"dma_mmap_\w+",
    Deed.ACTION: r"mmap_action_\w+",
    Deed.GENERIC: r"generic_file_(readonly_)?mmap(_prepare)?",
    Deed.NESTED: r"vfs_mmap(_prepare)?|call_mmap(_prepare)?|\w*compat_vma_mmap\w*|compat_set_\w+",
}
_DEED_OF = {deed: re.compile(pattern) for deed, pattern in _DEEDS.items()}

# The layer by which a caller with a vm_area_struct runs a hook that wants a vm_area_desc.
_LAYER = re.compile(r"\w*compat_vma_mmap\w*|vfs_mmap")

_TAKES_VMA = re.compile(rb"vm_area_(struct|desc)\b(?=[^;{}]*\)\s*\{)")
_VM_OPS = re.compile(rb"vm_operations_struct\s+(\w+)[^;{}()]*=\s*\{(.*?)\n\s*\}", re.DOTALL)
_FAULTS = re.compile(rb"\.\s*(?:fault|huge_fault|map_pages)\s*=")
# `f = ` or `(*f)(...) = ` in front of a member.
_VARIABLE = re.compile(rb"(?:\b(\w+)|\*\s*(\w+)\s*\)\s*\([^=;]*\))\s*=\s*[^=;]*$")
_BOTH = re.compile(
    r"(?:->|\.)\s*mmap\b.*(?:->|\.)\s*mmap_prepare\b|"
    r"(?:->|\.)\s*mmap_prepare\b.*(?:->|\.)\s*mmap\b"
)
_ERROR = re.compile(r"-E[A-Z0-9]+")

# A hook is followed through so many functions.
_DEPTH = 6


@dataclass(frozen=True)
class Function:
    """A function that gets a VMA, or the descriptor of one."""

    name: str
    file: str
    line: int
    calls: tuple[str, ...]
    members: tuple[tuple[str, str], ...]  # hooks that it calls: struct and member
    vm_ops: tuple[str, ...]  # what it sets vm_ops to
    errors_only: bool  # each of its returns is an error
    converted: bool  # it gets a vm_area_desc
    knows_both: bool  # its text names the members of both kinds: it chooses between them
    static: bool


@dataclass(frozen=True)
class Doing:
    """What a function does, itself or by those that it calls."""

    deeds: tuple[Deed, ...]
    chain: tuple[str, ...]
    nested: tuple[str, ...]
    layered: bool  # it calls the compatibility layer


@dataclass
class Functions:
    """The functions of a tree that get a VMA."""

    by_name: dict[str, list[Function]] = field(default_factory=dict)
    vm_ops: dict[tuple[str, str], bool] = field(default_factory=dict)  # file, name: has a fault

    def add(self, parsed: Parsed, callers: Iterable[Caller]) -> None:
        """Add the functions and the vm_ops of a file, whose calls of hooks are `callers`."""
        text = parsed.text
        for match in _VM_OPS.finditer(text.text):
            key = text.file, match[1].decode()
            self.vm_ops[key] = _FAULTS.search(match[2]) is not None or self.vm_ops.get(key, False)
        called = list(callers)
        seen = set()
        for match in _TAKES_VMA.finditer(text.text):
            node = function_of(parsed.node(match.start(), match.end()))
            if node is None or (node.start_byte, function_name(node)) in seen:
                continue
            seen.add((node.start_byte, function_name(node)))
            converted = match[1] == b"desc"
            function = _function(node, text.file, text.line(match.start()), called, converted)
            self.by_name.setdefault(function.name, []).append(function)

    def find(self, name: str, near: str) -> Function | None:
        """Return the function of a name that a file means."""
        found = self.by_name.get(name, [])
        own = [each for each in found if each.file == near]
        others = [each for each in found if not each.static]
        # A header may have a stub for kernels without the function.
        inline = [each for each in found if each.static and each.file.endswith(".h")]
        return next(iter([*own, *others, *inline]), None)

    def does(self, name: str, near: str) -> Doing:
        """Return what a hook does."""
        first = self.find(name, near)
        if first is None:
            deed = _terminal(name)
            return Doing((deed,) if deed else (Deed.UNKNOWN,), (name,), (), False)
        if (deed := _terminal(name)) is Deed.GENERIC:
            return Doing((deed,), (name,), (), False)
        walker = _Walker(self)
        walker.visit(first, 0)
        found = walker.deeds or {Deed.REFUSES if first.errors_only else Deed.FLAGS: None}
        order = [deed for deed in Deed if deed in found]
        return Doing(tuple(order), tuple(walker.chain), tuple(walker.nested), walker.layered)


@dataclass
class _Walker:
    functions: Functions
    deeds: dict[Deed, None] = field(default_factory=dict)
    chain: dict[str, None] = field(default_factory=dict)
    nested: dict[str, None] = field(default_factory=dict)
    layered: bool = False
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def visit(self, function: Function, depth: int) -> bool:
        """Take what a function does; return whether that was anything."""
        if (function.file, function.name) in self._seen or depth > _DEPTH:
            return False
        self._seen.add((function.file, function.name))
        self.chain[function.name] = None
        acts = [*self._members(function), *self._vm_ops(function)]
        useful = bool(acts)
        self.deeds.update(dict.fromkeys(acts))
        for name in function.calls:
            useful |= self._call(name, function, depth)
        if not useful and depth:
            self.chain.pop(function.name)
        return useful

    def _call(self, name: str, function: Function, depth: int) -> bool:
        if (deed := _terminal(name)) is not None:
            self.deeds[deed] = None
            self.chain[name] = None
            self.layered |= _LAYER.fullmatch(name) is not None
            return True
        called = self.functions.find(name, function.file)
        # What a driver does excludes the kernel's own memory management.
        if called is None or (called.file != function.file and called.file.startswith("mm/")):
            return False
        return self.visit(called, depth + 1)

    def _members(self, function: Function) -> Iterator[Deed]:
        for struct, member in function.members:
            self.nested[f"{struct or '?'}.{member}"] = None
            yield Deed.NESTED

    def _vm_ops(self, function: Function) -> Iterator[Deed]:
        for name in function.vm_ops:
            known = self.functions.vm_ops
            faults = known.get((function.file, name))
            if faults is None:
                faults = any(has for (_, other), has in known.items() if other == name)
            yield Deed.FAULT if faults else Deed.VM_OPS


def _terminal(name: str) -> Deed | None:
    for deed, pattern in _DEED_OF.items():
        if pattern.fullmatch(name):
            return deed
    return None


def calls_of_hooks(parsed: Parsed, names: Collection[str], structs: Structs) -> Iterator[Caller]:
    """Yield the calls of members of these names in a file."""
    text = parsed.text
    for word in member_words(text.text, names):
        node = parsed.node(word.start, word.end)
        target = None
        if word.use is Use.CALLED:
            target = called_member(node)
        elif word.use is Use.TAKEN and node is not None and _called_later(text, word):
            target = node.parent
        if target is None:
            continue
        holder = target.child_by_field_name("argument")
        yield Caller(
            struct=structs.pointed(holder, text.file),
            member=word.name,
            function=function_name(function_of(target)),
            file=text.file,
            line=text.line(word.start),
            text=text_of(target),
            holder=_holder(holder, structs, text.file),
        )


def _called_later(text: CText, word: Word) -> bool:
    """Whether a member is put into a variable that the same function calls."""
    first, last = text.item(word.start)
    begin = max(text.text.rfind(sign, first, word.start) for sign in (b";", b"{", b"}"))
    variable = _VARIABLE.search(text.text[begin + 1 : word.start])
    if variable is None:
        return False
    called = re.compile(rb"\b%s\s*\(" % (variable[1] or variable[2]))
    return called.search(text.text, word.end, last) is not None


def _holder(node: Node | None, structs: Structs, file: str) -> str:
    if node is None or node.type != "field_expression":
        return ""
    outer = structs.pointed(node.child_by_field_name("argument"), file)
    return f"{outer}.{text_of(node.child_by_field_name('field'))}" if outer else ""


def _function(node: Node, file: str, line: int, callers: list[Caller], converted: bool) -> Function:
    name = function_name(node)
    calls: list[str] = []
    vm_ops: list[str] = []
    returns: list[str] = []
    for each in walk(node):
        if each.type == "call_expression":
            target = each.child_by_field_name("function")
            calls.append(text_of(target) if target and target.type == "identifier" else "")
        elif each.type == "assignment_expression":
            vm_ops += _set_vm_ops(each)
        elif each.type == "return_statement":
            returns.append(text_of(each)[len("return") :].strip(" ;()"))
    return Function(
        name=name,
        file=file,
        line=line,
        calls=tuple(dict.fromkeys(filter(None, calls))),
        members=tuple(dict.fromkeys((c.struct, c.member) for c in callers if c.function == name)),
        vm_ops=tuple(vm_ops),
        errors_only=bool(returns) and all(_ERROR.fullmatch(value) for value in returns),
        converted=converted,
        knows_both=_BOTH.search(text_of(node)) is not None,
        static=text_of(node).startswith("static"),
    )


def _set_vm_ops(node: Node) -> Iterator[str]:
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    if left is None or right is None or left.type != "field_expression":
        return
    if text_of(left.child_by_field_name("field")) == "vm_ops" and text_of(right) != "NULL":
        names = re.findall(r"&\s*([\w.>-]+)", text_of(right)) or [text_of(right)]
        yield from names
