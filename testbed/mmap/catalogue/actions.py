# SPDX-License-Identifier: GPL-2.0
"""The four actions: for the whole mapping, for a part, and refused."""

from __future__ import annotations

import dataclasses

from testbed.guest.splat_patterns import SplatKind
from testbed.mmap.catalogue.defects import NO_CLOSE
from testbed.mmap.path import PREPARING
from testbed.mmap.plan import VM_DONTCOPY, VM_MAYWRITE, Action, Plan, VmOps
from testbed.mmap.scenario import Call, Scenario

_REMAPS = (Action.REMAP, Action.IOREMAP)
_PLACED = (*_REMAPS, Action.KERNEL_PAGES)
_ALL = (*_PLACED, Action.SIMPLE_IOREMAP)

# The helper warns about a range outside the mapping (include/linux/mm.h).
_WARNS = (SplatKind.WARNING, "")


def _item(action: Action) -> int:
    return {
        Action.REMAP: 34,
        Action.IOREMAP: 39,
        Action.SIMPLE_IOREMAP: 40,
        Action.KERNEL_PAGES: 41,
    }[action]


def _whole() -> list[Scenario]:
    return [
        Scenario(
            name=f"{action}-{sharing}-{ops}".replace("_", "-"),
            guarantees=(_item(action), 34, 48, 69),
            plan=Plan(action=action, vm_ops=ops, pool_page=7, private=0x33),
            call=Call(flags=f"{sharing},{extra}" if extra else sharing, pages=3),
            after=("write m 1 0x77", "read m all", "fork", "read m all", "endfork", "maps m"),
        )
        for action in _ALL
        for sharing, ops, extra in (
            ("shared", VmOps.LEAVE, ""),
            ("private", VmOps.FULL, ""),
            ("shared", VmOps.NO_CLOSE, "locked"),
            ("private", VmOps.NO_MAPPED, "populate"),
        )
    ]


def _read_only() -> list[Scenario]:
    return [
        Scenario(
            name=f"{action}-read-only".replace("_", "-"),
            guarantees=(_item(action), 36),
            plan=Plan(
                action=action, vm_ops=VmOps.FULL, clear_flags=VM_MAYWRITE, set_flags=VM_DONTCOPY
            ),
            call=Call(prot="r", flags="private", offset=1),
            after=("write m 0 0x1", "mprotect m prot=rw"),
        )
        for action in _ALL
    ]


def _parts() -> list[Scenario]:
    ranges = {"head": ("0", "2p"), "middle": ("1p", "2p"), "tail": ("3p", "1p")}
    return [
        Scenario(
            name=f"{action}-{part}-{sharing}".replace("_", "-"),
            guarantees=(_item(action), 36, 37),
            plan=Plan(
                action=action,
                vm_ops=VmOps.FULL,
                action_offset=start,
                action_size=size,
                pool_page=11,
            ),
            call=Call(flags=sharing),
            after=("ptes m", "mprotect m 1-2 prot=r", "maps m"),
        )
        for action in _PLACED
        for part, (start, size) in ranges.items()
        for sharing in ("shared", "private")
    ]


def _out_of_range() -> list[Scenario]:
    cases = {
        "too-long": Plan(action_offset="0", action_size="5p"),
        "behind": Plan(action_offset="4p", action_size="1p"),
        "across": Plan(action_offset="3p", action_size="2p"),
        # Inside the VMA, but outside the range that the hook leaves in the descriptor.
        "before-the-shrunk-start": Plan(shrink_start="1p", action_offset="0", action_size="1p"),
    }
    return [
        Scenario(
            name=f"{action}-{wrong}".replace("_", "-"),
            guarantees=(21, 35, 41, 42, 54),
            plan=dataclasses.replace(plan, action=action, vm_ops=VmOps.FULL),
            splat=_WARNS if action in _REMAPS else None,
        )
        for action in _PLACED
        for wrong, plan in cases.items()
    ]


def _areas() -> list[Scenario]:
    cases = {
        "from-a-page": (Plan(pool_page=5, action_size="8p"), 0),
        "offset": (Plan(pool_page=5, action_size="8p"), 3),
        "fits-exactly": (Plan(action_size="6p"), 2),
        "a-page-too-short": (Plan(action_size="5p"), 2),
        "starts-behind": (Plan(action_size="4p"), 5),
        "at-the-end": (Plan(action_size="4p"), 4),
        "from-a-byte": (Plan(pool_page=2, pool_byte=0x100, action_size="4p"), 1),
        "byte-adds-a-page": (Plan(pool_page=2, pool_byte=0x100, action_size="4p"), 0),
        "odd-size": (Plan(action_size="3p"), 0),
        "pgoff-by-the-hook": (Plan(pool_page=3, pgoff=4), 1),
        "wraps-around": (Plan(pool_page=5, action_size="0xffffffffffff0000"), 0),
    }
    return [
        Scenario(
            name=f"simple-ioremap-{name}",
            guarantees=(40,),
            plan=dataclasses.replace(plan, action=Action.SIMPLE_IOREMAP, vm_ops=VmOps.FULL),
            call=Call(offset=offset),
        )
        for name, (plan, offset) in cases.items()
    ]


def _shrunk() -> list[Scenario]:
    return [
        Scenario(
            name=f"{action}-shrunk".replace("_", "-"),
            guarantees=(21, 37),
            plan=Plan(
                action=action, vm_ops=VmOps.FULL, shrink_start="1p", shrink_end="1p", pool_page=9
            ),
        )
        for action in _PLACED
    ]


SCENARIOS: tuple[Scenario, ...] = (
    *_whole(),
    *_read_only(),
    *_parts(),
    *_out_of_range(),
    *_areas(),
    Scenario(
        name="simple-ioremap-of-the-page-that-a-byte-lies-in",
        guarantees=(40,),
        plan=Plan(
            action=Action.SIMPLE_IOREMAP,
            vm_ops=VmOps.FULL,
            pool_page=2,
            pool_byte=0x100,
            action_size="0",
        ),
        call=Call(pages=1),
    ),
    *_shrunk(),
    *(
        Scenario(
            name=f"{action}-{when}-page-prot".replace("_", "-"),
            guarantees=(22, 38),
            plan=Plan(
                action=action,
                vm_ops=VmOps.FULL,
                page_prot="noncached",
                late_page_prot=1 if when == "late" else None,
            ),
            call=Call(pages=2),
        )
        for action in (*_REMAPS, Action.SIMPLE_IOREMAP)
        for when in ("early", "late")
    ),
    Scenario(
        name="remap-unaligned-shared",
        guarantees=(36,),
        plan=Plan(action=Action.REMAP, vm_ops=VmOps.FULL, action_size="0x800"),
        call=Call(pages=1),
    ),
    Scenario(
        name="remap-unaligned-private",
        guarantees=(36,),
        plan=Plan(action=Action.REMAP, vm_ops=VmOps.FULL, action_size="0x800"),
        call=Call(pages=1, flags="private"),
        only_paths=PREPARING,
    ),
    Scenario(
        name="kernel-pages-unaligned",
        guarantees=(41,),
        plan=Plan(action=Action.KERNEL_PAGES, vm_ops=VmOps.FULL, action_size="0x1800"),
    ),
    *(
        Scenario(
            name=f"kernel-pages-one-is-refused-{page}",
            guarantees=(28, 41, 54),
            plan=Plan(action=Action.KERNEL_PAGES, vm_ops=VmOps.NO_CLOSE, bad_page=page),
            call=Call(flags=sharing),
        )
        for page, sharing in ((1, "shared"), (3, "private"))
    ),
    Scenario(
        name="kernel-pages-one-is-refused-and-closed",
        guarantees=(28, 41, 51),
        plan=Plan(action=Action.KERNEL_PAGES, vm_ops=VmOps.FULL, bad_page=2),
        only_paths=PREPARING,
        defects=(NO_CLOSE,),
    ),
    Scenario(
        name="unknown-action",
        guarantees=(43,),
        plan=Plan(action=Action.UNKNOWN, vm_ops=VmOps.FULL),
        only_paths=PREPARING,
        splat=(SplatKind.WARNING, "mmap_action_prepare"),
    ),
)
