# SPDX-License-Identifier: GPL-2.0
"""The kernel's own files on which `testbed fuzz` runs programs, and the ways to them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from testbed.arch import ARCHES
from testbed.errors import SetupError
from testbed.fuzz import kernelfiles
from testbed.fuzz.kernelfile import KernelFile, Ways
from testbed.fuzz.kernelfiles import choose_files, kernel_files
from testbed.fuzz.program import Program
from testbed.fuzz.ways import way_script
from testbed.intree import intreefile
from testbed.intree.intreefile import INTREE_FILES
from testbed.lab.guest import Guest
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.path import HookPath
from testbed.mmap.scenario import Call


def _prepared(symbols: Collection[str], folder: Path) -> PreparedKernel:
    config = folder / ".config"
    config.write_text("".join(f"CONFIG_{symbol}=y\n" for symbol in symbols))
    kernel = SimpleNamespace(
        arch=ARCHES["x86_64"],
        config=config,
        symbol=lambda name: "y" if name in symbols else "n",
    )
    return cast(PreparedKernel, SimpleNamespace(kernel=kernel))


def test_a_kernel_offers_what_it_has(tmp_path: Path) -> None:
    few = {file.name for file in kernel_files(_prepared((), tmp_path))}
    assert {"ramfs", "zero-shared"} <= few
    assert not few & {"shm", "uio-remap", "overlay-tmpfs", "recipe:vgem", "ext4", "mem"}
    symbols = ("SYSVIPC", "UIO", "OVERLAY_FS", "EXT4_FS", "VIRTIO_BLK", "DEVMEM")
    more = {file.name for file in kernel_files(_prepared(symbols, tmp_path))}
    assert {"shm", "uio-remap", "overlay-tmpfs", "recipe:perf"} <= more
    assert not more & {"ext4", "mem"}


def test_files_are_chosen_by_name() -> None:
    files = [KernelFile(name, lambda guest: Ways(name="", opening={})) for name in ("a", "shm")]
    assert choose_files((), files) == files
    assert choose_files(("shm", "a"), files) == [files[1], files[0]]
    with pytest.raises(SetupError) as wrong:
        choose_files(("shn",), files)
    assert "shm" in str(wrong.value.hint)


def test_a_file_is_reached_directly_and_through_each_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intreefile, "set_up", lambda guest, file: None)
    (ramfs,) = (file for file in INTREE_FILES if file.name == "ramfs")
    ways = kernelfiles._enter_file(ramfs, cast(Guest, None))
    assert ways.reference == "direct"
    assert "open top /tmp/user/file rw create" in ways.opening["direct"]
    above = list(ways.opening["stack-first"])
    assert above[0] == "open low /tmp/user/file rw create"
    assert above[-2:] == ["open top /dev/mmap_stack_first rw", "lower top low"]
    three = kernelfiles._through(HookPath.THREE_LEVEL, ["open low F"], "ro")
    assert three == (
        *("open low F", "open over1 /dev/mmap_stack ro", "lower over1 low"),
        *("open top /dev/mmap_stack ro", "lower top over1"),
    )


def test_a_segment_is_as_long_as_the_programs_mapping() -> None:
    ways = kernelfiles._enter_shm(cast(Guest, None))
    for pages, length in ((6, "6p"), (1 << 35, "64p")):
        script = way_script(Program(call=Call(pages=pages, flags="private")), ways, "shm")
        assert f"shmget segment {length}" in script.lines
        assert "shmat m segment" in script.lines
        assert script.lines[-2:] == ["shmrm segment", "status"]


def test_the_name_of_uios_node_is_that_of_its_device() -> None:
    class Session:
        def check(self, argv: list[str]) -> Any:
            return SimpleNamespace(out="/sys/class/uio/uio3/name\n")

    guest = cast(Guest, SimpleNamespace(session=Session()))
    assert kernelfiles._uio_node(guest) == "/dev/uio3"
