# SPDX-License-Identifier: GPL-2.0
"""Programs on the kernel's own stacks: a file through a stack, and at its real place.

The plans of a program say nothing here: the hooks are those of the file systems. Both runs have to
show the same, and leave nothing behind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from testbed.errors import GuestError, ProbeProtocolError, TestbedError
from testbed.fuzz.exchange import SECONDS, Ran, ended
from testbed.fuzz.judge import NUMBERS, Deviation, of_aftermath
from testbed.fuzz.program import Program, Step
from testbed.intree.stacks import FILE_PAGES, FILE_STACKS, FILL, FileStack, set_up
from testbed.lab.guest import Guest
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.canonical import canonical_facts
from testbed.mmap.observation import Observation
from testbed.mmap.path import TOP
from testbed.mmap.plan import NOTHING
from testbed.mmap.script import Script

BELOW, ABOVE = "below", "above"

# Steps that only a node of mmap_stack.ko has.
_OF_MODULES = frozenset({"vma", "ptes", "hooklog", "gate", "join"})

# The longest mapping that is read as a whole.
_READ_PAGES = 64

# The mappings that every script makes.
_OWN_MAPS = 2

_ACCOUNTS = ("VmSize", "VmLck", "VmData", "RssFile", "RssShmem", "RssAnon")


def stacks_of(prepared: PreparedKernel) -> list[FileStack]:
    """Return the stacks that a kernel has."""
    return [
        stack
        for stack in FILE_STACKS
        if all(prepared.kernel.symbol(symbol) != "n" for symbol in stack.symbols)
    ]


def enter_stack(guest: Guest, stack: FileStack) -> None:
    """Mount the stack in a fresh guest, until the guest ends."""
    set_up(guest, stack)
    guest.endings.clear()
    guest.ledger = None


def run_on_stack(guest: Guest, program: Program, stack: FileStack) -> Ran:
    """Run a program on a stack's file, below and above.

    Raises:
        InfraError: the host failed, and the guest's kernel is clean.
    """
    program = dataclasses.replace(
        program, plan=NOTHING, outer=NOTHING, spare="", spare_plan=NOTHING
    )
    scripts = [stack_script(program, stack, where) for where in (BELOW, ABOVE)]
    guest.begin(f"{stack} {program.key}")
    try:
        seen = guest.prober.run_each(scripts, SECONDS)
    except GuestError as error:
        return Ran(program, aftermath=ended(guest, error), stack=stack)
    refused = "".join(each.message for each in seen if isinstance(each, ProbeProtocolError))
    observations: dict[str, Observation] = {}
    trouble: TestbedError | None = None
    for where, found in zip((BELOW, ABOVE), seen, strict=False):
        if isinstance(found, Observation):
            observations[where] = found
        elif not isinstance(found, ProbeProtocolError):
            trouble = found
    aftermath = ended(guest, None) or trouble
    return Ran(program, aftermath=aftermath, refused=refused, stack=stack, observed=observations)


def stack_script(program: Program, stack: FileStack, where: str) -> Script:
    """Return the script of a program, which differs only in the name of the file.

    It first gives the file its content. The first access to it is a read, because of KD33, and the
    first mapping is private, because of KD30 (docs/findings.md).
    """
    script, mode = Script(), "rw" if stack.writable else "ro"
    length = f"{FILE_PAGES}p"
    script.step("env")
    script.open("home", stack.below)
    script.step("ftruncate", "home", length)
    script.step("pwrite", "home", off=0, len=length, value=f"{FILL:#x}")
    script.open(TOP, stack.above if where == ABOVE else stack.below, mode)
    script.step("pread", TOP, off=0, len="1p")
    script.map("first", TOP, pages=1, prot="r", flags="private")
    script.step("status")
    for line in program.scenario.before:
        script.step(*line.split())
    call = program.call
    script.map(
        "m", TOP, pages=call.pages, offset=call.offset, prot=call.prot, flags=call.flags,
        addr=call.addr,
    )  # fmt: skip
    for line in ("maps m", "query m", "pagemap m", "read m all"):
        if call.pages <= _READ_PAGES or line == "query m":
            script.step(*line.split())
    for line in program.scenario.after:
        words = line.removeprefix("second ").split()  # without a gate it is a step like any other
        if words[0] not in _OF_MODULES:
            script.step(*words)
    for name in program.scenario.mappings:
        script.step("munmap", name)
    script.step("status")
    return script


def deviations_on_stack(ran: Ran) -> list[Deviation]:
    """Return all deviations of a program on a stack."""
    found = list(_differences(ran))
    return [*found, of_aftermath(ran)] if ran.aftermath is not None else found


def _differences(ran: Ran) -> Iterator[Deviation]:
    """Yield what a run below or above left behind, and the differences between the two.

    The latter up to the first step that maps the file again: mappings above are merged later.
    """
    for where, seen in ran.observed.items():
        before, after = accounts(seen)
        for key, had in before.items():
            if after[key] != had:
                title = f"{key} after munmap, {where} {ran.stack}"
                yield Deviation(title, None, f"{title}, is {after[key]}, not {had}")
    if len(ran.observed) == 2 and not _asks_for_sync(ran.program):
        below, above = (canonical_facts(ran.observed[where]) for where in (BELOW, ABOVE))
        last = _first_merge(ran.observed[ABOVE])
        for place in {**below, **above}:
            step, _, name = place.partition(" ")
            if below.get(place) != above.get(place) and int(step) < last:
                title = f"{NUMBERS.sub('', name)} differs on {ran.stack}"
                values = f"{place} is {above.get(place)}, not {below.get(place)}"
                yield Deviation(title, None, values, place)


def _asks_for_sync(program: Program) -> bool:
    """Whether the two may differ: do_mmap() (mm/mmap.c) asks the file above for MAP_SYNC."""
    return "sync" in program.call.flags.split(",")


def _first_merge(seen: Observation) -> int:
    """Return the number of the first step that maps the file again, or a larger one."""
    lines = enumerate(seen.script.splitlines(), 1)
    again = [number for number, line in lines if line and Step(line).maps_again]
    return again[_OWN_MAPS] if len(again) > _OWN_MAPS else len(seen.script)


def accounts(seen: Observation) -> tuple[dict[str, int], dict[str, int]]:
    """Return the process's accounts before the mapping and after its end."""
    facts = [fact for _, fact in sorted(seen.facts.items()) if fact.op == "status"]
    before, after = ({key: fact.values["fields"][key] for key in _ACCOUNTS} for fact in facts)
    return before, after
