# SPDX-License-Identifier: GPL-2.0
"""FUSE passthrough: the files and depths that it refuses, and details of served files."""

from __future__ import annotations

import pytest

from testbed.guest.splat_patterns import SplatKind
from testbed.intree.stacks import FOLDER, FileStack, fuse, overlay, set_up
from testbed.lab.guest import Guest
from testbed.mmap.oracle import canonical_vma
from testbed.mmap.probe import Prober
from testbed.mmap.script import Script

pytestmark = pytest.mark.kconfig("FUSE_PASSTHROUGH")

DEBUGFS = FileStack(name="fuse-debugfs", layers=(fuse("one", "/sys/kernel/debug"),))


@pytest.mark.guarantee(2, 3)
def test_a_backing_file_without_a_hook_is_refused(guest: Guest, stack: Prober) -> None:
    """The proxy files of debugfs lack a hook, whatever file is behind them.

    do_mmap() checks only the hook of the FUSE file.
    """
    set_up(guest, DEBUGFS)
    script = Script()
    opened = script.open("f", f"{FOLDER}/one/sleep_time", "ro")
    made = script.map("m", "f", prot="r")
    seen = stack.run(script)
    assert (seen[opened].error, seen[made].error) == ("", "ENODEV")


@pytest.mark.guarantee(1, 3)
def test_a_backing_file_with_both_hooks_is_refused_with_one_warning(
    guest: Guest, stack: Prober
) -> None:
    set_up(guest, DEBUGFS)
    script = Script()
    script.open("f", f"{FOLDER}/one/mmap_both")
    first, second = script.map("m", "f"), script.map("m", "f")
    with guest.expect_splat(SplatKind.WARNING, r"backing_file_mmap|can_mmap_file", once=True):
        seen = stack.run(script)
    assert (seen[first].error, seen[second].error) == ("ENODEV", "ENODEV")


@pytest.mark.kconfig("OVERLAY_FS")
@pytest.mark.parametrize(("depth", "error"), [(1, "ELOOP"), (2, "")])
def test_a_stack_is_no_deeper_than_the_server_said(guest: Guest, depth: int, error: str) -> None:
    inner = overlay("one", "base/lower", "base/upper")
    served = FileStack(
        name="fuse-overlay", layers=(inner, fuse("two", "one", depth=depth)), home="base/upper"
    )
    set_up(guest, served)
    script = Script()
    opened = script.open("f", served.above)
    assert guest.prober.run(script)[opened].error == error


@pytest.mark.kconfig("OVERLAY_FS")
def test_nothing_is_stacked_on_a_stack_of_the_highest_depth(guest: Guest) -> None:
    """FILESYSTEM_MAX_STACK_DEPTH (include/linux/fs.h) is 2: a fourth level cannot be mounted."""
    inner = overlay("one", "base/lower", "base/upper")
    served = FileStack(
        name="fuse-overlay", layers=(inner, fuse("two", "one", depth=2)), home="base/upper"
    )
    set_up(guest, served)
    outer = overlay("three", "two", "base/upper-three")
    mounted = guest.session.run(["sh", "-ec", outer.up], cwd=FOLDER)
    assert mounted.status != 0
    assert "Invalid argument" in mounted.err


def test_each_open_file_has_a_mapping_of_its_own(guest: Guest) -> None:
    """Two backing files share one page cache."""
    served = FileStack(name="fuse-tmpfs", layers=(fuse("one", "base"),))
    set_up(guest, served)
    script = Script()
    for file, mapping in (("f", "m"), ("g", "n")):
        script.open(file, served.above)
        script.map(mapping, file)
        script.step("close", file)
    script.write("m", 0x88, "0")
    read = script.read("n", "0")
    script.step("munmap", "m")
    after = script.read("n", "0")
    seen = guest.prober.run(script)
    assert (seen[read].contents, seen[after].contents) == (["fill:0x88"], ["fill:0x88"])


@pytest.mark.kconfig("RELAY")
@pytest.mark.reaches("kernel/relay.c:relay_file_operations", by="fuse")
@pytest.mark.guarantee(23, 24)
def test_a_hooks_operations_and_private_data_arrive_through_passthrough(guest: Guest) -> None:
    """The hook of relay sets both, and its fault handler needs both (kernel/relay.c)."""
    guest.load("mmap_relay")
    folder = "/sys/kernel/debug/mmap_relay"
    set_up(guest, FileStack(name="fuse-relay", layers=(fuse("one", folder),)))
    script = Script()
    for name, path in (("f", f"{FOLDER}/one/buffer0"), ("g", f"{folder}/buffer0")):
        script.open(name, path, "ro")
    made = [script.map(name, file, prot="r") for name, file in (("m", "f"), ("n", "g"))]
    shown = [(script.maps(name), script.read(name)) for name in ("m", "n")]
    partial = script.map("p", "f", pages=2, prot="r")
    seen = guest.prober.run(script)
    assert [seen[step].errno for step in made] == [0, 0]
    (above, read), (below, read_below) = shown
    assert canonical_vma(seen[above].vma) == canonical_vma(seen[below].vma)
    assert seen[read].contents == seen[read_below].contents
    assert seen[read].contents == [f"fill:{0x72656C6179000000 + page:#x}" for page in range(4)]
    assert seen[partial].error == "EINVAL", "relay's hook requires a mapping of the whole buffer"
