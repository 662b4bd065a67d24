# SPDX-License-Identifier: GPL-2.0
"""Symbols of a kernel and of its modules: from an address to a function."""

from __future__ import annotations

import bisect
import itertools
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from testbed.kernel.build import Kernel

# A line of System.map: address, type as nm(1) prints it, name. Functions only.
_MAP_LINE = re.compile(r"(?P<address>[0-9a-f]{16}) [tTwW] (?P<name>\S+)")
_MAP_END = re.compile(r"(?P<address>[0-9a-f]{16}) \w _etext$", re.MULTILINE)
_IDLE_EDGE = re.compile(r"^([0-9a-f]{16}) \w __cpuidle_text_(start|end)$", re.MULTILINE)

# ELF structures for 64 bits, little endian (elf(5)).
_HEADER = struct.Struct("<16xHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_SHT_SYMTAB = 2
_SHF_EXECINSTR = 4
_STT_FUNC = 2


@dataclass(frozen=True, order=True)
class Function:
    """One function. `module` is empty for the kernel's own."""

    address: int
    size: int
    name: str
    module: str = ""


class SymbolTable:
    """Functions by address."""

    def __init__(self, functions: Iterable[Function] = ()) -> None:
        self._functions = sorted(functions)
        self._starts = [each.address for each in self._functions]

    def find(self, address: int) -> str:
        """Return `name+0xOFFSET/0xSIZE [module]`, as the kernel prints it; else ""."""
        return self._named(address, address)

    def find_caller(self, address: int) -> str:
        """Return the function that a return address belongs to, in the same form; else "".

        Behind the call of a function that never returns, another function may begin
        (kernel/kallsyms.c, sprint_backtrace()).
        """
        return self._named(address - 1, address)

    def _named(self, inside: int, address: int) -> str:
        at = bisect.bisect_right(self._starts, inside) - 1
        if at < 0:
            return ""
        found = self._functions[at]
        if inside >= found.address + found.size:
            return ""
        module = f" [{found.module}]" if found.module else ""
        return f"{found.name}+{address - found.address:#x}/{found.size:#x}{module}"


def kernel_functions(kernel: Kernel) -> Iterator[Function]:
    """Yield the functions of a kernel; none if its System.map is missing."""
    if kernel.system_map.is_file():
        yield from map_functions(kernel.system_map.read_text())


@cache  # a silent guest is looked at several times a second
def idle_code(system_map: Path) -> range:
    """Return the addresses of the code in which a processor of a kernel waits for work.

    It has a section of its own (include/asm-generic/vmlinux.lds.h, CPUIDLE_TEXT). Without the file
    the range is empty.
    """
    return map_range(system_map.read_text()) if system_map.is_file() else range(0)


def map_range(system_map: str) -> range:
    """Return the addresses of the idle section in a System.map; an empty range without one."""
    found = {edge: int(address, 16) for address, edge in _IDLE_EDGE.findall(system_map)}
    return range(found.get("start", 0), found.get("end", 0))


def map_functions(system_map: str) -> Iterator[Function]:
    """Yield the functions of a System.map. Each one reaches to the next symbol, or to the end."""
    end = _MAP_END.search(system_map)
    last = int(end["address"], 16) if end else 0
    places: dict[int, str] = {}
    for match in _MAP_LINE.finditer(system_map):
        if (address := int(match["address"], 16)) < last:
            places.setdefault(address, match["name"])
    starts = sorted(places)
    for start, stop in itertools.pairwise([*starts, last]):
        yield Function(start, stop - start, places[start])


def module_functions(content: bytes, name: str, text: int) -> Iterator[Function]:
    """Yield the functions in the section .text of a module that was loaded at address `text`."""
    sections = list(_sections(content))
    numbers = [number for number, section in enumerate(sections) if section.name == ".text"]
    tables = [section for section in sections if section.kind == _SHT_SYMTAB]
    for table in tables:
        strings = sections[table.link].content
        for at in range(0, len(table.content) - _SYMBOL.size + 1, _SYMBOL.size):
            where, info, _, index, value, size = _SYMBOL.unpack_from(table.content, at)
            if info & 0xF == _STT_FUNC and index in numbers:
                yield Function(text + value, size, _text(strings, where), name)


def code_sections(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the address and the content of each section of an ELF file that has code."""
    for section in _sections(content):
        if section.flags & _SHF_EXECINSTR:
            yield section.address, section.content


@dataclass(frozen=True)
class _Section:
    name: str
    kind: int
    flags: int
    address: int
    link: int
    content: bytes


def _sections(content: bytes) -> Iterator[_Section]:
    header = _HEADER.unpack_from(content)
    offset, count, names = header[5], header[11], header[12]
    raw = [_SECTION.unpack_from(content, offset + n * _SECTION.size) for n in range(count)]
    strings = content[raw[names][4] :]
    for name, kind, flags, address, start, size, link, *_ in raw:
        inside = content[start : start + size]
        yield _Section(_text(strings, name), kind, flags, address, link, inside)


def _text(strings: bytes, where: int) -> str:
    return strings[where : strings.index(0, where)].decode(errors="replace")
