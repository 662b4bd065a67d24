# SPDX-License-Identifier: GPL-2.0
"""Registers and memory of a guest's processors, as QEMU's monitor prints them. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_CPU = re.compile(r"^CPU#(?P<number>\d+)$", re.MULTILINE)
_REGISTER = re.compile(r"\b(?P<name>[A-Z]\w*) ?=(?P<value>[0-9a-f]+)\b")

# The last line of the general registers, by architecture. Segments and vectors follow.
_LAST_LINE = re.compile(r"^(?:RIP|PSTATE)=.*$", re.MULTILINE)
_EXCEPTION_LEVEL = re.compile(r"\bEL(?P<level>\d)")

_WORD_LINE = re.compile(r"^(?P<address>[0-9a-f]+):(?P<words>(?: 0x[0-9a-f]+)+)\s*$", re.MULTILINE)

_X86_IF = 1 << 9  # RFLAGS: interrupts are on
_ARM64_I = 1 << 7  # PSTATE: interrupts are masked


@dataclass(frozen=True)
class Processor:
    """One processor of a guest at one moment."""

    number: int
    text: str  # its general registers, as QEMU prints them
    pc: int
    sp: int
    fp: int  # the frame pointer
    link: int  # the link register; 0 on x86_64
    in_user_mode: bool
    interrupts_off: bool

    @property
    def summary(self) -> str:
        mode = "in a user program" if self.in_user_mode else "in the kernel"
        return f"CPU {self.number} is {mode}, interrupts {'off' if self.interrupts_off else 'on'}"


def parse_registers(text: str) -> Iterator[Processor]:
    """Yield the processors that the monitor's `info registers -a` shows."""
    parts = _CPU.split(text.replace("\r", ""))
    for number, part in zip(parts[1::2], parts[2::2], strict=True):
        last = _LAST_LINE.search(part)
        if last is None:
            continue
        general = part[: last.end()].strip("\n")
        values = {match["name"]: int(match["value"], 16) for match in _REGISTER.finditer(general)}
        yield (
            _x86(int(number), general, values)
            if "RIP" in values
            else _arm64(int(number), general, values)
        )


def parse_words(text: str) -> dict[int, int]:
    """Return the 64-bit words by address that the monitor's `x /Ngx` shows."""
    found: dict[int, int] = {}
    for line in _WORD_LINE.finditer(text.replace("\r", "")):
        address = int(line["address"], 16)
        for place, word in enumerate(line["words"].split()):
            found[address + 8 * place] = int(word, 16)
    return found


def _x86(number: int, text: str, values: Mapping[str, int]) -> Processor:
    return Processor(
        number=number,
        text=text,
        pc=values["RIP"],
        sp=values.get("RSP", 0),
        fp=values.get("RBP", 0),
        link=0,
        in_user_mode=values.get("CPL") == 3,
        interrupts_off=not values.get("RFL", 0) & _X86_IF,
    )


def _arm64(number: int, text: str, values: Mapping[str, int]) -> Processor:
    level = _EXCEPTION_LEVEL.search(text)
    return Processor(
        number=number,
        text=text,
        pc=values.get("PC", 0),
        sp=values.get("SP", 0),
        fp=values.get("X29", 0),
        link=values.get("X30", 0),
        in_user_mode=level is not None and level["level"] == "0",
        interrupts_off=bool(values.get("PSTATE", 0) & _ARM64_I),
    )
