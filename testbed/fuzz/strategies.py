# SPDX-License-Identifier: GPL-2.0
"""Hypothesis's strategies for programs: values at, around and far beyond each bound.

A strategy lists the simple values first, because Hypothesis shrinks towards them.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
import string
from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from testbed.fuzz.program import (
    ROOM,
    ROOM_PAGES,
    SPARE,
    Fault,
    Gate,
    Program,
    Step,
    Task,
    memory_line,
)
from testbed.mmap.plan import (
    NOTHING,
    VM_DONTCOPY,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_IO,
    VM_MAYEXEC,
    VM_MAYWRITE,
    VM_MIXEDMAP,
    VM_NOHUGEPAGE,
    VM_RAND_READ,
    VM_SEQ_READ,
    Action,
    Plan,
    VmOps,
)
from testbed.mmap.scenario import Call

MAX_STEPS = 20

# Flags that every correct driver may set. Others, such as VM_ACCOUNT, break the core's accounts.
_SETTABLE = (
    *(VM_DONTCOPY, VM_DONTDUMP, VM_DONTEXPAND, VM_RAND_READ, VM_SEQ_READ, VM_NOHUGEPAGE),
    *(VM_IO, VM_MIXEDMAP),
)
_CLEARABLE = (VM_MAYEXEC, VM_MAYWRITE)

# Pages of a mapping: usual, the ends of the pool (64) and of a page table (512), and far beyond.
_PAGES = (4, 1, 2, 3, 6, 4, 3, 16, 63, 64, 65, 512, 513, 1 << 20, 1 << 35)
_OFFSETS = (0, 1, 5, 0, 1, 5, 63, 64, 65, (1 << 32) - 1, (1 << 51) - 1, (1 << 52) - 1)
_COOKIES = (0x51, 1, 0xFFFFFFFF)
_ERRORS = ("-EIO", "-ENOMEM", "-EAGAIN", "-EINVAL", "-ENODEV", "-EBUSY", "-ENOSYS", "-1", "-4095")
_OVERRIDES = ("-EAGAIN", "-1", "0", "5", "-4096", "2147483647", "-2147483648")

_PLACED = (Action.REMAP, Action.IOREMAP, Action.KERNEL_PAGES)
_ACTIONS = (*_PLACED, Action.SIMPLE_IOREMAP, Action.UNKNOWN)

_PROTS = ("rw", "r", "none", "w", "rwx", "rx", "x")
_SHARINGS = ("shared", "private", "shared_validate")
_EXTRAS = (*("noreserve", "locked", "populate", "nonblock", "stack", "32bit", "sync", "growsdown"),)

_ADVICES = (
    *("dontneed", "willneed", "remove", "free", "dontfork", "dofork", "wipeonfork", "keeponfork"),
    *("dontdump", "dodump", "hugepage", "nohugepage", "mergeable", "unmergeable"),
    *("populate_read", "populate_write", "normal", "random", "sequential"),
)

# Allocations of a system call, by their order, and pages of a memory cgroup.
_NTH = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 50)
_LIMITS = (4, 1, 2, 8, 16, 32)

# The place of a fault: the mmap call, else the index of a step.
_CALL = -1

# A field of a plan is left out this many times as often as it is set.
_NONES = 5
_SELDOM = 15

# Lengths and offsets in bytes: units and alignments that no whole number of pages has.
_BYTES = ("1p", "2p", "0", "1", "4095", "4097", "7p", "513p", "0x7fffffffffffffff", "1m")


def _of(*values: Any) -> SearchStrategy[Any]:
    return st.sampled_from(values)


@st.composite
def programs(draw: DrawFn, faults: frozenset[Fault] = frozenset()) -> Program:
    """The strategy of all programs, with the faults that a kernel can be made to have.

    The faults are the last choices: without them the choices lead to the same program.
    """
    room = draw(_of(False, True, True))
    call = draw(_calls(room))
    plan = draw(_plans(call))
    spare, spare_plan = draw(_spares()) if plan.replace == "file" else ("", NOTHING)
    outer = draw(_OUTERS) if draw(_of(False, False, True)) else NOTHING
    near = room and call.addr and call.pages <= 4 and call.offset < 64
    merge = near and draw(st.booleans())
    drawn = draw(st.lists(_steps(call, room), max_size=MAX_STEPS - bool(merge)))
    steps = _once([*([Step(_beside(call))] if merge else []), *drawn])
    program = Program(
        plan=plan,
        outer=outer,
        call=call,
        room=room,
        spare=spare,
        spare_plan=spare_plan,
        steps=tuple(steps),
    )
    if Fault.ALLOCATION in faults:
        program = draw(_with_failures(program))
    return draw(_with_limit(program)) if Fault.MEMORY in faults else program


@st.composite
def _with_failures(draw: DrawFn, program: Program) -> Program:
    """Let allocations fail: of the mmap call, of steps, or of both."""
    able = [at for at, step in enumerate(program.steps) if step.can_fail]
    for place in draw(st.lists(st.sampled_from((_CALL, _CALL, *able)), max_size=2)):
        nth = draw(st.sampled_from(_NTH))
        if place == _CALL:
            program = dataclasses.replace(program, fails=nth)
        else:
            steps = list(program.steps)
            steps[place] = dataclasses.replace(steps[place], fails=nth)
            program = dataclasses.replace(program, steps=tuple(steps))
    return program


@st.composite
def _with_limit(draw: DrawFn, program: Program) -> Program:
    """Seldom: limit the memory, from the mmap call on or from one of the steps on."""
    pages = draw(_rarely(*_LIMITS))
    if pages is None:
        return program
    place = draw(st.sampled_from((_CALL, *range(len(program.steps)))))
    if place == _CALL:
        return dataclasses.replace(program, memory=pages)
    limit = Step(memory_line(pages))
    steps = (*program.steps[:place], limit, *program.steps[place:])
    return dataclasses.replace(program, steps=steps)


def _once(steps: Iterable[Step]) -> Iterator[Step]:
    """Yield the steps, but each name for a mapping once: the program's end unmaps it by name."""
    names: set[str] = set()
    for step in steps:
        made = set(_MAKES.findall(step.line))
        if not made & names:
            yield step
        names |= made


@st.composite
def _calls(draw: DrawFn, room: bool) -> Call:
    inside = room and draw(_of(False, True, True))
    pages = draw(_of(4, 1, 2, 3, 6) if inside else st.sampled_from(_PAGES))
    words = [draw(st.sampled_from(_SHARINGS))]
    if draw(_of(False, False, True)):
        words += sorted(draw(st.sets(st.sampled_from(_EXTRAS), min_size=1, max_size=2)))
    words += ["fixed"] if inside else []
    return Call(
        pages=pages,
        offset=draw(st.sampled_from(_OFFSETS)),
        prot=draw(st.sampled_from(_PROTS)),
        flags=",".join(words),
        addr=draw(_of(ROOM, f"{ROOM}+1p", f"{ROOM}+3p")) if inside else None,
    )


@functools.cache
def _plans(call: Call) -> SearchStrategy[Plan]:
    """Plans for a call. Each field is one choice, so that Hypothesis can drop each alone."""
    actions = (None, *_ACTIONS, None, None, None)
    return st.sampled_from(actions).flatmap(lambda action: _plans_with(action, call))


@functools.cache
def _plans_with(action: Action | None, call: Call) -> SearchStrategy[Plan]:
    ops = (VmOps.FULL, VmOps.NO_CLOSE, VmOps.NO_MAPPED, VmOps.FULL, VmOps.NULL, VmOps.LEAVE)
    return st.builds(
        Plan,
        action=st.just(action),
        vm_ops=st.sampled_from((None, *ops)),
        set_flags=_rarely(*_masks(_SETTABLE)),
        pgoff=_rarely(*_OFFSETS),
        private=_rarely(*_COOKIES),
        hook_error=_seldom(*_ERRORS),
        # mmap_legacy refuses an unknown action before it gets so far.
        hook_error_after=st.none() if action is Action.UNKNOWN else _seldom(*_ERRORS),
        mapped_error=_rarely(*_ERRORS),
        mapped_private=_rarely(*_COOKIES),
        error_override=_rarely(*_OVERRIDES),
        hide=_rarely(1),
        replace=_of(*(None,) * 6, "file", "shmem"),
        shrink_start=_rarely("1p", "2p", "513p"),
        shrink_end=_rarely("1p", "2p", "513p"),
        scribble=_rarely(1),
        clear_flags=st.none() if "w" in call.prot else _rarely(*_masks(_CLEARABLE)),
        **(_action_fields(action, call) if action else {"page_prot": _rarely("noncached")}),
    )


def _rarely(*values: Any) -> SearchStrategy[Any]:
    """One of the values, or mostly None."""
    return st.sampled_from((*(None,) * (_NONES * len(values)), *values))


def _seldom(*values: Any) -> SearchStrategy[Any]:
    """One of the values, or nearly always None: what ends a program before anything happens."""
    return st.sampled_from((*(None,) * (_SELDOM * len(values)), *values))


def _masks(bits: tuple[int, ...]) -> tuple[int, ...]:
    return (*bits, *(first | then for first, then in itertools.combinations(bits, 2)))


def _action_fields(action: Action, call: Call) -> dict[str, SearchStrategy[Any]]:
    pages = min(call.pages, ROOM_PAGES)
    fields = {"pool_page": _rarely(1, 30, 60, 62, 63)}
    if action is Action.UNKNOWN:
        return fields
    if action is Action.SIMPLE_IOREMAP:
        sizes = ("4p", "1p", "64p", "65p", "0", "1", "0xffffffffffffffff")
        return {**fields, "pool_byte": _rarely(1, 0xFFF), "action_size": _rarely(*sizes)}
    fields |= {
        "action_offset": _rarely(*(f"{page}p" for page in range(pages + 2))),
        "action_size": _rarely(*(f"{page}p" for page in range(1, pages + 3))),
        "widen_end": _rarely("1p", "2p"),
    }
    if action is Action.KERNEL_PAGES:
        fields["bad_page"] = _rarely(*range(pages))
    return fields


@st.composite
def _spares(draw: DrawFn) -> tuple[str, Plan]:
    node = draw(_of("direct", "direct", "legacy", "custom", "memfd"))
    if node == "memfd":
        return f"memfd {SPARE} 64p", NOTHING
    error = draw(st.sampled_from((*(None,) * len(_ERRORS), *_ERRORS)))
    return f"open {SPARE} /dev/mmap_{node}", Plan(hook_error=error) if error else NOTHING


def _outers() -> SearchStrategy[Plan]:
    return st.builds(
        Plan,
        private=_of(None, 0x77),
        set_flags=_rarely(*_masks(_SETTABLE)),
        pgoff=_rarely(*_OFFSETS[:9]),
        vm_ops=_rarely(VmOps.FULL, VmOps.NO_CLOSE, VmOps.NO_MAPPED),
        hook_error=_seldom(*_ERRORS),
        outer_error=_seldom(*_ERRORS),
    )


_OUTERS = _outers()

# Steps of any task, and of the program's own. Braces stand for what _fill() draws.
_ANY = (
    "read m {run}",
    "write m {run} {value}",
    "munmap m {run}",
    "mprotect m prot={prot} {run}",
    "madvise m {advice} {run}",
    "mlock m {run}",
    "munlock m {run}",
    "msync m {run} flags={sync}",
    "maps m",
    "query m",
    "vma m",
    "pagemap m {run}",
    "ptes m {run}",
    "hooklog",
)
_OWN = (
    "mremap m len={bytes}",
    "mremap m len={bytes} flags=maymove",
    "mremap m len={bytes} old=0 flags=maymove as=n",
    "mremap m len=4p flags=maymove,dontunmap as=n",
    "map o top len={bytes} off={bytes} flags={sharing}",
    "remap_file_pages m off={pages} {run}",
)
_SECOND = (
    "read m {run}",
    "write m {run} {value}",
    "munmap m {run}",
    "mremap m len={bytes} flags=maymove",
    "madvise m {advice} {run}",
    "map o top len={bytes} off={bytes} flags={sharing}",
)
_ROOM_ANY = (f"read {ROOM} all", f"maps {ROOM}")
_ROOM_OWN = (f"mremap m len=2p old=2p flags=maymove,fixed addr={ROOM}+6p as=n",)

_FILLS = {
    "value": _of("0x1234", "0"),
    "prot": st.sampled_from(_PROTS),
    "advice": st.sampled_from(_ADVICES),
    "sync": _of("sync", "async", "invalidate", "sync,async"),
    "bytes": st.sampled_from(_BYTES),
    "sharing": st.sampled_from(_SHARINGS),
    "pages": _of("0p", "1p", "65p"),
}

_GATES = _of(Gate.FAULT, Gate.CLOSE, Gate.PREPARE, Gate.MAPPED)

# The name that a step gives to a new mapping.
_MAKES = re.compile(r"(?<=^map )\w+|(?<= as=)\w+")

# Runs of pages from the start of a mapping.
_RUNS = ("0", "1", "0-1", "2", "1-2", "3", "0-3", "2-5", "63", "0-63")


@functools.cache
def _runs(pages: int) -> SearchStrategy[str]:
    """Runs within the mapping. What lies behind it is not the program's."""
    return st.sampled_from([run for run in _RUNS if int(run.split("-")[-1]) < pages])


@functools.cache
def _steps(call: Call, room: bool) -> SearchStrategy[Step]:
    any_lines = (*_ANY, *(_ROOM_ANY if room else ()))
    own_lines = (*_OWN, *(_ROOM_OWN if room else ()))
    choices = [(line, Task.OWN) for line in (*any_lines, *own_lines)]
    choices += [(line, Task.CHILD) for line in any_lines]
    # A step that waits for the second task takes as long as many programs.
    choices = [*choices, *choices, *((line, Task.SECOND) for line in _SECOND)]
    return _filled(st.sampled_from(choices), _runs(call.pages))


@st.composite
def _filled(
    draw: DrawFn, choices: SearchStrategy[tuple[str, Task]], runs: SearchStrategy[str]
) -> Step:
    line, task = draw(choices)
    fields = [name for _, name, _, _ in string.Formatter().parse(line) if name]
    values = {name: draw(runs if name == "run" else _FILLS[name]) for name in fields}
    gate = draw(_GATES) if task is Task.SECOND else Gate.NONE
    return Step(line.format(**values), task, gate)


def _beside(call: Call) -> str:
    """Map the next pages of the file right behind the mapping: VMAs that can merge."""
    where = f"addr=m+{call.pages}p flags={call.flags} prot={call.prot}"
    return f"map p top len=2p off={call.offset + call.pages}p {where}"
