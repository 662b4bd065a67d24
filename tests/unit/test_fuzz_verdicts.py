# SPDX-License-Identifier: GPL-2.0
"""What `testbed fuzz` takes for a deviation, and what it takes for known."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from fuzz_parts import FAILS, MAPS, VERSION, Facts, ran

from testbed.errors import (
    GuestTimeout,
    KernelSplat,
    ProbeKilled,
    SetupError,
    TestbedError,
    UnbalancedLedger,
)
from testbed.fuzz.exchange import Ran
from testbed.fuzz.judge import Deviation, deviations, within_model
from testbed.fuzz.known import KNOWN, known_without, safe_paths, unexplained
from testbed.fuzz.program import Program, Step
from testbed.mmap.execution import Steps
from testbed.mmap.path import HookPath
from testbed.mmap.plan import Action, Plan, VmOps
from testbed.mmap.scenario import Call

_FINDINGS = Path(__file__).parents[2] / "docs" / "findings.md"

DIRECT, STACK = HookPath.DIRECT, HookPath.STACK


def titles(found: Ran) -> list[str]:
    return [each.title for each in deviations(found, VERSION)]


def shown(found: Ran, *forgotten: str) -> list[str]:
    known = known_without(forgotten)
    unknown = unexplained(found.program, deviations(found, VERSION), known)
    return [each.title for each in unknown]


@pytest.mark.parametrize("program", [MAPS, FAILS], ids=["maps", "fails"])
def test_a_right_execution_shows_only_what_is_known(program: Program) -> None:
    assert titles(ran(program, DIRECT)) == []
    assert shown(ran(program, DIRECT, STACK)) == []


def test_mapped_that_gets_another_file_is_a_deviation_until_it_is_known() -> None:
    found = ran(MAPS, DIRECT, STACK)
    assert shown(found, "KD9") == ["file of mapped(), which is not the file of its hook,"]
    (deviation,) = unexplained(MAPS, deviations(found, VERSION), known_without(["KD9"]))
    assert deviation.path is STACK
    assert deviation.name == "file-of-mapped-which-is-not-the-file-of-its-hook"


def test_a_reference_that_stays_is_a_deviation() -> None:
    def leak(facts: Facts, steps: Steps) -> None:
        facts[steps.end["top"]]["file"] += 1

    found = ran(MAPS, DIRECT, STACK, doctor=leak, sick=STACK)
    assert "file of top after munmap" in shown(found)


def test_the_ledger_judges_a_program_that_the_model_does_not_know() -> None:
    def leak(facts: Facts, steps: Steps) -> None:
        facts[steps.end["top"]]["file"] += 1
        facts[steps.map]["errno"] = 22
        facts[steps.map]["error"] = "EINVAL"

    strange = dataclasses.replace(MAPS, call=dataclasses.replace(MAPS.call, prot="x"))
    assert not within_model(strange)
    execution = ran(MAPS, DIRECT, doctor=leak, sick=DIRECT).executions[DIRECT]
    found = Ran(strange, {DIRECT: dataclasses.replace(execution, scenario=strange.scenario)})
    assert titles(found) == ["file of top after munmap without the layer"]


def test_a_difference_is_titled_by_its_field_without_numbers() -> None:
    def change(facts: Facts, steps: Steps) -> None:
        facts[steps.read]["pages"][2]["content"] = "pool:9"

    found = ran(MAPS, DIRECT, STACK, doctor=change, sick=STACK)
    assert "read.pages.content differs" in shown(found)


def test_a_difference_behind_a_merge_says_nothing() -> None:
    def change(facts: Facts, steps: Steps) -> None:
        facts[steps.end["status"]]["fields"]["VmSize"] += 8

    merging = dataclasses.replace(MAPS, steps=(Step("map o top len=1p off=0p flags=shared"),))
    plain = ran(MAPS, DIRECT, STACK, doctor=change, sick=STACK)
    assert "status.VmSize differs" in shown(plain)
    executions = {
        path: dataclasses.replace(each, steps=dataclasses.replace(each.steps, after=range(1, 2)))
        for path, each in plain.executions.items()
    }
    assert "status.VmSize differs" not in shown(Ran(merging, executions))


def test_memory_that_nobody_wrote_is_zero() -> None:
    def rename(facts: Facts, steps: Steps) -> None:
        facts[steps.read]["pages"][0]["content"] = "pool:9"

    program = dataclasses.replace(MAPS, room=True)
    execution = ran(MAPS, DIRECT, doctor=rename, sick=DIRECT).executions[DIRECT]
    seen = execution.seen
    lines = seen.script.splitlines()
    lines[execution.steps.read - 1] = "read room all"
    changed = dataclasses.replace(
        execution,
        scenario=program.scenario,
        seen=dataclasses.replace(seen, script="\n".join(lines)),
    )
    assert "memory behind the mapping without the layer" in titles(Ran(program, {DIRECT: changed}))
    inside = dataclasses.replace(program, call=dataclasses.replace(MAPS.call, addr="room+1p"))
    changed = dataclasses.replace(changed, scenario=inside.scenario)
    assert "memory behind the mapping without the layer" not in titles(
        Ran(inside, {DIRECT: changed})
    )


@pytest.mark.parametrize(
    ("error", "title"),
    [
        (GuestTimeout("probe did not end within 10 s"), "hang"),
        (KernelSplat("hung task: hung task in __mmap_region"), "hang"),
        (
            KernelSplat("bad page: BUG: Bad page map in process probe  pte:80000001025"),
            "bad page: BUG: Bad page map in process probe pte:N",
        ),
        (
            UnbalancedLedger("after the test Shmem is 12 kB, was 8 kB; x has 1 references, had 0"),
            "ledger: Shmem and x",
        ),
    ],
)
def test_what_follows_a_program_is_a_deviation(error: TestbedError, title: str) -> None:
    assert shown(Ran(MAPS, aftermath=error)) == [title]


def test_a_killed_program_is_a_deviation_on_its_path() -> None:
    (found,) = deviations(Ran(MAPS, failures={STACK: ProbeKilled("killed")}), VERSION)
    assert (found.title, found.path) == ("killed program", STACK)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Plan(action=Action.UNKNOWN), True),
        (Plan(action=Action.REMAP, action_offset="3p", action_size="2p"), True),
        (Plan(action=Action.REMAP, action_offset="2p", action_size="2p"), False),
        (Plan(error_override="5"), True),
        (Plan(error_override="-4096"), True),
        (Plan(error_override="-2147483648"), True),
        (Plan(error_override="-EAGAIN"), False),
        (Plan(error_override="-1"), False),
        (Plan(error_override="0"), False),
    ],
)
def test_the_warning_about_a_wrong_driver_is_expected(plan: Plan, expected: bool) -> None:
    splat = KernelSplat("warning: WARNING in mmap_action_prepare")
    assert (shown(Ran(Program(plan=plan), aftermath=splat)) == []) is expected
    bug = KernelSplat("warning: WARNING in a; bug: BUG in b")
    assert shown(Ran(Program(plan=plan), aftermath=bug)) != []


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("map o top len=1p off=1p flags=shared", True),
        ("map o top len=4097 off=1p flags=shared", False),
        ("map room anon len=1p flags=private", False),
        ("remap_file_pages m off=1p 2", True),
        ("remap_file_pages m off=1p 0-1", False),
        ("mremap m len=1p", False),
    ],
)
def test_the_warning_about_a_second_shorter_mapping_is_expected(step: str, expected: bool) -> None:
    splat = KernelSplat("warning: WARNING in apply_to_desc")
    plan = Plan(action=Action.REMAP, action_size="2p")
    program = Program(plan=plan, call=Call(pages=4), steps=(Step(step),))
    assert (shown(Ran(program, aftermath=splat)) == []) is expected


def test_every_known_defect_is_in_the_findings() -> None:
    sections = set(re.findall(r"^## (KD\w+):", _FINDINGS.read_text(), flags=re.MULTILINE))
    assert {each.name for each in KNOWN} <= sections


def test_an_unknown_defect_cannot_be_forgotten() -> None:
    with pytest.raises(SetupError, match="no known defect is called KD111: did you mean KD1"):
        known_without(["KD111"])


def test_a_program_that_damages_the_guest_is_left_out_until_that_is_forgotten() -> None:
    hides = Program(plan=Plan(hide=1))
    assert HookPath.CUSTOM not in safe_paths(hides, KNOWN)
    assert HookPath.STACK in safe_paths(hides, KNOWN)
    assert HookPath.CUSTOM in safe_paths(hides, known_without(["KD5"]))
    assert HookPath.CUSTOM in safe_paths(Program(), KNOWN)


def test_the_model_knows_a_bad_page_only_among_those_that_are_inserted() -> None:
    pages = Plan(action=Action.KERNEL_PAGES, bad_page=2)
    assert within_model(Program(plan=pages))
    assert not within_model(Program(plan=dataclasses.replace(pages, action_size="2p")))


def test_a_known_defect_explains_its_own_symptom_alone() -> None:
    fails = Program(plan=Plan(vm_ops=VmOps.FULL, mapped_error="-EBUSY"))
    symptom = Deviation("calls of close()", STACK, "calls of close() is 0, not 1")
    assert unexplained(fails, [symptom], KNOWN) == []
    for other in (
        dataclasses.replace(symptom, path=DIRECT),
        dataclasses.replace(symptom, headline="calls of close() is 2, not 1"),
    ):
        assert unexplained(fails, [other], KNOWN) == [other]
    assert unexplained(Program(call=Call()), [symptom], KNOWN) == [symptom]


def test_a_known_defect_of_the_reference_explains_a_difference() -> None:
    refused = Program(plan=Plan(action=Action.UNKNOWN, replace="shmem"))
    kept = "9 meminfo.Committed_AS"
    seen = Deviation("meminfo.Committed_AS differs", HookPath.LEGACY, f"{kept} is +0", kept)
    assert unexplained(refused, [seen], KNOWN) == [seen]
    against = dataclasses.replace(seen, reference=DIRECT)
    assert unexplained(refused, [against], KNOWN) == []


def test_an_outer_hooks_file_leaks_when_what_the_hook_asks_for_is_refused() -> None:
    leak = Deviation("leak", HookPath.PREPARE_FIRST, "lower of top after munmap is 3, not 2")
    for plan in (Plan(action=Action.UNKNOWN), Plan(error_override="-2147483648")):
        assert unexplained(Program(plan=plan), [leak], KNOWN) == []
    assert unexplained(Program(), [leak], KNOWN) == [leak]
