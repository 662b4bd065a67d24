# SPDX-License-Identifier: GPL-2.0
"""What the kernel's own stacks add to the hook of the file below: checks and times."""

from __future__ import annotations

import pytest

from testbed.intree.stacks import FileStack, overlay, set_up
from testbed.lab.guest import Guest
from testbed.mmap.script import Script
from testbed.suite.intreecases import file_stacks

# The lower file is not copied up, since nobody opens it for writing.
LOWER = FileStack(
    name="overlay-lower", layers=(overlay("one", "base/lower", "base/upper"),), home="base/lower"
)

# Longer than the steps of the clock that file times are taken from.
_TICK = 30  # ms

# FS_IOC_SETFLAGS, and FS_APPEND_FL beside the flag of a file with extents, which ext4 has anyway
# (include/uapi/linux/fs.h).
SETFLAGS, APPEND_ONLY, PLAIN = "0x40086602", "20000800", "00000800"


# Who may map an append-only file: the mode of open(2) before it became one, and the mapping.
_CALLS = (
    ("rw", "shared", "rw", "EACCES"),
    ("rw", "shared", "r", "EACCES"),
    ("rw", "private", "rw", ""),
    ("rw", "private", "r", ""),
    ("ro", "shared", "r", ""),
    ("ro", "private", "rw", ""),
    ("ro", "private", "r", ""),
)


_BACKING_NOT_READ = pytest.mark.defect(
    "R17",
    symptom="another answer: rw, shared",
    recorded=("7.2.12", "7.2.12"),
    fixed="7.3.4",
)


@file_stacks("overlay-ext4", "fuse-ext4")
@pytest.mark.parametrize("place", [pytest.param("above", marks=_BACKING_NOT_READ), "below"])
@pytest.mark.guarantee(3)
def test_an_append_only_file_is_mapped_only_for_reading(
    guest: Guest, served: FileStack, place: str
) -> None:
    """Above, only the backing file has the flag by then (fs/backing-file.c)."""
    set_up(guest, served)
    script = Script()
    path = served.above if place == "above" else served.below
    for mode in ("rw", "ro"):
        script.open(mode, path, mode)
        script.step("pread", mode, off=0, len="1p")
    script.open("direct", served.below)
    marked = script.step("ioctl", "direct", SETFLAGS, bytes=APPEND_ONLY)
    made = [script.map("m", mode, flags=flags, prot=prot) for mode, flags, prot, _ in _CALLS]
    script.step("ioctl", "direct", SETFLAGS, bytes=PLAIN)
    again = script.map("m", "rw")
    seen = guest.prober.run(script)
    assert seen[marked].error == ""
    for call, step in zip(_CALLS, made, strict=True):
        assert seen[step].error == call[3], f"another answer: {', '.join(call[:3])}"
    assert seen[again].error == ""


@file_stacks("overlay-tmpfs", "overlay-ext4", "fuse-tmpfs", "fuse-ext4", "coda-ext4")
@pytest.mark.parametrize("flags", ["shared", "private"])
def test_a_mapping_is_an_access_to_the_file_below(
    guest: Guest, served: FileStack, flags: str
) -> None:
    set_up(guest, served)
    script = Script()
    script.open("above", served.above)
    script.step("pread", "above", off=0, len="1p")
    script.open("below", served.below)
    script.map("first", "above", pages=1, prot="r", flags="private")
    # An overlay has an access time of its own, and looks whether the file changed since then.
    script.step("pause", str(_TICK))
    script.step("old", "below")
    before = script.step("stat", "below")
    made = script.map("m", "above", flags=flags)
    after, shown = script.step("stat", "below"), script.step("stat", "above")
    seen = guest.prober.run(script)
    assert seen[made].error == ""
    assert not seen[before].values["accessed"]
    assert seen[after].values["accessed"]
    assert not seen[after].values["changed"]
    if not served.name.startswith("coda"):  # Coda shows what its server last said
        assert seen[shown].values["accessed"]


@file_stacks("overlay-tmpfs", "overlay-ext4", "fuse-tmpfs", "fuse-ext4")
def test_whoever_opens_without_access_times_leaves_them(guest: Guest, served: FileStack) -> None:
    set_up(guest, served)
    script = Script()
    script.open("above", served.above, "rw", "noatime")
    script.open("below", served.below)
    script.step("old", "below")
    made = script.map("m", "above", flags="private")
    after = script.step("stat", "below")
    seen = guest.prober.run(script)
    assert seen[made].error == ""
    assert not seen[after].values["accessed"]


@pytest.mark.kconfig("OVERLAY_FS")
def test_an_overlay_leaves_the_times_of_a_lower_file(guest: Guest) -> None:
    """The lower folder may be shared or read-only: overlayfs opens its files with O_NOATIME."""
    set_up(guest, LOWER)
    script = Script()
    script.open("below", LOWER.below)
    script.step("old", "below")
    script.open("above", LOWER.above, "ro")
    made = script.map("m", "above", prot="r")
    script.read("m")
    after = script.step("stat", "below")
    seen = guest.prober.run(script)
    assert seen[made].error == ""
    assert not seen[after].values["accessed"]
