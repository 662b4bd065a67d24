# SPDX-License-Identifier: GPL-2.0
"""The results that the contract predicts for a scenario, computed without a kernel.

Pure functions from a plan and a call to the errno, the VMA's fields and the content of each
page. Numbers in parentheses and comments are guarantees (testbed/mmap/guarantees.py).
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from testbed.mmap.path import HookPath
from testbed.mmap.plan import (
    NOTHING,
    VM_ACCOUNT,
    VM_EXEC,
    VM_LOCKED,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_MIXEDMAP,
    VM_NORESERVE,
    VM_PFNMAP,
    VM_READ,
    VM_REMAP_FLAGS,
    VM_SHARED,
    VM_SPECIAL,
    VM_WRITE,
    Action,
    Plan,
    VmOps,
)
from testbed.mmap.scenario import Call, Scenario

POOL_PAGES = 64

_PROT_BITS = {"r": VM_READ, "w": VM_WRITE, "x": VM_EXEC}

# An area of this many bytes or more wraps around the end of the address space.
_WRAPS = 1 << 63

_REMAPS = (Action.REMAP, Action.IOREMAP, Action.SIMPLE_IOREMAP)
_NO_ACTION = (None, Action.NONE)

# The vm_ops that have each operation.
HAVE_CLOSE = (VmOps.FULL, VmOps.NO_MAPPED, VmOps.MKWRITE)
HAVE_MAPPED = (VmOps.FULL, VmOps.NO_CLOSE, VmOps.MKWRITE)
HAVE_FAULT = (VmOps.FULL, VmOps.NO_CLOSE, VmOps.NO_MAPPED, VmOps.MKWRITE)


@dataclass(frozen=True)
class Extent:
    """The part of the mapping that an action fills, and its first page in the pool."""

    start: int  # bytes from the start of the mapping
    size: int  # bytes
    pool_page: int


def number(text: str | None, page_size: int) -> int:
    """Convert a NUMBER of the probe's language (docs/probe.md) to bytes."""
    if not text:
        return 0
    scale = {"p": page_size, "k": 1 << 10, "m": 1 << 20}.get(text[-1])
    return int(text[:-1], 0) * scale if scale else int(text, 0)


def early(outer: Plan) -> Plan:
    """Return what an outer hook does before the hook below."""
    return NOTHING if outer.late else outer


def late(outer: Plan) -> Plan:
    """Return what an outer hook does after the hook below, over what that one has set."""
    return outer if outer.late else NOTHING


def acting(scenario: Scenario) -> Plan:
    """Return the plan of the hook whose action counts. A descriptor has one: the last (76)."""
    return _with_action(late(scenario.outer), scenario.plan, early(scenario.outer))


def left_action(scenario: Scenario) -> Action:
    """Return the action in the descriptor when the hook below returns."""
    return _with_action(scenario.plan, early(scenario.outer)).action or Action.NONE


def entry_flags(call: Call, outer: Plan) -> int:
    """Return vm_flags on entry to the hook: the full computed set (13), after the outer hook."""
    outer = early(outer)
    flags = VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
    for letter, bit in _PROT_BITS.items():
        flags |= bit if letter in call.prot and call.prot != "none" else 0
    words = call.flags.split(",")
    flags |= VM_SHARED | VM_MAYSHARE if call.shared else 0
    flags |= VM_LOCKED if call.locked else 0
    flags |= VM_NORESERVE if "noreserve" in words else 0
    private_writable = (flags & (VM_WRITE | VM_SHARED | VM_NORESERVE)) == VM_WRITE
    flags |= VM_ACCOUNT if private_writable else 0
    return flags & ~(outer.clear_flags or 0) | (outer.set_flags or 0)


def hook_flags(scenario: Scenario) -> int:
    """Return vm_flags as the hook leaves them. The hook sets flags and clears them (19)."""
    flags = entry_flags(scenario.call, scenario.outer)
    for plan in (scenario.plan, late(scenario.outer)):
        flags = flags & ~(plan.clear_flags or 0) | (plan.set_flags or 0)
    return flags


def final_flags(scenario: Scenario) -> int:
    """Return vm_flags of the final VMA, without the soft-dirty bit."""
    flags = hook_flags(scenario)
    if acting(scenario).action in _REMAPS:
        flags |= VM_REMAP_FLAGS  # 34
    if acting(scenario).action is Action.KERNEL_PAGES:
        flags |= VM_MIXEDMAP  # 41
    if flags & VM_SPECIAL:
        flags &= ~VM_LOCKED  # 69
    return flags


def vm_ops(scenario: Scenario) -> VmOps:
    """Return the vm_ops of the VMA: those that were set last (15, 23)."""
    plans = (late(scenario.outer), scenario.plan, early(scenario.outer))
    chosen = (plan.vm_ops for plan in plans if plan.vm_ops not in (None, VmOps.LEAVE))
    return next(chosen, None) or VmOps.LEAVE


def private(scenario: Scenario) -> int:
    """Return the private data that was set last; an outer hook's stay if the hook sets none."""
    plans = (late(scenario.outer), scenario.plan, early(scenario.outer))
    return next((plan.private for plan in plans if plan.private is not None), 0)


def is_cow(scenario: Scenario) -> bool:
    """Whether the mapping is copy-on-write: private, and may be written (36)."""
    return hook_flags(scenario) & (VM_SHARED | VM_MAYWRITE) == VM_MAYWRITE


def hook_pgoff(scenario: Scenario) -> int:
    """Return the page offset that the hooks leave (12, 18)."""
    plans = (late(scenario.outer), scenario.plan, early(scenario.outer))
    chosen = (plan.pgoff for plan in plans if plan.pgoff is not None)
    return next(chosen, scenario.call.offset)


def final_pgoff(scenario: Scenario, page_size: int, pool_pfn: int) -> int:
    """Return the page offset of the VMA. A copy-on-write remap stores the page frame there (36)."""
    extent = action_extent(scenario, page_size)
    if acting(scenario).action in _REMAPS and extent is not None and is_cow(scenario):
        return pool_pfn + extent.pool_page
    return hook_pgoff(scenario)


def action_extent(scenario: Scenario, page_size: int) -> Extent | None:
    """Return the part that the hook asks the core to map, or None without an action."""
    plan, length = acting(scenario), _hook_length(scenario, page_size)
    if plan.action in (*_NO_ACTION, Action.UNKNOWN):
        return None
    page = plan.pool_page or 0
    if plan.action is Action.SIMPLE_IOREMAP:  # 40
        return Extent(number(plan.shrink_start, page_size), length, page + hook_pgoff(scenario))
    offset = plan.shrink_start if plan.action_offset is None else plan.action_offset
    start = number(offset, page_size)
    size = length if plan.action_size is None else number(plan.action_size, page_size)
    return Extent(start, size, page)


def contents(scenario: Scenario, page_size: int) -> list[str]:
    """Return what a read finds in each page of the new mapping: its content or a signal."""
    extent = action_extent(scenario, page_size)
    return [
        _filled(scenario, extent, page, page_size) or _faulted(scenario, page)
        for page in range(scenario.call.pages)
    ]


def failure(scenario: Scenario, path: HookPath, page_size: int) -> str:
    """Return the name of mmap's errno, or an empty string if mmap must succeed."""
    plan = scenario.plan
    if scenario.outer.hook_error:
        return _name(scenario.outer.hook_error)
    if error := _hook_failure(scenario, page_size):
        return error
    if path.shape.outer_prepares and scenario.outer.outer_error:
        return _name(scenario.outer.outer_error)  # before the core acts (78)
    if path.shape.prepares and plan.error_override and number_of(plan.error_override) > 0:
        return "EINVAL"  # 44
    if error := _action_failure(scenario, page_size):
        return error
    if error := _late_failure(scenario, path):
        override = plan.error_override if path.shape.by_core else None
        return _name(override) if override and override != "0" else error  # 44, KD6
    return _name(scenario.outer.outer_error)


def is_refused(scenario: Scenario, page_size: int) -> bool:
    """Whether the core refuses what the hook leaves, before it makes the VMA (33, 44)."""
    outer = scenario.outer
    if _hook_failure(scenario, page_size) or outer.hook_error or outer.outer_error:
        return False
    override = scenario.plan.error_override
    return bool(override and number_of(override) > 0) or bool(_action_failure(scenario, page_size))


def fails_late(scenario: Scenario, path: HookPath, page_size: int) -> bool:
    """Whether mmap fails after the VMA was made: in the action or in mapped()."""
    outer = scenario.outer
    refused = outer.hook_error or (path.shape.outer_prepares and outer.outer_error)
    early = refused or _hook_failure(scenario, page_size) or _action_failure(scenario, page_size)
    late = _late_failure(scenario, path)
    return bool(not early and late and failure(scenario, path, page_size))


def number_of(error: str) -> int:
    """Convert an ERROR of the probe's language to a number: -EINVAL to -22."""
    text = error.removeprefix("-")
    value = getattr(errno, text) if text.isidentifier() else int(text, 0)
    return -value if error.startswith("-") else value


def _with_action(*plans: Plan) -> Plan:
    """Return the first of these plans that has an action."""
    return next((plan for plan in plans if plan.action not in _NO_ACTION), NOTHING)


def _hook_length(scenario: Scenario, page_size: int) -> int:
    """Return the length in the descriptor after the hook, in bytes (21)."""
    cut = number(scenario.plan.shrink_start, page_size)
    cut += number(scenario.plan.shrink_end, page_size)
    return scenario.call.pages * page_size - cut


def _filled(scenario: Scenario, extent: Extent | None, page: int, page_size: int) -> str:
    if extent is None or not _readable(scenario):
        return ""
    offset = page * page_size - extent.start
    if not 0 <= offset < extent.size:
        return ""
    return f"pool:{extent.pool_page + offset // page_size}"


def _faulted(scenario: Scenario, page: int) -> str:
    """Return what a read finds in a page that no action has filled (15, 23, 37)."""
    if not _readable(scenario):
        return "SIGSEGV"
    ops = vm_ops(scenario)
    if ops is VmOps.NULL:
        return "SIGBUS" if scenario.call.shared else "zero"
    at = hook_pgoff(scenario) + page
    pfnmap = final_flags(scenario) & VM_PFNMAP
    return f"pool:{at}" if ops in HAVE_FAULT and at < POOL_PAGES and not pfnmap else "SIGBUS"


def _readable(scenario: Scenario) -> bool:
    return bool(final_flags(scenario) & VM_READ)


def _hook_failure(scenario: Scenario, page_size: int) -> str:
    """Return the error of the hook of mmap_stack.ko itself (docs/probe.md)."""
    plan = scenario.plan
    if plan.hook_error:
        return _name(plan.hook_error)
    if _hook_length(scenario, page_size) <= 0 or _leaves_pool(scenario, page_size):
        return "ENXIO"
    return _name(plan.hook_error_after)


def _leaves_pool(scenario: Scenario, page_size: int) -> bool:
    plan = scenario.plan
    if plan.action in _NO_ACTION:
        return False
    room = (POOL_PAGES - (plan.pool_page or 0)) * page_size
    area = plan.action is Action.SIMPLE_IOREMAP
    room -= (plan.pool_byte or 0) if area else 0
    if plan.action_size is not None:
        size = number(plan.action_size, page_size)
        return size > room and not (area and size >= _WRAPS)
    return not area and _hook_length(scenario, page_size) > room


def _action_failure(scenario: Scenario, page_size: int) -> str:
    """Return the error with which the core refuses the action before it maps anything (33)."""
    plan = acting(scenario)
    if plan.action is Action.UNKNOWN:
        return "EINVAL"  # 43
    if plan.action is Action.SIMPLE_IOREMAP:
        return _area_failure(scenario, page_size)
    extent = action_extent(scenario, page_size)
    if extent is None:
        return ""
    first = number(plan.shrink_start, page_size)
    size = extent.size
    if plan.action is Action.KERNEL_PAGES:
        size = -(-size // page_size) * page_size
    end = first + _hook_length(scenario, page_size)
    if extent.start < first or extent.start + size > end:
        return "EFAULT"  # 35, 41
    whole = (extent.start, extent.start + size) == (first, end)
    return "EINVAL" if plan.action in _REMAPS and is_cow(scenario) and not whole else ""  # 36


def _area_failure(scenario: Scenario, page_size: int) -> str:
    """Return the error of vm_iomap_memory()'s checks of an area (40)."""
    plan = scenario.plan
    byte = plan.pool_byte or 0
    room = (POOL_PAGES - (plan.pool_page or 0)) * page_size - byte
    size = room if plan.action_size is None else number(plan.action_size, page_size)
    if size >= _WRAPS:
        return "EINVAL"
    pages = -(-(size + byte) // page_size)
    wanted = _hook_length(scenario, page_size) // page_size
    return "EINVAL" if hook_pgoff(scenario) + wanted > pages else ""


def _late_failure(scenario: Scenario, path: HookPath) -> str:
    plan = scenario.plan
    if plan.bad_page is not None:
        return "EINVAL"  # mm/memory.c, validate_page_before_insert()
    has_mapped = path.shape.prepares and vm_ops(scenario) in HAVE_MAPPED
    return _name(plan.mapped_error) if has_mapped else ""  # 51


def _name(error: str | None) -> str:
    """Return EINVAL for -EINVAL or -22, 4095 for -4095, and an empty string for no error."""
    if not error or error == "0":
        return ""
    code = -number_of(error)
    return errno.errorcode.get(code, str(code))
