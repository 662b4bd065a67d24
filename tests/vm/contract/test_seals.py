# SPDX-License-Identifier: GPL-2.0
"""Seals of a memfd: mapped directly, and as the lower file of a stack (guarantee 7)."""

from __future__ import annotations

import pytest

from testbed.intree.stacks import FOLDER, FileStack, Layer, coda, fuse, set_up
from testbed.lab.guest import Guest
from testbed.mmap.path import SWITCHING, HookPath
from testbed.mmap.probe import Prober
from testbed.mmap.script import Script

SEALS = ("write", "future_write")

KD32 = pytest.mark.defect(
    "KD32",
    symptom=r"a sealed memfd is mapped, and reads \['fill:0x88'\] after a write",
    recorded=("7.2", "7.3.4"),
)


def _sealed(seal: str) -> Script:
    """Return a script with a sealed memfd `sealed` of one page."""
    script = Script()
    script.step("memfd", "sealed", "1p")
    script.step("pwrite", "sealed", off=0, len="1p", value="0x77")
    script.step("seal", "sealed", seal)
    return script


def _check_refusal(prober: Prober, script: Script) -> None:
    """Check that a shared writable mapping of `f` is refused, and that the memfd is unchanged."""
    made = script.map("m", "f", pages=1)
    script.write("m", 0x88)
    read = script.step("pread", "sealed", off=0, len="1p")
    seen = prober.run(script)
    outcome = f"a sealed memfd is mapped, and reads {seen[read].contents} after a write"
    assert seen[made].error == "EPERM", outcome
    assert seen[read].contents == ["fill:0x77"]


@pytest.mark.parametrize("seal", SEALS)
@pytest.mark.guarantee(7)
def test_a_sealed_memfd_is_not_mapped_for_writing(guest: Guest, seal: str) -> None:
    script = _sealed(seal)
    made = script.map("m", "sealed", pages=1)
    readable = script.map("n", "sealed", pages=1, prot="r")
    protect, read = script.step("mprotect", "n", prot="rw"), script.read("n")
    seen = guest.prober.run(script)
    assert [seen[step].error for step in (made, readable, protect)] == ["EPERM", "", "EACCES"]
    assert seen[read].contents == ["fill:0x77"]


@pytest.mark.guarantee(27, 28)
@pytest.mark.parametrize("error", ["", "ENOMEM"], ids=["unmapped", "failed"])
def test_what_is_not_mapped_any_more_can_be_sealed(guest: Guest, error: str) -> None:
    """During mmap() the file counts as mapped for writing (i_mmap_writable)."""
    script = Script()
    script.step("memfd", "f", "4p")
    if error:
        script.step("rlimit", "as", "0")
    made = script.map("m", "f")
    if not error:
        script.step("munmap", "m")
    sealed = script.step("seal", "f", "write")
    seen = guest.prober.run(script)
    assert (seen[made].error, seen[sealed].error) == (error, "")


@KD32
@pytest.mark.parametrize("seal", SEALS)
@pytest.mark.paths(*SWITCHING)
def test_a_sealed_memfd_below_a_stack_is_not_written(
    stack: Prober, path: HookPath, seal: str
) -> None:
    """do_mmap() checks the seals of the outer file; the memfd's hook does not check its own."""
    script = _sealed(seal)
    script.open("f", f"/dev/{path.shape.nodes[0]}")
    script.step("lower", "f", "sealed")
    _check_refusal(stack, script)


@KD32
@pytest.mark.parametrize("seal", SEALS)
@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(fuse("one", "base"), marks=pytest.mark.kconfig("FUSE_PASSTHROUGH")),
        pytest.param(coda("one", "base"), marks=pytest.mark.kconfig("CODA_FS")),
    ],
    ids=["fuse", "coda"],
)
def test_a_sealed_memfd_below_a_stack_of_the_kernel_is_not_written(
    guest: Guest, layer: Layer, seal: str
) -> None:
    set_up(guest, FileStack(name="sealed", layers=(layer,)))
    script = _sealed(seal)
    script.step("publish", "sealed", f"{FOLDER}/base/memfd")
    script.open("f", f"{FOLDER}/one/memfd")
    script.step("pread", "f", off=0, len="1p")  # KD33: mmap() must not call Coda's server
    _check_refusal(guest.prober, script)
