# SPDX-License-Identifier: GPL-2.0
"""The places of a kernel's code that KCOV reports: the calls that the compiler has added.

The compiler also added the numbers of the lines (testbed/kernel/kcov.py).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from testbed.kernel.build import Kernel
from testbed.kernel.kcov import LAYER
from testbed.process import run
from testbed.vm.symbols import code_sections

_HALF = 0xFFFFFFFF


@dataclass(frozen=True, order=True)
class Place:
    """One place in a file of the layer."""

    file: str
    line: int
    function: str


def layer_places(kernel: Kernel) -> dict[str, Place]:
    """Return the places in the layer's files, by the lower half of the address as KCOV reports it.

    Raises:
        CommandError: the toolchain's addr2line is missing.
    """
    target = _target(kernel.system_map.read_text())
    if target is None:
        return {}
    calls = _CALLS[kernel.arch.name]
    sections = code_sections(kernel.vmlinux.read_bytes())
    found = [place for start, code in sections for place in calls(code, start, target)]
    # KCOV reports the address behind the call. The line is that of the call.
    asked = "".join(f"{address - 1:#x}\n" for address in found)
    program = f"{kernel.arch.triplet}-addr2line"
    answer = run([program, "-afi", "-e", kernel.vmlinux], stdin=asked.encode()).stdout
    return {f"{address + 1 & _HALF:08x}": place for address, place in parse_places(answer)}


def _target(system_map: str) -> int | None:
    """Return the address of the function that the compiler calls at each place."""
    found = re.search(r"^([0-9a-f]{16}) T __sanitizer_cov_trace_pc$", system_map, re.MULTILINE)
    return int(found[1], 16) if found else None


def x86_calls(code: bytes, start: int, target: int) -> Iterator[int]:
    """Yield the address behind each call of `target`: 0xe8 and a distance of 32 bits."""
    at = code.find(b"\xe8")
    while 0 <= at <= len(code) - 5:
        (distance,) = struct.unpack_from("<i", code, at + 1)
        if start + at + 5 + distance == target:
            yield start + at + 5
        at = code.find(b"\xe8", at + 1)


def arm64_calls(code: bytes, start: int, target: int) -> Iterator[int]:
    """Yield the address behind each call of `target`: BL, and a distance of 26 bits in words."""
    words = struct.iter_unpack("<I", code[: len(code) // 4 * 4])
    for number, (word,) in enumerate(words):
        if word >> 26 == 0b100101:
            address = start + 4 * number
            if (target - address) >> 2 & 0x3FFFFFF == word & 0x3FFFFFF:
                yield address + 4


_CALLS: dict[str, Callable[[bytes, int, int], Iterable[int]]] = {
    "x86_64": x86_calls,
    "arm64": arm64_calls,
}

# "mm/vma.c:123 (discriminator 4)", with any folder before it
_WHERE = re.compile(rf"(?:.*/)?(?P<file>{'|'.join(map(re.escape, LAYER))}):(?P<line>\d+)\b.*")


def parse_places(answer: str) -> Iterator[tuple[int, Place]]:
    """Yield each address, and its place in the layer, from the output of `addr2line -afi`.

    Code can be inlined. The innermost place in a file of the layer counts.
    """
    address, function = 0, ""
    waiting = False
    for line in answer.splitlines():
        if line.startswith("0x"):
            address, waiting, function = int(line, 16), True, ""
        elif not function:
            function = line
        else:
            where = _WHERE.fullmatch(line)
            if where and waiting:
                yield address, Place(where["file"], int(where["line"]), function)
                waiting = False
            function = ""
