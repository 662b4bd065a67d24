# SPDX-License-Identifier: GPL-2.0
"""Memory of memfd_secret(2): who sees it, and who pays for it (mm/secretmem.c)."""

from __future__ import annotations

import pytest

from testbed.lab.guest import Guest
from testbed.mmap.script import Script

pytestmark = [
    pytest.mark.kconfig("SECRETMEM"),
    pytest.mark.reaches("mm/secretmem.c:secretmem_fops"),
]


def _secret(pages: int = 4) -> Script:
    """Return a script with a secret file, mapped and written."""
    script = Script()
    script.step("secretmem", "f", f"{pages}p")
    script.map("m", "f", pages=pages)
    return script


def test_only_those_who_map_it_see_it(guest: Guest) -> None:
    script = _secret()
    script.write("m", 0x5E)
    peek, poke = (
        script.step("peek", "m", "all", by="mem"),
        script.step("poke", "m", "0", "0x1", by="mem"),
    )
    file = script.step("pread", "f", off=0, len="1p")
    with script.fork():
        script.write("m", 0x5F, "1")
    read = script.read("m")
    seen = guest.prober.run(script)
    assert seen[peek].results == ["EIO"] * 4
    assert seen[poke].results == ["EIO"]
    assert seen[file].error == "ESPIPE"
    assert seen[read].contents == ["fill:0x5e", "fill:0x5f", "fill:0x5e", "fill:0x5e"]


def test_it_cannot_be_unlocked(guest: Guest) -> None:
    script = Script()
    script.step("secretmem", "f", "4p")
    script.map("m", "f", flags="shared,locked")
    script.step("munlock", "m")
    maps = script.maps("m")
    seen = guest.prober.run(script)
    assert "lo" in seen[maps].vma.vmflags


def test_it_cannot_be_executed(guest: Guest) -> None:
    script = _secret()
    made = script.map("n", "f", prot="rx")
    later = script.step("mprotect", "m", prot="rx")
    seen = guest.prober.run(script)
    assert (seen[made].error, seen[later].error) == ("EPERM", "EACCES")


def test_it_gets_its_size_once_and_ends_there(guest: Guest) -> None:
    script = _secret(6)
    script.step("secretmem", "g", "4p")
    script.map("n", "g", pages=6)
    grown, shrunk = (script.step("ftruncate", "g", size) for size in ("8p", "1p"))
    write = script.write("n", 0x61)
    seen = guest.prober.run(script)
    assert (seen[grown].error, seen[shrunk].error) == ("EINVAL", "EINVAL")
    assert seen[write].results == ["ok"] * 4 + ["SIGBUS"] * 2


def test_its_pages_count_as_locked_until_the_file_is_gone(guest: Guest) -> None:
    """Each page counts once, in all processes of the user, whatever the capabilities."""
    script = Script()
    script.step("rlimit", "memlock", "2p")
    writes = []
    for _ in range(2):
        script.step("secretmem", "f", "4p")
        script.map("m", "f")
        script.map("n", "f")
        writes.append((script.write("m", 0x71), script.read("n", "0-1")))
        script.step("munmap", "m")
        script.step("munmap", "n")
        script.step("close", "f")
    seen = guest.prober.run(script)
    for write, read in writes:
        assert seen[write].results == ["ok", "ok", "SIGBUS", "SIGBUS"]
        assert seen[read].contents == ["fill:0x71"] * 2
