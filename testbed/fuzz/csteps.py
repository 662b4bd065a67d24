# SPDX-License-Identifier: GPL-2.0
"""The steps of a program as C."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from testbed.fuzz.cwords import c_address, c_bytes, c_flags, c_or, c_prot
from testbed.fuzz.faults import CHANGING, IN_PARTS
from testbed.fuzz.program import GATE_MS, MEMCG, ROOM, Step, Task, turns_of


@dataclass
class CSteps:
    """C that does steps. A second task has a function for each of its steps."""

    body: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)


def c_steps(steps: tuple[Step, ...]) -> CSteps:
    """Return the steps as C, in the order in which the probe does them."""
    code, waits, merged = CSteps(), False, False
    for turn in turns_of(steps):
        if not merged and any(step.maps_again for step in turn):
            merged = True
            code.body.append("stop_comparing(run);")
        if not turn:
            code.body.append("join_second(run);")
        elif turn[0].task is Task.SECOND:
            code.body.append(_second(turn[0], code.functions))
        else:
            code.body += _children(turn) if turn[0].task is Task.CHILD else _own(turn[0], waits)
        waits = any(step.task is Task.SECOND for step in turn)
    return code


def _second(step: Step, functions: list[str]) -> str:
    """Add the function of a step of the second task. Return its start."""
    name = f"second_{len(functions)}"
    lines = [f"\t{line}" for line in _step(step)] or ["\t(void)run;"]
    functions.append("\n".join([f"static void {name}(struct run *run)", "{", *lines, "}", ""]))
    gate = f"MMAP_TESTBED_GATE_{step.gate.upper()}"
    return f"start_second(run, {name}, {gate}, {GATE_MS});"


def _children(group: tuple[Step, ...]) -> Iterator[str]:
    yield "fflush(NULL);"
    if group[0].fails:
        yield f"fail_allocation(run, {group[0].fails});"
    yield "if (!ended(run, fork())) {"
    yield from (f"\t{line}" for step in group for line in _step(step))
    yield "\t_exit(0);"
    yield "}"
    yield "wait(NULL);"


def _own(step: Step, waits: bool) -> Iterator[str]:
    """A step of the first task. If its call fails, the mapping must be as before.

    Args:
        waits: whether the second task may change the mapping meanwhile.
    """
    if not step.fails:
        yield from _step(step)
        return
    looks = step.op not in CHANGING and not waits
    if looks:
        yield "before = view(run, M);"
    yield f"fail_allocation(run, {step.fails});"
    yield from _step(step)
    if looks:
        most = 1 if step.op in IN_PARTS else 0
        yield f'expect_unchanged(run, "{step.op}", M, &before, {most});'


def _step(step: Step) -> Iterator[str]:
    words = step.line.split()
    op, name, rest = words[0], words[1].upper() if len(words) > 1 else "M", words[2:]
    if op == MEMCG:
        yield f"limit_memory(run, {c_bytes(words[1])});"
        return
    first, last = step.pages[0], step.pages[-1]
    pages = f"run->at[{name}].addr + PAGES({first}), PAGES({len(step.pages)})"
    keys = dict(word.split("=", 1) for word in rest if "=" in word)
    if op == "read" and name == ROOM.upper():
        yield "expect_zero(run, ROOM);"
    elif op == "read":
        yield f"read_pages(run, {name}, {first}, {last});"
    elif op == "write":
        yield f"write_pages(run, {name}, {first}, {last}, {rest[1]});"
    elif op in ("munmap", "mlock", "munlock"):
        yield f'did(run, "{op}", {op}({pages}));'
    elif op == "mprotect":
        yield f'did(run, "mprotect", mprotect({pages}, {c_prot(keys["prot"])}));'
    elif op == "madvise":
        yield f'did(run, "madvise", madvise({pages}, MADV_{rest[0].upper()}));'
    elif op == "msync":
        yield f'did(run, "msync", msync({pages}, {c_or("MS_", keys["flags"])}));'
    elif op == "remap_file_pages":
        yield f'did(run, "remap_file_pages", remap_file_pages({pages}, 0,'
        yield f"    {c_bytes(keys['off'])} / page_size(), 0));"
    elif op == "mremap":
        to = keys.get("as", name).upper()
        old = c_bytes(keys["old"]) if "old" in keys else f"run->at[{name}].len"
        flags = c_or("MREMAP_", keys["flags"]) if "flags" in keys else "0"
        yield f"remap(run, {name}, {to}, {old}, {c_bytes(keys['len'])}, {flags},"
        yield f"      {c_address(keys.get('addr'))});"
    elif op == "map":
        yield f"map(run, {name}, run->top, {c_address(keys.get('addr'))}, {c_bytes(keys['len'])},"
        how = f"{c_prot(keys.get('prot', 'rw'))}, {c_flags(keys['flags'])}"
        yield f"    {how}, {c_bytes(keys['off'])});"
    elif op != "hooklog":
        yield f"look(run, {name}, {first});"
