# SPDX-License-Identifier: GPL-2.0
"""The hook log's file: a ring of records, of which each reader sees one moment."""

from __future__ import annotations

from testbed.lab.guest import Guest
from testbed.mmap.path import MODULE
from testbed.mmap.probe import Prober
from testbed.mmap.script import Script

LOG = "/sys/kernel/debug/mmap_testbed/log"
RECORDS = 1024  # modules/common/hook_log.c


def _mappings(count: int) -> Script:
    """Return a script that maps a file often. Each mapping and unmapping writes records."""
    script = Script()
    script.open("f", "/dev/mmap_direct")
    for _ in range(count):
        script.map("m", "f", pages=1)
        script.step("munmap", "m")
    return script


def test_a_full_ring_keeps_the_newest_records_and_counts_the_others(stack: Prober) -> None:
    script = _mappings(700)
    shown = script.hooklog()
    script.step("clearlog")
    cleared = script.hooklog()
    seen = stack.run(script)
    lines, lost = seen[shown].values["lines"], seen[shown].values["lost"]
    numbers = [int(line.split()[0]) for line in lines]
    assert len(numbers) == RECORDS
    assert numbers == list(range(numbers[0], numbers[0] + RECORDS))
    assert lost == numbers[0] - 1 > 0
    assert (seen[cleared].values["lines"], seen[cleared].values["lost"]) == ([], 0)


def test_a_reader_sees_the_log_of_the_moment_of_its_open(guest: Guest) -> None:
    guest.load(MODULE)
    guest.prober.run(_mappings(3))
    before = guest.session.get(LOG).decode()
    script = (
        f"exec 4<{LOG}; dd bs=10 count=1 <&4 2>/dev/null; echo >{LOG}; cat <&4; echo end; cat {LOG}"
    )
    assert guest.session.check(["sh", "-c", script]).out == f"{before}end\n"
    assert before.count("\n") >= 3


def test_a_program_that_may_only_write_clears_the_log(guest: Guest) -> None:
    guest.load(MODULE)
    guest.prober.run(_mappings(1))
    assert guest.session.get(LOG)
    guest.session.write((LOG, b"1"))
    assert guest.session.get(LOG) == b""
    refused = guest.session.run(["sh", "-c", f"cat <&4 4>{LOG}"])
    assert "Bad file descriptor" in refused.err
