# SPDX-License-Identifier: GPL-2.0
"""Programs of `testbed fuzz` in which allocations fail, or whose memory has a limit."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fuzz_parts import MAPS, VERSION, Facts, ran

from testbed.errors import GuestTimeout, ProbeKilled
from testbed.fuzz.drawing import Drawn, draw, redraw
from testbed.fuzz.exchange import Ran
from testbed.fuzz.faults import (
    a_failed_allocation_changes_nothing,
    failed_allocations,
    faults_of,
)
from testbed.fuzz.judge import Deviation, deviations
from testbed.fuzz.known import KNOWN, unexplained
from testbed.fuzz.program import Fault, Program, Step, Task, program_from, program_text
from testbed.kernel.build import Kernel
from testbed.mmap.execution import Execution, Steps, execution_script
from testbed.mmap.observation import parse_observation
from testbed.mmap.path import HookPath
from testbed.mmap.plan import Plan
from testbed.mmap.script import Script

DIRECT, STACK = HookPath.DIRECT, HookPath.STACK
ALL = frozenset(Fault)


def drawn(faults: frozenset[Fault], count: int = 150) -> list[Drawn]:
    rng = random.Random(1)
    return [each for _ in range(count) if (each := draw(rng, faults=faults)) is not None]


def titles(found: Ran) -> list[str]:
    return [each.title for each in deviations(found, VERSION)]


def test_faults_are_drawn_only_where_the_kernel_has_them() -> None:
    assert not any(each.program.faulty for each in drawn(frozenset()))
    failing = [each.program for each in drawn(frozenset({Fault.ALLOCATION}))]
    assert not any(program.limited for program in failing)
    assert sum(program.fails is not None for program in failing) > 20
    assert sum(any(step.fails for step in program.steps) for program in failing) > 20
    assert sum(not program.faulty for program in failing) > 20
    assert sum(each.program.limited for each in drawn(ALL)) > 5


def test_the_choices_of_a_program_lead_to_it_on_a_kernel_without_faults_too() -> None:
    for each in drawn(ALL, 60):
        again, plain = redraw(each.code, ALL), redraw(each.code)
        assert again is not None
        assert plain is not None
        assert again.program == each.program
        assert plain.program == each.program.without_faults()


def test_a_program_with_faults_is_the_same_after_it_was_written_and_read() -> None:
    for each in drawn(ALL, 60):
        assert program_from(program_text(each.program)) == each.program


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [
        ({}, set()),
        ({"FAILSLAB": "y"}, set()),
        (
            {"FAULT_INJECTION_DEBUG_FS": "y", "FAILSLAB": "y", "FAIL_PAGE_ALLOC": "y"},
            {Fault.ALLOCATION},
        ),
        ({"MEMCG": "y"}, {Fault.MEMORY}),
    ],
)
def test_a_kernel_has_faults_by_its_symbols(
    symbols: Mapping[str, str], expected: set[Fault]
) -> None:
    kernel = SimpleNamespace(symbol=lambda name: symbols.get(name, "n"))
    assert faults_of(cast(Kernel, kernel)) == expected


def test_the_line_before_a_call_lets_its_allocation_fail() -> None:
    steps = (
        Step("munmap m 0", fails=3),
        Step("vma m", Task.CHILD, fails=7),
        Step("memcg 4p"),
    )
    program = Program(fails=2, memory=8, steps=steps)
    script, own = execution_script(program.scenario, DIRECT)
    assert script.lines[own.map - 2] == "fail_nth 2"
    assert "memcg 8p" in script.lines[: own.map]
    assert program.scenario.after == (
        *("maps m", "fail_nth 3", "munmap m 0", "maps m"),
        *("fail_nth 7", "fork", "vma m", "endfork", "memcg 4p"),
    )
    assert program.without_faults() == Program(
        steps=(Step("munmap m 0"), Step("vma m", Task.CHILD))
    )


def fail_the_call(facts: Facts, steps: Steps) -> None:
    facts[steps.map] |= {"injected": True, "errno": 12, "error": "ENOMEM"}


def test_after_a_failure_paths_may_differ() -> None:
    failing = dataclasses.replace(MAPS, fails=2)

    def with_program(found: Ran) -> Ran:
        return dataclasses.replace(found, program=failing)

    found = with_program(ran(MAPS, DIRECT, STACK, doctor=fail_the_call, sick=STACK))
    assert unexplained(failing, deviations(found, VERSION), KNOWN) == []

    def without_a_failure(facts: Facts, steps: Steps) -> None:
        fail_the_call(facts, steps)
        facts[steps.map]["injected"] = False

    found = with_program(ran(MAPS, DIRECT, STACK, doctor=without_a_failure, sick=STACK))
    assert "errno of mmap" in titles(found)


def test_failed_allocations_are_counted() -> None:
    found = ran(MAPS, DIRECT, STACK, doctor=fail_the_call, sick=STACK)
    assert [*map(failed_allocations, found.executions.values())] == [0, 1]


def test_after_a_failure_the_ledger_judges() -> None:
    def leak(facts: Facts, steps: Steps) -> None:
        fail_the_call(facts, steps)
        facts[steps.end["top"]]["file"] += 1

    found = ran(MAPS, DIRECT, STACK, doctor=leak, sick=STACK)
    assert "file of top after munmap" in titles(found)


def vma(start: int, end: int, perms: str = "rw-s", flags: str = "rd wr") -> dict[str, Any]:
    return {
        "start": hex(start), "end": hex(end), "perms": perms, "offset": hex(start),
        "path": "/dev/x", "vmflags": flags.split(), "smaps": {},
    }  # fmt: skip


WHOLE = [vma(0, 0x4000)]
SPLIT = [vma(0, 0x1000), vma(0x1000, 0x4000)]
CHANGED = [vma(0, 0x1000, "r--s", "rd"), vma(0x1000, 0x4000)]


def after_a_failure(
    call: str, before: list[Any], after: list[Any], *, first: str = "env", **values: Any
) -> list[str]:
    """Return what is wrong if `call` fails between two looks at the mapping."""
    script = Script([first, "maps m", "fail_nth 1", call, "maps m"])
    how = {"injected": True, "errno": 12, "error": "ENOMEM", **values}
    facts: list[dict[str, Any]] = [
        {"op": "env", "page_size": 4096},
        {"op": "maps", "vmas": before},
        {"op": "fail_nth"},
        {"op": call.split()[0], **how},
        {"op": "maps", "vmas": after},
    ]
    lines = [json.dumps({"step": number, **fact}) for number, fact in enumerate(facts, 1)]
    seen = parse_observation(script, "\n".join([*lines, '{"done": true}']), "recorded")
    execution = Execution(MAPS.scenario, DIRECT, Steps(env=1), seen)
    return [found.what for found in a_failed_allocation_changes_nothing(execution)]


def test_a_call_that_fails_leaves_the_mapping_as_it_was() -> None:
    assert after_a_failure("munmap m 0", WHOLE, WHOLE) == []
    assert after_a_failure("munmap m 0", WHOLE, SPLIT) == []
    assert after_a_failure("munmap m 0", WHOLE, CHANGED) == ["mapping after a failed munmap"]
    assert after_a_failure("mprotect m prot=r", WHOLE, CHANGED) != []


def test_some_calls_may_have_done_a_part() -> None:
    assert after_a_failure("mprotect m prot=r", SPLIT, CHANGED) == []
    assert after_a_failure("munmap m", SPLIT, CHANGED) != []
    assert after_a_failure("mlock m", WHOLE, CHANGED) == []
    assert after_a_failure("munmap m 0", WHOLE, CHANGED, injected=False) == []
    assert after_a_failure("munmap m 0", WHOLE, CHANGED, error="") == []
    assert after_a_failure("munmap m 0", WHOLE, CHANGED, first="second read m 0") == []


def test_a_process_at_its_limit_may_be_killed() -> None:
    killed = ProbeKilled("killed")
    assert titles(Ran(MAPS, failures={STACK: killed})) == ["killed program"]
    for limited in (
        dataclasses.replace(MAPS, memory=4),
        dataclasses.replace(MAPS, steps=(Step("memcg 4p"),)),
    ):
        assert titles(Ran(limited, failures={STACK: killed})) == []
        assert titles(Ran(limited, failures={STACK: GuestTimeout("no answer")})) != []


def test_a_limit_ends_the_comparison() -> None:
    def limit(facts: Facts, steps: Steps) -> None:
        facts[steps.query].clear()
        facts[steps.query] |= {"step": steps.query, "op": "memcg", "errno": 0}
        facts[steps.read]["pages"][2]["content"] = "pool:9"

    def change(facts: Facts, steps: Steps) -> None:
        facts[steps.read]["pages"][2]["content"] = "pool:9"

    difference = "read.pages.content differs"
    strange = dataclasses.replace(MAPS, call=dataclasses.replace(MAPS.call, prot="x"))
    for doctor, expected in ((change, True), (limit, False)):
        found = ran(MAPS, DIRECT, STACK, doctor=doctor, sick=STACK)
        shown = titles(dataclasses.replace(found, program=strange))
        assert (difference in shown) is expected


def test_a_failure_is_a_refusal_that_shows_a_known_leak() -> None:
    kept = "Committed_AS of meminfo after munmap is 8, not 4"
    fails = Program(plan=Plan(replace="shmem"), fails=9)
    leak = Deviation("leak", DIRECT, kept)
    assert unexplained(fails, [leak], KNOWN) == []
    assert unexplained(fails.without_faults(), [leak], KNOWN) == [leak]
