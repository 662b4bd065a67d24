# SPDX-License-Identifier: GPL-2.0
"""Right drivers of many kinds, and a wrong twin of each (tests/vm/drivers/kinds), in checks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.check.checker import Checker
from testbed.check.checkplan import CheckPlan, load_check_plan
from testbed.check.result import Checked
from testbed.check.script import BaseMapping
from testbed.check.trials import trials_on
from testbed.kernel.driver import find_driver
from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.path import MMAP_STACKS, HookPath
from testbed.settings import CHECKOUT

DRIVER = CHECKOUT / "tests/vm/drivers/kinds"

ALL_PATHS = (HookPath.DIRECT, *MMAP_STACKS)

USERS = "/sys/module/kinds/parameters/users"


@dataclass(frozen=True)
class Kind:
    """A value of the parameter `kind`, and what a check finds in its wrong twin."""

    name: str
    wrong: str = ""  # part of a complaint
    trial: str = ""  # the trial that finds it
    node: str = "/dev/kinds"
    plan: str = ""  # more keys
    sharing: str = "shared"


_SYSFS = "/sys/kernel/kinds/table"
_IOCTL = 'steps = [{ioctl = 0x40086b01, bytes = "0800000000000000"}]'
_TOKEN = 'steps = [{ioctl = 0xc0106b02, bytes = "00", mmap_offset = {byte = 8, bits = 64}}]'
_BESIDE = "in one of two adjacent mappings"
_DIFFERENT = "identical mmap calls gave different results"

KINDS = (
    Kind("plain"),
    Kind("dontcopy", f"{USERS} is -", "munmap-part"),
    Kind("pfn", "cannot be unloaded", "exit"),
    Kind("exact", "oops", "grow"),
    Kind("one", _DIFFERENT, "again"),
    Kind("once", _DIFFERENT, "again"),
    Kind("exclusive", _DIFFERENT, "again"),
    Kind("read_only", "VM_MAYWRITE is set", "write-later"),
    Kind("sysfs", "cannot be unloaded", "exit", node=_SYSFS, sharing="private"),
    Kind("volatile", "after munmap in a child", "fork"),
    Kind("header", "after munmap in a child", "fork", plan="volatile = [0]"),
    Kind("exec_only", "the access of a VMA is r-xs, not --xs", "sizes"),
    Kind("write_only", "a child's write does not show", "fork-write"),
    Kind("clears", "the access of a VMA is rw-s, not r--s", "prot-r"),
    Kind("pins", "reference", "exit"),  # stays behind, or is counted in the shared guest
    Kind("no_node", "oops", "unload"),
    Kind("late", f"{USERS} is ", "exit"),
    Kind("ioctl", _DIFFERENT, "again", plan=_IOCTL),
    Kind("write", _DIFFERENT, "again", plan='steps = [{write = "start"}]'),
    Kind("token", _BESIDE, "adjacent", plan=_TOKEN),
    Kind("index", _BESIDE, "adjacent"),
    Kind("buffer", "use-after-free", "fork"),
    Kind("stiff", f"{USERS} is ", "exit"),
    Kind("shifted", "after the head was unmapped", "cut-first"),
    Kind("stuck", "after calls that failed, the right one fails", "refused"),
)


def check_kind(
    kind: Kind,
    lab: Lab,
    prepared: PreparedKernel,
    *,
    wrong: bool = False,
    paths: Sequence[HookPath] = ALL_PATHS,
    trials: Sequence[str] = (),
    sharing: str = "",
    modules: Sequence[str] = ("kinds",),
) -> Checked:
    """Check one sharing of a kind, or of its wrong twin.

    Args:
        trials: the only ones that run; empty: all.
        sharing: the default is the one that every right driver of the kind permits.
        modules: those that are loaded, in order.
    """
    sharing = sharing or kind.sharing
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan.toml"
        file.write_text(
            "\n".join([f"modules = {[*modules]}", *_plan(kind, wrong, paths, trials, sharing)])
        )
        plan = load_check_plan(file)
    driver = find_driver(DRIVER, prepared.kernel, prepared.request, lab.ctx)
    return Checker(lab, prepared.arch.name, driver, kind.name, kind.node, plan).run()


def _plan(
    kind: Kind, wrong: bool, paths: Sequence[HookPath], trials: Sequence[str], sharing: str
) -> Iterator[str]:
    yield f'parameters = "kind={kind.name} wrong={int(wrong)}"'
    yield f"paths = {[str(path) for path in paths]}"
    yield f'counters = ["{USERS}"]'
    yield kind.plan
    yield f'sharing = ["{sharing}"]'
    if trials:
        names = [each.name for each in trials_on(BaseMapping(sharing, 8, 0, "rw"), CheckPlan())]
        wanted = {f"{trial}-{sharing}" for trial in trials}
        yield f"skip = {[*(name for name in names if name not in wanted), 'fail-*']}"


def complaints(found: Checked) -> list[str]:
    return [
        f"{each.trial} on {each.path}: {complaint}"
        for each in found.failed
        for complaint in each.complaints
    ]
