# SPDX-License-Identifier: GPL-2.0
"""The paths by which an mmap reaches a hook, as nodes of mmap_stack.ko."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from testbed.mmap.plan import NOTHING, Plan
from testbed.mmap.script import Script

MODULE = "mmap_stack"
RING_MODULE = "mmap_ring"

# A script's names for the mapped file and for the file whose hook runs.
TOP = "top"
HOOK = "hook"


class HookPath(StrEnum):
    """The stack through which an mmap reaches the hook. The value is the test id."""

    DIRECT = "direct"
    STACK = "stack"
    STACK_FIRST = "stack-first"
    STACK_AFTER = "stack-after"
    CUSTOM = "custom"
    THREE_LEVEL = "three-level"
    LEGACY = "legacy"
    PREPARE_STACK = "prepare-stack"
    PREPARE_FIRST = "prepare-first"

    @property
    def shape(self) -> PathShape:
        return SHAPES[self]


@dataclass(frozen=True, kw_only=True)
class PathShape:
    """The nodes of a path, and how userspace and the hook see them."""

    nodes: tuple[str, ...]  # from the mapped file down to the file whose hook runs
    entry_vm_file: str  # the node in desc->vm_file on entry to the hook
    final_vm_file: str  # the node in vm_file of the final VMA, as maps shows it
    compat: bool  # the compatibility layer runs the hook
    prepares: bool = True  # the hook is mmap_prepare, not mmap
    outer_prepares: bool = False  # the hook above it is mmap_prepare, too

    @property
    def by_core(self) -> bool:
        """Whether the core itself calls mmap_prepare, and does what it asks for."""
        return self.prepares and not self.compat


SHAPES = {
    HookPath.DIRECT: PathShape(
        nodes=("mmap_direct",),
        entry_vm_file="mmap_direct",
        final_vm_file="mmap_direct",
        compat=False,
    ),
    HookPath.STACK: PathShape(
        nodes=("mmap_stack", "mmap_direct"),
        entry_vm_file="mmap_stack",
        final_vm_file="mmap_stack",
        compat=True,
    ),
    HookPath.STACK_FIRST: PathShape(
        nodes=("mmap_stack_first", "mmap_direct"),
        entry_vm_file="mmap_direct",
        final_vm_file="mmap_direct",
        compat=True,
    ),
    HookPath.STACK_AFTER: PathShape(
        nodes=("mmap_stack_after", "mmap_direct"),
        entry_vm_file="mmap_stack_after",
        final_vm_file="mmap_direct",
        compat=True,
    ),
    HookPath.CUSTOM: PathShape(
        nodes=("mmap_custom",),
        entry_vm_file="mmap_custom",
        final_vm_file="mmap_custom",
        compat=True,
    ),
    HookPath.THREE_LEVEL: PathShape(
        nodes=("mmap_stack", "mmap_stack", "mmap_direct"),
        entry_vm_file="mmap_stack",
        final_vm_file="mmap_stack",
        compat=True,
    ),
    HookPath.LEGACY: PathShape(
        nodes=("mmap_legacy",),
        entry_vm_file="mmap_legacy",
        final_vm_file="mmap_legacy",
        compat=False,
        prepares=False,
    ),
    HookPath.PREPARE_STACK: PathShape(
        nodes=("mmap_prepare_stack", "mmap_direct"),
        entry_vm_file="mmap_prepare_stack",
        final_vm_file="mmap_prepare_stack",
        compat=False,
        outer_prepares=True,
    ),
    HookPath.PREPARE_FIRST: PathShape(
        nodes=("mmap_prepare_first", "mmap_direct"),
        entry_vm_file="mmap_direct",
        final_vm_file="mmap_direct",
        compat=False,
        outer_prepares=True,
    ),
}

PREPARING = tuple(path for path in HookPath if path.shape.prepares)
STACKS = tuple(path for path in HookPath if len(path.shape.nodes) > 1)

# Stacks by their outer hook. Only a file with mmap_prepare can be below mmap_prepare.
MMAP_STACKS = tuple(path for path in STACKS if not path.shape.outer_prepares)
PREPARE_STACKS = tuple(path for path in STACKS if path.shape.outer_prepares)

# Paths on which the core itself calls mmap_prepare, the layer none.
BY_CORE = tuple(path for path in HookPath if path.shape.by_core)

# Paths that switch the file: the final VMA does not carry the file that was passed to mmap(2).
SWITCHING = tuple(path for path in HookPath if path.shape.final_vm_file != path.shape.nodes[0])
KEEPING = tuple(path for path in HookPath if path not in SWITCHING)


def open_path(
    script: Script, path: HookPath, plan: Plan, *, outer: Plan = NOTHING, replacement: str = ""
) -> None:
    """Open the files of a path: TOP is the file to map, `hook_name(path)` the file with `plan`.

    Args:
        outer: the plan of the outermost stack node. Only a stack has one.
        replacement: an open file that a plan with `replace=file` stores in vm_file.
    """
    nodes = path.shape.nodes
    names = [HOOK, *(f"level{n}" for n in range(1, len(nodes) - 1)), TOP]
    lower = ""
    for name, node in zip(names if len(nodes) > 1 else [TOP], reversed(nodes), strict=True):
        script.open(name, f"/dev/{node}")
        if lower:
            script.step("lower", name, lower)
        elif replacement:
            script.step("replacement", name, replacement)
        lower = name
    script.plan(hook_name(path), plan)
    if outer is not NOTHING:
        script.plan(TOP, outer)


def stack_over(script: Script, path: HookPath, lower: str, mode: str = "rw") -> str:
    """Open the nodes of a path above an open file. Return the script's name of the file to map.

    On the direct path this is the open file itself.
    """
    for level, node in enumerate(reversed(path.shape.nodes[:-1]), 1):
        name = f"over{level}"
        script.open(name, f"/dev/{node}", mode)
        script.step("lower", name, lower)
        lower = name
    return lower


def hook_name(path: HookPath) -> str:
    """Return the script's name of the file whose hook runs: TOP if nothing is stacked."""
    return HOOK if len(path.shape.nodes) > 1 else TOP
