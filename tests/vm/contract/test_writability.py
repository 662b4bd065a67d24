# SPDX-License-Identifier: GPL-2.0
"""A hook that permits writing where mmap() did not."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from testbed.guest.splat_patterns import SplatKind
from testbed.kernel.request import Kernel
from testbed.lab.guest import Guest
from testbed.mmap.path import HOOK, TOP, HookPath, hook_name
from testbed.mmap.plan import VM_MAYWRITE, Plan, VmOps
from testbed.mmap.probe import Prober, path_script
from testbed.mmap.script import Script


@pytest.mark.guarantee(20)
def test_only_a_debugging_kernel_minds_a_hook_that_permits_writing(
    guest: Guest, stack: Prober, kernel: Kernel, path: HookPath
) -> None:
    """mm/vma.c, __mmap_new_file_vma() warns only after .mmap, so not without one."""
    script = _read_only(path, Plan(vm_ops=VmOps.FULL, set_flags=VM_MAYWRITE))
    made = script.map("m", TOP, prot="r")
    maps = script.maps("m")
    warned = kernel.symbol("DEBUG_VM") != "n" and not path.shape.by_core
    splat = guest.expect_splat(SplatKind.WARNING, r"__mmap_(new_vma|region|new_file_vma)")
    with splat if warned else nullcontext():
        seen = stack.run(script)
    assert seen[made].error == ""
    assert {"mw"} == {"mw", "wr", "sh"} & seen[maps].vma.vmflags


def test_a_file_that_is_open_for_reading_is_never_written(stack: Prober, path: HookPath) -> None:
    script = _read_only(path, Plan(vm_ops=VmOps.FULL))
    script.map("m", TOP, prot="r")
    maps = script.maps("m")
    assert not {"mw", "wr", "sh"} & stack.run(script)[maps].vma.vmflags


def _read_only(path: HookPath, plan: Plan) -> Script:
    """Return a script with the files of a path open, the outermost one only for reading."""
    script = path_script(path, plan)
    nodes = path.shape.nodes
    script.open(TOP, f"/dev/{nodes[0]}", "ro")
    if len(nodes) > 1:
        script.step("lower", TOP, "level1" if len(nodes) > 2 else HOOK)
    else:
        script.plan(hook_name(path), plan)
    return script
