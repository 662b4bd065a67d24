# SPDX-License-Identifier: GPL-2.0
"""The guest's ledger: parsing of the kernel's files, and the changes that are reported."""

from __future__ import annotations

import pytest

from testbed.guest.ledger import Ledger, changes, parse_ledger

MEMORY = "MemTotal:  200000 kB\nShmem:   40 kB\nCommitted_AS:  26288 kB\nShmemHugePages: 0 kB\n"
AGENT = "Name:\tagent\nPPid:\t42\nVmData:\t     300 kB\nVmStk:\t     132 kB\nVmExe:\t  9 kB\n"
SERVER = "Name:\tdropbear\nVmData:\t     200 kB\nVmStk:\t     132 kB\n"
MODULES = """\
ext4 1000 1 - Live 0x0
jbd2 900 1 ext4, Live 0x0
mbcache 800 3 ext4,ext2, Live 0x0
fixed 700 2 user,[permanent], Live 0x0
"""
BEFORE = Ledger(committed=100, shmem=40, modules={"ext4": 1}, memtypes=frozenset({"a"}))


def test_the_sessions_own_programs_are_not_counted() -> None:
    ledger = parse_ledger(MEMORY, (AGENT, SERVER), "")
    assert (ledger.committed, ledger.shmem) == (26288 - 300 - 132 - 200 - 132, 40)


def test_a_module_that_uses_another_explains_a_reference() -> None:
    ledger = parse_ledger(MEMORY, (), MODULES)
    assert ledger.modules == {"ext4": 1, "jbd2": 0, "mbcache": 1, "fixed": 1}


def test_each_line_is_a_memory_type() -> None:
    assert parse_ledger(MEMORY, (), "", "PAT: x\nPAT: y\n").memtypes == {"PAT: x", "PAT: y"}


def test_equal_ledgers_have_no_changes() -> None:
    assert list(changes(BEFORE, BEFORE)) == []


@pytest.mark.parametrize(
    ("after", "change"),
    [
        (Ledger(104, 40, {"ext4": 1}, frozenset("a")), "Committed_AS is 104 kB, was 100 kB"),
        (Ledger(96, 40, {"ext4": 1}, frozenset("a")), "Committed_AS is 96 kB, was 100 kB"),
        (Ledger(100, 44, {"ext4": 1}, frozenset("a")), "Shmem is 44 kB, was 40 kB"),
        (Ledger(100, 40, {"ext4": 2}, frozenset("a")), "ext4 has 2 references, had 1"),
        (Ledger(100, 40, {"ext4": 1}, frozenset("ab")), "memory type stays: b"),
        (Ledger(100, 40, {"ext4": 1}), "memory type is gone: a"),
    ],
    ids=["more", "less", "shmem", "module", "memtype", "memtype-gone"],
)
def test_each_change_is_reported(after: Ledger, change: str) -> None:
    assert list(changes(BEFORE, after)) == [change]


def test_a_module_that_stays_loaded_may_keep_references_and_memory_types() -> None:
    after = Ledger(100, 40, {"ext4": 1, "virtio_blk": 1}, frozenset("ab"))
    assert list(changes(BEFORE, after)) == []


def test_a_module_that_stays_for_later_tests_has_no_references_before_its_first_test() -> None:
    before = Ledger(committed=1, shmem=1, modules={"fuse": 1}).with_modules(["mmap_stack"])
    after = Ledger(committed=1, shmem=1, modules={"fuse": 1, "mmap_stack": 2})
    assert list(changes(before, after)) == ["mmap_stack has 2 references, had 0"]
