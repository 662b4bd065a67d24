# SPDX-License-Identifier: GPL-2.0
"""Where a silent guest is: registers and call trace of each processor, over QEMU's monitor.

It needs no help from the guest. The kernels are built with frame pointers, so a chain of frames
gives the callers. Any other word of the stack that is an address in a function is a guess, marked
with `?` as the kernel does (arch/x86/kernel/dumpstack.c, show_trace_log_lvl()).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from testbed.deadline import Deadline
from testbed.errors import QmpError
from testbed.vm.qmp import Qmp
from testbed.vm.registers import Processor, parse_registers, parse_words
from testbed.vm.symbols import SymbolTable, idle_code

_PATIENCE = 10.0  # seconds for one command of the monitor

_STACK_WORDS = 1024  # to read: half of a stack

_MOST_LINES = 40  # of a trace


def show_processors(qmp: Qmp, symbols: SymbolTable) -> str:
    """Return registers and call trace of every processor, as text. The guest pauses meanwhile."""
    try:
        with _paused(qmp):
            shown = _monitor(qmp, "info registers -a")
            parts = [_show(cpu, _stack(qmp, cpu), symbols) for cpu in parse_registers(shown)]
    except QmpError as error:
        return f"the registers cannot be read: {error.message}"
    return "\n".join(parts) or f"the registers cannot be read: {shown}"


def interrupts_are_off(qmp: Qmp, system_map: Path) -> bool:
    """Whether every busy processor is in the kernel with interrupts off, at this moment.

    An idle processor does not count. One of arm64 waits with interrupts off, and an interrupt wakes
    it all the same (arch/arm64/kernel/idle.c, cpu_do_idle()).
    """
    try:
        seen = list(parse_registers(_monitor(qmp, "info registers -a")))
    except QmpError:
        return False
    idle = idle_code(system_map)
    busy = [cpu for cpu in seen if cpu.pc not in idle]
    return bool(busy) and all(cpu.interrupts_off and not cpu.in_user_mode for cpu in busy)


@contextmanager
def _paused(qmp: Qmp) -> Iterator[None]:
    """Stop the processors: while they run, QEMU does not keep all registers up to date."""
    qmp.execute("stop", deadline=Deadline.for_host(_PATIENCE))
    try:
        yield
    finally:
        with contextlib.suppress(QmpError):
            qmp.execute("cont", deadline=Deadline.for_host(_PATIENCE))


def _monitor(qmp: Qmp, line: str, cpu: int = 0) -> str:
    command = {"command-line": line, "cpu-index": cpu}
    return str(qmp.execute("human-monitor-command", command, deadline=Deadline.for_host(_PATIENCE)))


def _stack(qmp: Qmp, cpu: Processor) -> dict[int, int]:
    """Return the words of a processor's stack, as far as they can be read."""
    if cpu.in_user_mode:
        return {}
    return parse_words(_monitor(qmp, f"x /{_STACK_WORDS}gx {cpu.sp & ~7:#x}", cpu.number))


def _show(cpu: Processor, stack: Mapping[int, int], symbols: SymbolTable) -> str:
    lines = [cpu.summary, cpu.text]
    if not cpu.in_user_mode:
        lines += ["Call Trace (? marks a guess):", *trace_lines(cpu, stack, symbols)]
    return "\n".join(lines)


def trace_lines(cpu: Processor, stack: Mapping[int, int], symbols: SymbolTable) -> list[str]:
    """Return the lines of a call trace, innermost function first."""
    known = symbols.find(cpu.pc)
    lines = [f" {known or f'{cpu.pc:#x}: no known function'}"]
    frames = set(_return_slots(cpu.fp, stack, symbols))
    # A leaf function of arm64 has no frame: its caller is in the link register.
    if cpu.link and (caller := symbols.find_caller(cpu.link)):
        lines.append(f" ? {caller}")
    for address in sorted(stack):
        if name := symbols.find_caller(stack[address]):
            lines.append(f" {'' if address in frames else '? '}{name}")
    return lines[:_MOST_LINES]


def _return_slots(fp: int, stack: Mapping[int, int], symbols: SymbolTable) -> Iterator[int]:
    """Yield the addresses of the return addresses in a chain of frames.

    Both architectures store the caller's frame pointer, and the return address behind it.
    """
    while fp in stack and symbols.find_caller(stack.get(fp + 8, 0)):
        yield fp + 8
        if stack[fp] <= fp:
            return
        fp = stack[fp]
