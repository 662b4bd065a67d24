"""Errors that mmap finds before it asks a hook: the hook is not run (guarantee 7)."""

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


def test_a_mapping_in_the_way_is_eexist(stack: Prober, path: HookPath) -> None:
    old = "map old anon len=4p flags=private"
    found = _errors(stack, path, old, flags="shared,fixed_noreplace", addr="old")
    assert found == ("EEXIST", 0)


def test_a_sealed_mapping_is_not_replaced(stack: Prober, path: HookPath) -> None:
    old = "map old anon len=4p flags=private"
    found = _errors(stack, path, old, "mseal old", flags="shared,fixed", addr="old")
    assert found == ("EPERM", 0)


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
) -> tuple[str, int]:
    """The errno of a mapping of four pages after some steps, and how many hooks ran for it."""
    script = path_script(path, FULL)
    for line in before:
        script.step(*line.split())
    script.step("clearlog")
    made = script.map("m", TOP, prot=prot, flags=flags, addr=addr)
    log = script.hooklog()
    seen = stack.run(script)
    return seen[made].error, len(seen[log].events)
