# SPDX-License-Identifier: GPL-2.0
"""A guest is given to a test, is taken back, and knows whether a later test may use it."""

from __future__ import annotations

import pytest
from guest_parts import FakeKernel, fake_guest

from testbed.errors import GuestFileError, KernelSplat, UnbalancedLedger
from testbed.guest.splat_patterns import SplatKind

WARNING = """\
------------[ cut here ]------------
WARNING: mm/vma.c:2461 at mmap_region+0x91/0xd0, CPU#1: probe/83
---[ end trace 0000000000000000 ]---
"""


def test_a_guest_that_a_test_leaves_as_it_was_is_not_spent() -> None:
    kernel = FakeKernel()
    guest = fake_guest(kernel)
    for name in ("one", "two"):
        guest.begin(name)
        guest.load("mmap_stack")
        guest.finish()
    assert guest.usable
    assert guest.spent == ""
    assert kernel.modules == []


def test_an_expected_splat_spends_a_guest() -> None:
    kernel = FakeKernel()
    guest = fake_guest(kernel)
    guest.begin("one")
    with guest.expect_splat(SplatKind.WARNING):
        kernel.print(WARNING)
    assert guest.spent == "the kernel printed warning: WARNING in mmap_region"
    guest.finish()
    assert guest.usable


def test_an_unexpected_splat_spends_a_guest() -> None:
    kernel = FakeKernel()
    guest = fake_guest(kernel)
    guest.begin("one")
    kernel.print(WARNING)
    with pytest.raises(KernelSplat, match="WARNING in mmap_region"):
        guest.finish()
    assert "WARNING in mmap_region" in guest.spent


def test_a_taint_without_a_splat_spends_a_guest() -> None:
    kernel = FakeKernel()
    guest = fake_guest(kernel)
    guest.begin("one")
    kernel.tainted = 1 << 9
    with pytest.raises(KernelSplat, match="tainted: W"):
        guest.finish()
    assert guest.spent == "the kernel became tainted: W"


def test_excused_leaks_spend_a_guest_though_nothing_is_left_behind() -> None:
    guest = fake_guest(FakeKernel())
    guest.begin("one")
    guest.excuse_leaks()
    guest.finish()
    assert guest.spent == "what a test leaves behind was excused"


def test_an_unbalanced_ledger_spends_a_guest() -> None:
    kernel = FakeKernel()
    guest = fake_guest(kernel)
    guest.begin("one")
    kernel.shmem = 8
    with pytest.raises(UnbalancedLedger, match="Shmem is 8 kB, was 0 kB"):
        guest.finish()
    assert "Shmem is 8 kB, was 0 kB" in guest.spent


def test_a_module_in_use_makes_a_guest_unusable() -> None:
    guest = fake_guest(FakeKernel(busy={"mmap_stack"}))
    guest.begin("one")
    guest.load("mmap_stack")
    with pytest.raises(GuestFileError, match="unload mmap_stack"):
        guest.finish()
    assert not guest.usable


def test_a_splat_takes_precedence_over_a_module_in_use() -> None:
    kernel = FakeKernel(busy={"mmap_stack"})
    guest = fake_guest(kernel)
    guest.begin("one")
    guest.load("mmap_stack")
    kernel.print(WARNING)
    with pytest.raises(KernelSplat):
        guest.finish()
    assert not guest.usable


def test_a_guest_that_is_given_up_is_spent_for_that_reason() -> None:
    guest = fake_guest(FakeKernel())
    guest.begin("one")
    guest.give_up("its lock stays held")
    guest.finish()
    assert guest.spent == guest.broken == "its lock stays held"


def test_the_first_reason_for_which_a_guest_is_spent_stays() -> None:
    guest = fake_guest(FakeKernel())
    guest.begin("one")
    guest.excuse_leaks()
    guest.give_up("its lock stays held")
    assert guest.spent == "what a test leaves behind was excused"


def test_a_test_costs_two_exchanges_beside_its_own() -> None:
    kernel = FakeKernel()
    channel = kernel.channel()
    guest = fake_guest(kernel, channel)
    guest.begin("one")
    guest.load("mmap_stack")
    guest.finish()
    before = channel.exchanges
    guest.begin("two")
    assert channel.exchanges == before
    guest.load("mmap_stack")
    guest.load("mmap_ring")
    guest.finish()
    assert channel.exchanges == before + 3


def test_modules_are_unloaded_in_reverse_and_other_ends_in_their_turn() -> None:
    kernel = FakeKernel()
    guest = fake_guest(kernel)
    guest.begin("one")
    seen: list[list[str]] = []
    guest.load("mmap_stack")
    guest.at_end(lambda: seen.append(list(kernel.modules)))
    guest.load("mmap_ring")
    guest.load("mmap_relay")
    guest.finish()
    assert seen == [["mmap_stack"]]
    assert kernel.unloaded == ["mmap_relay", "mmap_ring", "mmap_stack"]


def test_each_splat_of_a_test_is_after_its_start_though_the_start_is_sent_late() -> None:
    kernel = FakeKernel()
    guest = fake_guest(kernel)
    for name in ("one", "two"):
        guest.begin(name)
        guest.load("mmap_stack")
        kernel.print(f"in {name}")
        guest.finish()
    texts = [line.partition("] ")[2] for line in kernel.console.split("\r\n")]
    words = [text.split()[2] if "testbed:" in text else text for text in texts if text]
    assert words == ["begin", "in one", "end", "begin", "in two", "end"]


def test_an_unloading_that_fails_keeps_the_ledger_of_before() -> None:
    kernel = FakeKernel(busy={"mmap_stack"})
    guest = fake_guest(kernel)
    guest.begin("one")
    before = guest.ledger
    guest.load("mmap_stack")
    kernel.shmem = 8
    with pytest.raises(GuestFileError, match="unload mmap_stack"):
        guest.finish()
    assert guest.ledger == before


def test_a_guest_that_keeps_modules_loads_a_shared_one_once() -> None:
    kernel = FakeKernel()
    guest = fake_guest(kernel)
    guest.keeps_modules = True
    for test in ("one", "two"):
        guest.begin(test)
        guest.load_shared("mmap_stack")
        guest.finish()
    assert (kernel.modules, kernel.unloaded) == (["mmap_stack"], [])
    assert not guest.spent


@pytest.mark.parametrize("keeps", [False, True])
def test_a_module_is_unloaded_unless_it_is_shared_in_a_guest_that_keeps_it(keeps: bool) -> None:
    kernel = FakeKernel()
    guest = fake_guest(kernel)
    guest.keeps_modules = keeps
    guest.begin("one")
    guest.load("mmap_uio", "pages=2")
    guest.load_shared("mmap_stack")
    guest.finish()
    assert kernel.unloaded == (["mmap_uio"] if keeps else ["mmap_stack", "mmap_uio"])


@pytest.mark.parametrize("keeps", [False, True])
def test_a_test_that_loads_a_module_again_gets_a_fresh_one(keeps: bool) -> None:
    kernel = FakeKernel()
    guest = fake_guest(kernel)
    guest.keeps_modules = keeps
    guest.begin("one")
    guest.load_shared("mmap_stack")
    guest.load("mmap_stack")
    assert (kernel.modules, kernel.unloaded) == (["mmap_stack"], ["mmap_stack"])
    guest.load("mmap_stack", "pages=2")
    guest.finish()
    assert kernel.modules == []
    assert kernel.unloaded == ["mmap_stack"] * 3


def test_a_test_that_loads_a_kept_module_gets_a_fresh_one() -> None:
    kernel = FakeKernel()
    guest = fake_guest(kernel)
    guest.keeps_modules = True
    guest.begin("one")
    guest.load_shared("mmap_stack")
    guest.finish()
    guest.begin("two")
    guest.load("mmap_stack")
    assert (kernel.modules, kernel.unloaded) == (["mmap_stack"], ["mmap_stack"])
    guest.finish()
    assert kernel.modules == []


def test_a_reference_to_a_kept_module_is_left_behind() -> None:
    kernel = FakeKernel()
    guest = fake_guest(kernel)
    guest.keeps_modules = True
    guest.begin("one")
    guest.load_shared("mmap_stack")
    kernel.busy.add("mmap_stack")
    with pytest.raises(UnbalancedLedger, match="mmap_stack has 1 references, had 0"):
        guest.finish()
