# SPDX-License-Identifier: GPL-2.0
"""Programs on files of the kernel's own, each by several ways: directly, and through stacks.

The plans of a program say nothing here: the hooks are the kernel's. All ways have to show the same,
and leave nothing behind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from testbed.errors import GuestError, ProbeProtocolError, TestbedError, UnbalancedLedger
from testbed.fuzz.exchange import SECONDS, Ran, ended, is_covered
from testbed.fuzz.judge import NUMBERS, Deviation, of_aftermath
from testbed.fuzz.kernelfile import MOST_PAGES, Ways
from testbed.fuzz.program import Program, Step
from testbed.lab.guest import Guest
from testbed.mmap.canonical import canonical_facts
from testbed.mmap.observation import Fact, Observation
from testbed.mmap.path import TOP
from testbed.mmap.plan import NOTHING
from testbed.mmap.script import Script

# Steps that only a node of mmap_stack.ko has.
_OF_MODULES = frozenset({"vma", "ptes", "hooklog", "gate", "join"})

# The ends of the places that show what a page contains.
_CONTENT = (".content", ".result")

# Pages: no file of the kernel's own is longer, except for devices.
_FAR = 1 << 31

# The mappings that every script makes.
_OWN_MAPS = 2

_ACCOUNTS = ("VmSize", "VmLck", "VmData", "RssFile", "RssShmem", "RssAnon")


def run_on_ways(guest: Guest, program: Program, ways: Ways) -> Ran:
    """Run a program on each way to a file.

    Raises:
        InfraError: the host failed, and the guest's kernel is clean.
    """
    program = dataclasses.replace(
        program.without_faults(), plan=NOTHING, outer=NOTHING, spare="", spare_plan=NOTHING
    )
    covered = is_covered(guest.prepared.kernel)
    scripts = [way_script(program, ways, way, covered=covered) for way in ways.opening]
    guest.begin(f"{ways} {program.key}")
    try:
        seen = guest.prober.run_each(scripts, SECONDS)
    except GuestError as error:
        return Ran(program, aftermath=ended(guest, error), ways=ways)
    refused = "".join(each.message for each in seen if isinstance(each, ProbeProtocolError))
    observations: dict[str, Observation] = {}
    trouble: TestbedError | None = None
    for way, found in zip(ways.opening, seen, strict=False):
        if isinstance(found, Observation):
            observations[way] = found
        elif not isinstance(found, ProbeProtocolError):
            trouble = found
    aftermath = ended(guest, None) or trouble
    return Ran(program, aftermath=aftermath, refused=refused, ways=ways, observed=observations)


def way_script(program: Program, ways: Ways, way: str, *, covered: bool = False) -> Script:
    """Return the script of a program, which differs only in how the file is opened.

    The first access to a file is a read, because of KD33, and the first mapping is private if the
    file permits it, because of KD30 (docs/findings.md).
    """
    script = Script()
    if covered:
        script.step("kcov")
    script.step("env")
    for line in ways.lines(way, program):
        script.step(*line.split())
    script.step("pread", TOP, off=0, len="1p")
    script.map("first", TOP, pages=1, prot="r", flags="private")
    script.step("status")
    for line in program.scenario.before:
        script.step(*line.split())
    ways.map(script, way, program)
    for line in ("maps m", "query m", "pagemap m", "read m all"):
        if program.call.pages <= MOST_PAGES or line == "query m":
            script.step(*line.split())
    for line in program.scenario.after:
        words = line.removeprefix("second ").split()  # without a gate it is a step like any other
        if words[0] not in _OF_MODULES:
            script.step(*words)
    for name in program.scenario.mappings:
        script.step("munmap", name)
    for line in ways.closing:
        script.step(*line.split())
    script.step("status")
    return script


def deviations_on_ways(ran: Ran) -> list[Deviation]:
    """Return all deviations of a program on the ways to a file."""
    assert ran.ways is not None
    found = [*_on_each(ran), *_differences(ran)]
    leaks = isinstance(ran.aftermath, UnbalancedLedger) and not ran.ways.balanced
    return found if ran.aftermath is None or leaks else [*found, of_aftermath(ran)]


def _on_each(ran: Ran) -> Iterator[Deviation]:
    """Yield what is wrong on a way by itself, whatever the file is."""
    assert ran.ways is not None
    for way, seen in ran.observed.items():
        before, after = accounts(seen)
        for key, had in before.items():
            if after[key] != had:
                title = f"{key} after munmap, {way} {ran.ways}"
                yield Deviation(title, None, f"{title}, is {after[key]}, not {had}")
        for name, found, right in _mapping(ran.program, ran.ways, way, seen):
            title = f"{name} of the mapping, {way} {ran.ways}"
            yield Deviation(title, None, f"{title}, is {found}, not {right}")


def _mapping(
    program: Program, ways: Ways, way: str, seen: Observation
) -> Iterator[tuple[str, str, str]]:
    """Yield what differs between the mapping and the mmap call, which no hook may change."""
    made = _made(seen)
    if made.errno or program.call.pages > MOST_PAGES or way in ways.mapping:
        return
    vmas = next(each for each in seen.facts.values() if each.op == "maps").vmas
    start, length = made.address, int(made.values["len"])
    covered = [(vma.start - start, vma.end - start) for vma in vmas]
    right = [(0, length)]
    if _joined(covered) != right:
        yield "extent", str(covered), str(right)
    letters = {"none": ""}.get(program.call.prot, program.call.prot)
    perms = "".join(letter if letter in letters else "-" for letter in "rwx")
    perms += "p" if ways.flags(program.call.flags).startswith("private") else "s"
    for other in sorted({vma.perms for vma in vmas} - {perms}):
        yield "permissions", other, perms


def _made(seen: Observation) -> Fact:
    """Return the fact of the step that makes the mapping."""
    return next(each for each in seen.facts.values() if each.values.get("name") == "m")


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join the ranges that touch."""
    joined: list[tuple[int, int]] = []
    for start, end in ranges:
        if joined and joined[-1][1] == start:
            start = joined.pop()[0]
        joined.append((start, end))
    return joined


def _differences(ran: Ran) -> Iterator[Deviation]:
    """Yield the differences between each way and the reference.

    They are compared up to the first step that maps the file again: mappings above are merged
    later.
    """
    assert ran.ways is not None
    reference = ran.observed.get(ran.ways.reference)
    if reference is None or _may_differ(ran.program, ran.ways, reference):
        return
    below, first = _places(reference, ran.ways), _made(reference).step
    for way, seen in ran.observed.items():
        above, last = _places(seen, ran.ways), _first_merge(seen, ran.ways)
        for place in {**below, **above}:
            step, _, name = place.partition(" ")
            hidden = not ran.ways.steady and name.endswith(_CONTENT)
            compared = first <= int(step) < last and not hidden
            if compared and below.get(place) != above.get(place):
                title = f"{NUMBERS.sub('', name)} differs on {ran.ways}"
                values = f"{place} of {way} is {above.get(place)}, not {below.get(place)}"
                yield Deviation(title, None, values, place)


def _places(seen: Observation, ways: Ways) -> dict[str, str]:
    """Return what was seen, by its place. A segment is attached where a file is mapped.

    A mount with noexec takes VM_MAYEXEC away.
    """
    found = {}
    for place, value in canonical_facts(seen).items():
        if place.endswith(".vmflags") and not ways.executable:
            value = " ".join(flag for flag in value.split() if flag != "me")
        found[place.replace(" shmat.", " map.", 1)] = value
    return found


def _may_differ(program: Program, ways: Ways, reference: Observation) -> bool:
    """Whether do_mmap() (mm/mmap.c) judges the call by the file above or below alone.

    It asks that file for MAP_SYNC, for its largest size, for a place, and whether its mount has
    noexec.
    """
    call = program.call
    lines = (f"prot={call.prot}", *(step.line for step in program.steps))
    executes = any("x" in word[5:] for line in lines for word in line.split() if "prot=" in word)
    far = call.offset + call.pages > _FAR
    misplaced = ways.places and (call.addr or _made(reference).errno)
    return (
        far
        or bool(misplaced)
        or "sync" in call.flags.split(",")
        or (executes and not ways.executable)
    )


def _first_merge(seen: Observation, ways: Ways) -> int:
    """Return the number of the first step from which on the ways may differ, or a larger one.

    It maps the file again, or moves a mapping whose place the file decides on. mm/mremap.c also
    moves several VMAs at once only if the file does not (vma_multi_allowed()).
    """
    lines = [line for line in seen.script.splitlines() if line]
    again = [number for number, line in enumerate(lines, 1) if Step(line).maps_again]
    moves = [number for number, line in enumerate(lines, 1) if "maymove" in line]
    last = again[_OWN_MAPS:] + (moves if ways.places else [])
    return min(last, default=len(seen.script))


def accounts(seen: Observation) -> tuple[dict[str, int], dict[str, int]]:
    """Return the process's accounts before the mapping and after its end."""
    facts = [fact for _, fact in sorted(seen.facts.items()) if fact.op == "status"]
    before, after = ({key: fact.values["fields"][key] for key in _ACCOUNTS} for fact in facts)
    return before, after
