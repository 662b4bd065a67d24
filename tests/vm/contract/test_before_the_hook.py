# SPDX-License-Identifier: GPL-2.0
"""Errors that mmap() finds before it runs a hook; it then runs none (guarantee 7)."""

from __future__ import annotations

import pytest

from testbed.mmap.path import TOP, HookPath
from testbed.mmap.plan import Plan, VmOps
from testbed.mmap.probe import Prober, path_script

pytestmark = [pytest.mark.paths(*HookPath), pytest.mark.guarantee(7)]

FULL = Plan(vm_ops=VmOps.FULL)


def test_an_address_space_that_is_full_is_enomem(stack: Prober, path: HookPath) -> None:
    assert _errors(stack, path, "rlimit as 3p") == ("ENOMEM", 0)


def test_the_last_pages_of_the_address_space_can_be_had(stack: Prober, path: HookPath) -> None:
    error, hooks = _errors(stack, path, "rlimit as 4p")
    assert (error, hooks > 0) == ("", True)


def test_what_is_replaced_does_not_count_against_the_limit(stack: Prober, path: HookPath) -> None:
    old = "map old anon len=4p flags=private"
    error, hooks = _errors(stack, path, old, "rlimit as 0", flags="shared,fixed", addr="old")
    assert (error, hooks > 0) == ("", True)


def test_root_may_lock_more_than_its_limit(stack: Prober, path: HookPath) -> None:
    error, hooks = _errors(stack, path, "rlimit memlock 0", flags="shared,locked")
    assert (error, hooks > 0) == ("", True)


def test_more_than_there_is_memory_cannot_be_charged(stack: Prober, path: HookPath) -> None:
    assert _errors(stack, path, flags="private", pages=1 << 22) == ("ENOMEM", 0)
    error, hooks = _errors(stack, path, flags="private,noreserve", pages=1 << 22)
    assert (error, hooks > 0) == ("", True)


def test_a_mapping_in_the_way_is_eexist_and_stays(stack: Prober, path: HookPath) -> None:
    seen = _over_old(stack, path, flags="shared,fixed_noreplace")
    assert seen == ("EEXIST", 0, ["fill:0x11"] * 4)


def test_a_sealed_mapping_is_not_replaced(stack: Prober, path: HookPath) -> None:
    assert _over_old(stack, path, "mseal old") == ("EPERM", 0, ["fill:0x11"] * 4)


def test_what_is_beside_a_sealed_mapping_is_not_replaced_either(
    stack: Prober, path: HookPath
) -> None:
    sealed = "map sealed anon len=1p prot=r flags=private,fixed addr=old+3p"
    error, hooks, contents = _over_old(stack, path, sealed, "mseal sealed")
    assert (error, hooks, contents[:3]) == ("EPERM", 0, ["fill:0x11"] * 3)


@pytest.mark.guarantee(55)
def test_what_would_be_replaced_stays_where_the_rest_has_no_room(
    stack: Prober, path: HookPath
) -> None:
    seen = _over_old(stack, path, "munmap old 2-3", "rlimit as 0")
    assert seen == ("ENOMEM", 0, ["fill:0x11", "fill:0x11", "SIGSEGV", "SIGSEGV"])


def test_written_and_executed_is_refused_after_mdwe(stack: Prober, path: HookPath) -> None:
    assert _errors(stack, path, "mdwe", prot="rwx") == ("EACCES", 0)
    error, hooks = _errors(stack, path, "mdwe", prot="rx")
    assert (error, hooks > 0) == ("", True)


@pytest.mark.parametrize("prot", ["r", "rw"])
def test_a_file_that_cannot_be_read_is_eacces(stack: Prober, path: HookPath, prot: str) -> None:
    node = f"/dev/{path.shape.nodes[0]}"
    assert _errors(stack, path, f"open {TOP} {node} wo", prot=prot) == ("EACCES", 0)


def test_a_file_that_cannot_be_written_is_mapped_for_reading(stack: Prober, path: HookPath) -> None:
    node = f"/dev/{path.shape.nodes[0]}"
    assert _errors(stack, path, f"open {TOP} {node} ro", prot="rw") == ("EACCES", 0)


def test_map_sync_is_not_supported(stack: Prober, path: HookPath) -> None:
    assert _errors(stack, path, flags="shared_validate,sync") == ("EOPNOTSUPP", 0)


def _errors(
    stack: Prober,
    path: HookPath,
    *before: str,
    prot: str = "rw",
    flags: str = "shared",
    addr: str | None = None,
    pages: int = 4,
) -> tuple[str, int]:
    """Map after some steps. Return the errno and the number of hook events."""
    script = path_script(path, FULL)
    for line in before:
        script.step(*line.split())
    script.step("clearlog")
    made = script.map("m", TOP, prot=prot, flags=flags, addr=addr, pages=pages)
    log = script.hooklog()
    seen = stack.run(script)
    return seen[made].error, len(seen[log].events)


def _over_old(
    stack: Prober, path: HookPath, *before: str, flags: str = "shared,fixed"
) -> tuple[str, int, list[str]]:
    """Do the same over four written pages of anonymous memory, and return their contents too."""
    script = path_script(path, FULL)
    script.map("old", "anon", flags="private")
    script.write("old", 0x11)
    for line in before:
        script.step(*line.split())
    script.step("clearlog")
    made = script.map("m", TOP, flags=flags, addr="old")
    log, read = script.hooklog(), script.read("old", "0-3")
    seen = stack.run(script)
    return seen[made].error, len(seen[log].events), seen[read].contents
