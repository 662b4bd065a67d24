# SPDX-License-Identifier: GPL-2.0
"""The kernel log of each test, from the log of a fake kernel."""

from __future__ import annotations

import pytest
from fake_agent import FakeKernelLog

from testbed.errors import InfraError
from testbed.guest.blame import Witness
from testbed.guest.kernellog import KernelLog
from testbed.guest.session import Session

_WARNING = """\
------------[ cut here ]------------
WARNING: mm/vma.c:2461 at mmap_region+0x91/0xd0, CPU#1: probe/83
---[ end trace 0000000000000000 ]---
"""


def _log(kernel: FakeKernelLog) -> KernelLog:
    return KernelLog(Session(kernel.channel()), lambda: kernel.console)


def test_a_test_gets_the_records_between_its_marks() -> None:
    kernel = FakeKernelLog()
    kernel.print("boot")
    log = _log(kernel)
    log.begin("test_one")
    kernel.print("during")
    found = log.end()
    kernel.print("between")
    log.begin("test_two")
    assert found.text.endswith("] during\n")
    assert found.text.count("\n") == 1
    assert log.end().text == ""


def test_a_splat_belongs_to_the_test_in_which_it_occurred() -> None:
    kernel = FakeKernelLog()
    log = _log(kernel)
    log.begin("test_one")
    kernel.print(_WARNING)
    assert [splat.title for splat in log.end().splats] == ["WARNING in mmap_region"]
    log.begin("test_two")
    assert log.end().splats == ()


def test_a_splat_between_two_tests_is_kept_separately() -> None:
    kernel = FakeKernelLog()
    kernel.print(_WARNING)
    log = _log(kernel)
    log.begin("test_one")
    found = log.end()
    assert found.splats == ()
    assert [splat.title for splat in found.earlier] == ["WARNING in mmap_region"]


def test_warn_once_is_cleared_before_the_start_is_marked() -> None:
    kernel = FakeKernelLog()
    _log(kernel).begin("test_one")
    assert [path for path, _ in kernel.writes] == [
        "/sys/kernel/debug/clear_warn_once",
        "/dev/kmsg",
    ]


def test_a_test_costs_two_calls() -> None:
    kernel = FakeKernelLog()
    channel = kernel.channel()
    log = KernelLog(Session(channel), lambda: "")
    log.begin("the first one drains the output of the boot")
    log.end()
    count = len(channel.sent)
    log.begin("test_two")
    log.end()
    assert len(channel.sent) - count == 2


def test_records_that_were_overwritten_are_an_error() -> None:
    kernel = FakeKernelLog(room=100)
    kernel.print("boot")
    log = _log(kernel)
    log.begin("test_flood")
    kernel.print("flood\n" * 1000)
    with pytest.raises(InfraError, match="902 records of the kernel log were overwritten"):
        log.end()
    log.begin("test_after")
    assert log.end().text == ""


def test_a_splat_is_reported_although_records_before_it_are_lost() -> None:
    kernel = FakeKernelLog(room=100)
    kernel.print("boot")
    log = _log(kernel)
    log.begin("test_flood")
    kernel.print("flood\n" * 1000 + _WARNING)
    found = log.end()
    assert [splat.title for splat in found.splats] == ["WARNING in mmap_region"]
    assert found.lost == 905


def test_marks_that_the_kernel_dropped_are_an_error() -> None:
    kernel = FakeKernelLog(drop_marks=True)
    log = _log(kernel)
    log.begin("test_one")
    with pytest.raises(InfraError, match="marks"):
        log.end()


def test_after_the_guest_died_the_log_comes_from_the_console() -> None:
    kernel = FakeKernelLog()
    channel = kernel.channel()
    log = KernelLog(Session(channel, Witness(lambda: "panic")), lambda: kernel.console)
    kernel.print(_WARNING)
    log.begin("test_panic")
    kernel.print("Kernel panic - not syncing: oh\n---[ end Kernel panic - not syncing: oh ]---")
    channel.closed = True
    found = log.end()
    assert [splat.title for splat in found.splats] == ["panic: oh"]
    assert found.from_console


def test_a_console_without_marks_is_used_completely() -> None:
    kernel = FakeKernelLog()
    channel = kernel.channel()
    session = Session(channel, Witness(lambda: "panic"))
    log = KernelLog(session, lambda: "Kernel panic - not syncing: oh")
    log.begin("test_panic")
    channel.closed = True
    assert [splat.title for splat in log.end().splats] == ["panic: oh"]


def test_new_taint_is_reported_except_that_of_our_modules_and_of_what_a_user_asks_for() -> None:
    kernel = FakeKernelLog(tainted=1 << 12)
    log = _log(kernel)
    log.begin("test_one")
    kernel.tainted |= 1 << 6 | 1 << 9 | 1 << 13
    assert log.end().tainted == "W"
    log.begin("test_two")
    assert log.end().tainted == ""


def test_line_breaks_in_a_name_and_a_long_name_do_not_break_the_mark() -> None:
    kernel = FakeKernelLog()
    log = _log(kernel)
    for name in ("a\nKernel panic - not syncing: b", "x" * 5000):
        log.begin(name)
        assert log.end().splats == ()
