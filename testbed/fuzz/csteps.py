# SPDX-License-Identifier: GPL-2.0
"""The steps of a program as C."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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


@dataclass(frozen=True)
class _Call:
    """A step of the mapping `name`, as C names it."""

    step: Step
    op: str
    name: str
    rest: tuple[str, ...]

    @classmethod
    def of(cls, step: Step) -> _Call:
        op, *words = step.line.split()
        return cls(step, op, words[0].upper() if words else "M", tuple(words[1:]))

    @property
    def keys(self) -> dict[str, str]:
        return dict(word.split("=", 1) for word in self.rest if "=" in word)

    @property
    def first(self) -> int:
        return self.step.pages[0]

    @property
    def pages(self) -> str:
        """Address and length of its pages."""
        return f"run->at[{self.name}].addr + PAGES({self.first}), PAGES({len(self.step.pages)})"


def _step(step: Step) -> Iterator[str]:
    call = _Call.of(step)
    return _STEPS.get(call.op, _look)(call)


def _memcg(call: _Call) -> Iterator[str]:
    yield f"limit_memory(run, {c_bytes(call.step.line.split()[1])});"


def _read(call: _Call) -> Iterator[str]:
    if call.name == ROOM.upper():
        yield "expect_zero(run, ROOM);"
    else:
        yield f"read_pages(run, {call.name}, {call.first}, {call.step.pages[-1]});"


def _write(call: _Call) -> Iterator[str]:
    last, byte = call.step.pages[-1], call.rest[1]
    yield f"write_pages(run, {call.name}, {call.first}, {last}, {byte});"


def _on_pages(call: _Call) -> Iterator[str]:
    """A call whose only arguments are its pages."""
    yield f'did(run, "{call.op}", {call.op}({call.pages}));'


def _mprotect(call: _Call) -> Iterator[str]:
    yield f'did(run, "mprotect", mprotect({call.pages}, {c_prot(call.keys["prot"])}));'


def _madvise(call: _Call) -> Iterator[str]:
    yield f'did(run, "madvise", madvise({call.pages}, MADV_{call.rest[0].upper()}));'


def _msync(call: _Call) -> Iterator[str]:
    yield f'did(run, "msync", msync({call.pages}, {c_or("MS_", call.keys["flags"])}));'


def _remap_file_pages(call: _Call) -> Iterator[str]:
    yield f'did(run, "remap_file_pages", remap_file_pages({call.pages}, 0,'
    yield f"    {c_bytes(call.keys['off'])} / page_size(), 0));"


def _mremap(call: _Call) -> Iterator[str]:
    name, keys = call.name, call.keys
    to = keys.get("as", name).upper()
    old = c_bytes(keys["old"]) if "old" in keys else f"run->at[{name}].len"
    flags = c_or("MREMAP_", keys["flags"]) if "flags" in keys else "0"
    yield f"remap(run, {name}, {to}, {old}, {c_bytes(keys['len'])}, {flags},"
    yield f"      {c_address(keys.get('addr'))});"


def _map(call: _Call) -> Iterator[str]:
    keys = call.keys
    where = f"{c_address(keys.get('addr'))}, {c_bytes(keys['len'])}"
    yield f"map(run, {call.name}, run->top, {where},"
    how = f"{c_prot(keys.get('prot', 'rw'))}, {c_flags(keys['flags'])}"
    yield f"    {how}, {c_bytes(keys['off'])});"


def _look(call: _Call) -> Iterator[str]:
    """Any other step looks at a page, for example by ptrace, and changes nothing."""
    yield f"look(run, {call.name}, {call.first});"


def _nothing(call: _Call) -> Iterator[str]:
    return iter(())


_STEPS: Mapping[str, Callable[[_Call], Iterator[str]]] = {
    MEMCG: _memcg,
    "read": _read,
    "write": _write,
    "munmap": _on_pages,
    "mlock": _on_pages,
    "munlock": _on_pages,
    "mprotect": _mprotect,
    "madvise": _madvise,
    "msync": _msync,
    "remap_file_pages": _remap_file_pages,
    "mremap": _mremap,
    "map": _map,
    "hooklog": _nothing,
}
