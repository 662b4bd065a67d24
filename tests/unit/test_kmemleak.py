# SPDX-License-Identifier: GPL-2.0
"""Parsing of kmemleak's report into objects with their owners."""

from __future__ import annotations

from testbed.guest.kmemleak import parse_leaks

# mm/kmemleak.c, print_unreferenced()
REPORT = """\
unreferenced object 0xffff888003f1a200 (size 192):
  comm "probe", pid 151, jiffies 4294902111
  hex dump (first 32 bytes):
    00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00  ................
  backtrace (crc 4f1d2a33):
    kmem_cache_alloc_noprof+0x1c5/0x2d0
    alloc_empty_file+0x51/0x180
unreferenced object (percpu) 0x607fda4c2040 (size 64):
  comm "kworker/0:1", pid 9, jiffies 4294900000
  hex dump (first 32 bytes on cpu 0):
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
  backtrace (crc 0):
    pcpu_alloc_noprof+0x5d2/0xab0
"""


def test_each_object_has_its_owner_and_its_backtrace() -> None:
    file, percpu = parse_leaks(REPORT)
    assert (file.size, file.command, file.pid) == (192, "probe", 151)
    assert "alloc_empty_file" in file.text
    assert "pcpu_alloc" not in file.text
    assert (percpu.size, percpu.command, percpu.pid) == (64, "kworker/0:1", 9)


def test_an_empty_report_has_no_objects() -> None:
    assert list(parse_leaks("")) == []
