# SPDX-License-Identifier: GPL-2.0
"""A program: the plans of the hooks, one mmap call, and the system calls that follow it."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from testbed.mmap.path import HookPath
from testbed.mmap.plan import NOTHING, Action, Plan, VmOps
from testbed.mmap.prediction import acting, action_extent, number
from testbed.mmap.scenario import Call, Scenario

# An anonymous mapping that a program may make first: `m` is then placed below it, or in it.
ROOM = "room"
ROOM_PAGES = 9

# The file that a hook stores in vm_file.
SPARE = "spare"

# What waits for the task at the gate waits for this long, then the gate opens by itself.
GATE_MS = 60

MEMCG = "memcg"

# What the program's mapping is before and after a step that fails.
LOOK = "maps m"

# Steps that are one system call (docs/probe.md, fail_nth).
_CALLS = frozenset(
    {
        *("map", "munmap", "mprotect", "mremap", "madvise", "mlock", "munlock", "msync"),
        "remap_file_pages",
    }
)

# A longer mapping is not read as a whole.
_TOUCHED_PAGES = 64


class Task(StrEnum):
    """The task that does a step."""

    OWN = "own"
    CHILD = "child"  # steps of a child in a row share one child
    SECOND = "second"  # another task of the process: a hook waits while the next steps run


class Gate(StrEnum):
    """The place of a hook at which a second task waits (docs/probe.md)."""

    NONE = ""  # no other task
    FAULT = "fault"
    CLOSE = "close"
    PREPARE = "prepare"
    MAPPED = "mapped"


class Fault(StrEnum):
    """What a kernel can be made to refuse."""

    ALLOCATION = "allocation"  # one allocation of a system call
    MEMORY = "memory"  # what a memory cgroup does not grant


@dataclass(frozen=True)
class Step:
    """One step of the probe's language (docs/probe.md)."""

    line: str
    task: Task = Task.OWN
    gate: Gate = Gate.NONE  # of a step of the second task
    fails: int | None = None  # this allocation of its call; of the fork, if a child does it

    @property
    def op(self) -> str:
        return self.line.split()[0]

    @property
    def can_fail(self) -> bool:
        """Whether it is one system call that allocates."""
        return self.task is Task.CHILD or (self.task is Task.OWN and self.op in _CALLS)

    @property
    def pages(self) -> range:
        """The pages of the mapping that it names; the first one if it names none."""
        run = next((word for word in self.line.split()[2:] if word[0].isdigit()), "0")
        return range(int(run.partition("-")[0]), int(run.rpartition("-")[2]) + 1)

    @property
    def maps_again(self) -> bool:
        """Whether it maps the file once more, so that a hook may run again or VMAs may merge."""
        words = self.line.split()
        return words[0] == "remap_file_pages" or (words[0] == "map" and words[2] != "anon")


@dataclass(frozen=True, kw_only=True)
class Program:
    """What one execution does, on whatever path. The fields are those of a scenario."""

    plan: Plan = NOTHING
    outer: Plan = NOTHING
    call: Call = field(default_factory=Call)
    room: bool = False
    spare: str = ""  # the step that opens the file SPARE
    spare_plan: Plan = NOTHING
    steps: tuple[Step, ...] = ()
    fails: int | None = None  # this allocation of the mmap call
    memory: int | None = None  # pages that the process may use from the mmap call on

    @property
    def key(self) -> str:
        """A short name, equal for equal programs."""
        return hashlib.sha256(program_text(self).encode()).hexdigest()[:12]

    @property
    def scenario(self) -> Scenario:
        """The program as a scenario, which the model predicts and a path executes."""
        before = [f"map {ROOM} anon len={ROOM_PAGES}p flags=private"] if self.room else []
        if self.spare_plan != NOTHING:
            before.append(" ".join(["plan", SPARE, *self.spare_plan.words()]))
        if self.memory is not None:
            before.append(memory_line(self.memory))
        return Scenario(
            name=f"fuzz-{self.key}",
            plan=self.plan,
            outer=NOTHING if self.outer == NOTHING else self.outer,
            call=self.call,
            before=tuple(before),
            after=tuple(_lines(self.steps)),
            spare=self.spare,
            touch=self.call.pages <= _TOUCHED_PAGES,
            fail_nth=self.fails or 0,
        )

    @property
    def paths(self) -> tuple[HookPath, ...]:
        """The paths that can express the program."""
        return self.scenario.paths

    @property
    def limited(self) -> bool:
        """Whether a memory cgroup limits the process, so that the kernel may kill it."""
        return self.memory is not None or any(step.op == MEMCG for step in self.steps)

    @property
    def faulty(self) -> bool:
        """Whether an allocation may fail that does not fail by itself."""
        return self.limited or self.fails is not None or any(step.fails for step in self.steps)

    def without_faults(self) -> Program:
        steps = (dataclasses.replace(step, fails=None) for step in self.steps if step.op != MEMCG)
        return dataclasses.replace(self, fails=None, memory=None, steps=tuple(steps))

    @property
    def first_merge(self) -> int | None:
        """The index of the first step that maps the file again, among the scenario's steps.

        From there on the paths may differ: the layer merges before it runs a hook, the direct path
        afterwards.
        """
        lines = [line.removeprefix("second ") for line in _lines(self.steps)]
        again = [step.line for step in self.steps if step.maps_again]
        return lines.index(again[0]) if again else None


def _lines(steps: tuple[Step, ...]) -> Iterator[str]:
    for turn in turns_of(steps):
        if not turn:
            yield "join"
        elif turn[0].task is Task.SECOND:
            yield from (f"gate top {turn[0].gate} {GATE_MS}", f"second {turn[0].line}")
        else:
            yield from _children(turn) if turn[0].task is Task.CHILD else _own(turn[0])


def turns_of(steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    """Yield the steps one by one, but those of one child together.

    A turn without a step is the place where the first task waits for the second one: after the next
    turn, or before another step of the second task.
    """
    waits = False
    for turn in _groups(steps):
        is_second = turn[0].task is Task.SECOND
        if waits and is_second:
            yield ()
        yield turn
        if waits and not is_second:
            yield ()
        waits = is_second
    if waits:
        yield ()


def _children(group: tuple[Step, ...]) -> Iterator[str]:
    if group[0].fails:
        yield f"fail_nth {group[0].fails}"
    yield from ["fork", *(step.line for step in group), "endfork"]


def _own(step: Step) -> list[str]:
    """The lines of a step. If its call fails, the mapping must be as before."""
    if not step.fails:
        return [step.line]
    return [LOOK, f"fail_nth {step.fails}", step.line, LOOK]


def memory_line(pages: int) -> str:
    """Return the step that limits the memory of the process from here on."""
    return f"{MEMCG} {pages}p"


def _groups(steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    for task, group in itertools.groupby(steps, lambda step: step.task):
        together = tuple(group)
        yield from [together] if task is Task.CHILD else ((step,) for step in together)


def may_warn(program: Program) -> bool:
    """Whether the kernel may print a warning because it finds an error of the driver.

    These are a range outside of a mapping (include/linux/mm.h), and what mm/util.c does not know: a
    type of action, and an error that is none (IS_ERR_VALUE()).
    """
    plan = program.plan
    wrong = plan.error_override is not None and not _is_error(plan.error_override)
    outside = any(_acts_outside(program, pages) for pages in _mapped(program))
    unknown = plan.action is Action.UNKNOWN
    return wrong or outside or unknown


def _mapped(program: Program) -> Iterator[int]:
    """Yield the pages of each mapping for which the hook runs."""
    yield program.call.pages
    for step in program.steps:
        words = step.line.split()
        if words[0] == "map" and step.maps_again:
            length = next(word for word in words if word.startswith("len="))
            yield -(-number(length.removeprefix("len="), _PAGE) // _PAGE)
        elif words[0] == "remap_file_pages":
            yield len(step.pages)


def _acts_outside(program: Program, pages: int) -> bool:
    """Whether the action's range ends behind a mapping of so many pages."""
    call = dataclasses.replace(program.call, pages=pages)
    scenario = dataclasses.replace(program.scenario, call=call)
    extent = action_extent(scenario, _PAGE)
    if extent is None or acting(scenario).action not in (Action.REMAP, Action.IOREMAP):
        return False
    return extent.start + extent.size > pages * _PAGE


def _is_error(text: str) -> bool:
    """Whether a text is 0 or the negative number of an error, for the kernel."""
    return text.startswith("-E") or -_MAX_ERRNO <= int(text, 0) <= 0


_MAX_ERRNO = 4095

# For the prediction of a warning, which is the same for any page size.
_PAGE = 4096


def program_text(program: Program) -> str:
    """Return a program as JSON. `program_from` undoes it."""
    return json.dumps(_pruned(dataclasses.asdict(program)), sort_keys=True)


def program_from(text: str) -> Program:
    """Parse a program.

    Raises:
        ValueError: the text is not one.
    """
    try:
        values = json.loads(text)
        return Program(
            plan=_plan(values.get("plan", {})),
            outer=_plan(values.get("outer", {})),
            call=Call(**values.get("call", {})),
            room=bool(values.get("room", False)),
            spare=str(values.get("spare", "")),
            spare_plan=_plan(values.get("spare_plan", {})),
            steps=tuple(
                Step(
                    str(step["line"]),
                    Task(step.get("task", Task.OWN)),
                    Gate(step.get("gate", Gate.NONE)),
                    step.get("fails"),
                )
                for step in values.get("steps", [])
            ),
            fails=values.get("fails"),
            memory=values.get("memory"),
        )
    except (TypeError, KeyError, AttributeError) as exc:
        raise ValueError(f"no program: {exc}") from exc


def _pruned(values: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what was left out, so that programs are short to read."""
    kept = {}
    for key, value in values.items():
        inner = _pruned(value) if isinstance(value, dict) else value
        if inner is not None and inner is not False and inner not in ("", {}, (), []):
            kept[key] = inner
    return kept


def _plan(values: Mapping[str, Any]) -> Plan:
    enums: dict[str, Callable[[Any], Any]] = {"vm_ops": VmOps, "action": Action}
    found: dict[str, Any] = dict(values)
    found |= {key: enums[key](value) for key, value in values.items() if key in enums}
    return Plan(**found)
