# SPDX-License-Identifier: GPL-2.0
"""Hooks, actions and mapped() that fail, in free space and over another mapping."""

from __future__ import annotations

import dataclasses

from testbed.guest.splat_patterns import SplatKind
from testbed.mmap.catalogue.defects import (
    KEPT_CHARGE,
    KEPT_CHARGE_OF_ACTION,
    KEPT_CHARGE_OF_MAPPED,
    NO_CLOSE,
)
from testbed.mmap.path import PREPARING, HookPath
from testbed.mmap.plan import Action, Plan, VmOps
from testbed.mmap.scenario import Call, OpenDefect, Scenario

_ERRORS = ("EPERM", "EIO", "EAGAIN", "ENOMEM", "EACCES", "EBUSY", "EINVAL", "ENOSPC", "ENOSYS")


def _hook_errors() -> list[Scenario]:
    return [
        Scenario(
            name=f"hook-fails-{error}",
            guarantees=(28, 54, 58),
            plan=Plan(hook_error=f"-{error}"),
            call=Call(flags="private" if index % 2 else "shared"),
        )
        for index, error in enumerate(_ERRORS)
    ]


def _late_hook_errors() -> list[Scenario]:
    return [
        Scenario(
            name=f"hook-fails-after-{action}-{sharing}".replace("_", "-"),
            guarantees=(28, 54),
            plan=Plan(vm_ops=VmOps.FULL, private=0x9, action=action, hook_error_after="-ENODATA"),
            call=Call(flags=sharing),
        )
        for action in (Action.NONE, Action.REMAP, Action.KERNEL_PAGES)
        for sharing in ("shared", "private")
    ]


def _mapped_errors() -> list[Scenario]:
    return [
        Scenario(
            name=f"mapped-fails-{action}-{sharing}-{ops}".replace("_", "-"),
            guarantees=(28, 48, 51, 54, 58),
            plan=Plan(vm_ops=ops, action=action, private=0x5, mapped_error="-EBUSY"),
            call=Call(flags=sharing),
            defects=(NO_CLOSE,) if ops is VmOps.FULL else (),
        )
        for action in (Action.NONE, Action.REMAP, Action.SIMPLE_IOREMAP, Action.KERNEL_PAGES)
        for sharing, ops in (("shared", VmOps.NO_CLOSE), ("private,locked", VmOps.FULL))
    ]


def _overrides() -> list[Scenario]:
    causes = {
        "nothing": Plan(vm_ops=VmOps.FULL),
        "hook": Plan(hook_error="-EPERM"),
        "late-hook": Plan(vm_ops=VmOps.FULL, hook_error_after="-EPERM"),
        "mapped": Plan(vm_ops=VmOps.NO_CLOSE, mapped_error="-EBUSY"),
        "range": Plan(
            vm_ops=VmOps.FULL,
            action=Action.KERNEL_PAGES,
            action_offset="3p",
            action_size="2p",
        ),
        "page": Plan(vm_ops=VmOps.NO_CLOSE, action=Action.KERNEL_PAGES, bad_page=2),
    }
    return [
        Scenario(
            name=f"override-of-{cause}",
            guarantees=(33, 44),
            plan=dataclasses.replace(plan, error_override="-EAGAIN"),
        )
        for cause, plan in causes.items()
    ]


def _over_neighbours() -> list[Scenario]:
    """A fixed mapping in the middle of another one. If it fails, the middle is gone."""
    plans = {
        "works": Plan(vm_ops=VmOps.FULL),
        "remaps": Plan(vm_ops=VmOps.FULL, action=Action.REMAP),
        "inserts": Plan(vm_ops=VmOps.FULL, action=Action.KERNEL_PAGES),
        "hook-fails": Plan(hook_error="-EIO"),
        "action-fails": Plan(
            action=Action.KERNEL_PAGES, action_offset="1p", action_size="3p", vm_ops=VmOps.FULL
        ),
        "page-fails": Plan(action=Action.KERNEL_PAGES, vm_ops=VmOps.NO_CLOSE, bad_page=1),
        "mapped-fails": Plan(vm_ops=VmOps.NO_CLOSE, mapped_error="-EBUSY"),
    }
    return [
        Scenario(
            name=f"over-{old}-{name}-{sharing}",
            guarantees=(50, 55, 56, 57),
            plan=plan,
            before=(_OLD[old], "write old all 0x11"),
            call=Call(pages=3, flags=f"{sharing},fixed", addr="old+2p"),
            after=("maps old", "read old all", "status", "meminfo"),
            defects=_charges(name) if (old, sharing) == ("private", "private") else (),
        )
        for old in _OLD
        for name, plan in plans.items()
        for sharing in ("shared", "private")
        if old == "private" or sharing == "private"
    ]


def _charges(name: str) -> tuple[OpenDefect, ...]:
    """Return the defects of a charged mapping over another charged mapping."""
    if not name.endswith("fails"):
        return ()
    late = {"mapped-fails": KEPT_CHARGE_OF_MAPPED, "page-fails": KEPT_CHARGE_OF_ACTION}
    return (late.get(name, KEPT_CHARGE),)


_OLD = {
    "private": "map old anon len=8p flags=private",
    "shared": "map old anon len=8p flags=shared",
}

SCENARIOS: tuple[Scenario, ...] = (
    *_hook_errors(),
    *_late_hook_errors(),
    *_mapped_errors(),
    *_overrides(),
    *_over_neighbours(),
    Scenario(
        name="mapped-fails-after-it-has-stored",
        guarantees=(49, 51),
        plan=Plan(vm_ops=VmOps.FULL, private=0x1, mapped_private=0x2, mapped_error="-EBUSY"),
        defects=(NO_CLOSE,),
    ),
    Scenario(
        name="override-is-no-errno",
        guarantees=(44,),
        plan=Plan(vm_ops=VmOps.FULL, error_override="5"),
        only_paths=PREPARING,
        splat=(SplatKind.WARNING, "mmap_action_prepare|check_mmap_action"),
    ),
    Scenario(
        name="hide-from-rmap",
        guarantees=(45,),
        plan=Plan(vm_ops=VmOps.FULL, hide=1),
        # On the custom path mmap never returns: KD5, tests/vm/contract/test_defects.py.
        only_paths=tuple(path for path in PREPARING if path is not HookPath.CUSTOM),
    ),
    Scenario(
        name="hide-from-rmap-and-mapped-fails",
        guarantees=(45, 51),
        plan=Plan(vm_ops=VmOps.NO_CLOSE, hide=1, mapped_error="-EBUSY"),
        only_paths=tuple(path for path in PREPARING if path is not HookPath.CUSTOM),
    ),
)
