# SPDX-License-Identifier: GPL-2.0
"""The oracle on recorded executions of Linux 7.3.4: original, and manipulated.

Each file in data/executions is the output of the guest program for a scenario on a path (x86_64).
Record new ones after a change of execution_script().
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from testbed.mmap.canonical import canonical
from testbed.mmap.catalogue import SCENARIOS
from testbed.mmap.differences import DIFFERENCES, is_allowed
from testbed.mmap.execution import Execution, Steps, execution_script, run_execution
from testbed.mmap.observation import Observation, parse_observation
from testbed.mmap.oracle import check, disagreements
from testbed.mmap.path import HookPath
from testbed.mmap.plan import Plan
from testbed.mmap.probe import Prober
from testbed.mmap.rules import violations
from testbed.mmap.scenario import Scenario
from testbed.mmap.script import Script

_DATA = Path(__file__).parent / "data" / "executions"

MAP = "map-rw-shared"
FAILS = "mapped-fails-remap-shared-noclose"
RECORDED = [
    *((MAP, path) for path in (HookPath.DIRECT, HookPath.STACK, HookPath.LEGACY)),
    *((FAILS, path) for path in (HookPath.DIRECT, HookPath.STACK)),
]

VERSION = "7.3.4"

Facts = dict[int, dict[str, Any]]
Doctor = Callable[[Facts, Steps], None]


def scenario_of(name: str) -> Scenario:
    (found,) = [scenario for scenario in SCENARIOS if scenario.name == name]
    return found


def execution_of(name: str, path: HookPath, doctor: Doctor | None = None) -> Execution:
    """Return a recorded execution. `doctor` changes its facts, which it gets by step number."""
    scenario = scenario_of(name)
    script, steps = execution_script(scenario, path)
    output = (_DATA / f"{name}-{path}.jsonl").read_text()
    if doctor is not None:
        lines = [json.loads(line) for line in output.splitlines()]
        doctor({line["step"]: line for line in lines if "step" in line}, steps)
        output = "\n".join(map(json.dumps, lines))
    return Execution(scenario, path, steps, parse_observation(script, output, "recorded"))


@pytest.mark.parametrize(("name", "path"), RECORDED)
def test_a_recorded_execution_passes(name: str, path: HookPath) -> None:
    execution = execution_of(name, path)
    assert [str(each) for each in violations(execution)] == []
    assert disagreements(execution, execution_of(name, HookPath.DIRECT), VERSION) == []
    check(execution, None, VERSION)


def test_addresses_become_offsets_in_mappings() -> None:
    seen = canonical(execution_of(MAP, HookPath.STACK))
    assert seen["0 map.addr"] == "m+0p"
    assert not [value for value in seen.values() if value.startswith("0x7f")]


def test_an_execution_at_another_address_is_equal() -> None:
    here, there = execution_of(MAP, HookPath.STACK), execution_of(MAP, HookPath.DIRECT)
    assert here.made.address != there.made.address
    ours, theirs = canonical(here), canonical(there)
    places = {key for key, value in theirs.items() if value.startswith("m+")}
    assert places
    assert all(ours[key] == theirs[key] for key in places)


def test_paths_and_files_are_not_compared() -> None:
    keys = canonical(execution_of(MAP, HookPath.STACK))
    assert not [key for key in keys if key.endswith((".path", ".inode", ".vm_file", ".pid"))]


def _errno(facts: Facts, steps: Steps) -> None:
    facts[steps.map] |= {"errno": 22, "error": "EINVAL"}


def _pgoff(facts: Facts, steps: Steps) -> None:
    _replace(facts[steps.log], "pgoff=0x3", "pgoff=0x4", "prepare ")


def _file(facts: Facts, steps: Steps) -> None:
    _replace(facts[steps.log], " file=mmap_direct", " file=mmap_stack", "prepare ")


def _private(facts: Facts, steps: Steps) -> None:
    facts[steps.vma]["private"] = "0x0"


def _flags(facts: Facts, steps: Steps) -> None:
    facts[steps.vma]["flags"] = f"{int(facts[steps.vma]['flags'], 16) ^ (1 << 5):#x}"


def _content(facts: Facts, steps: Steps) -> None:
    facts[steps.read]["pages"][1]["content"] = "zero"


def _no_close(facts: Facts, steps: Steps) -> None:
    lines = facts[steps.end_log]["lines"]
    lines[:] = [line for line in lines if " close " not in line]


def _no_mapped(facts: Facts, steps: Steps) -> None:
    lines = facts[steps.log]["lines"]
    lines[:] = [line for line in lines if " mapped " not in line]


def _locked(facts: Facts, steps: Steps) -> None:
    _replace(facts[steps.log], "rmap_locked=0", "rmap_locked=1", "mapped ")


def _action(facts: Facts, steps: Steps) -> None:
    _replace(facts[steps.log], "action=none", "action=remap", "prepare_done ")


def _twice(facts: Facts, steps: Steps) -> None:
    lines = facts[steps.log]["lines"]
    lines += [line for line in lines if " prepare " in line]


def _reference(facts: Facts, steps: Steps) -> None:
    facts[steps.end["hook"]]["file"] += 1


def _charge(facts: Facts, steps: Steps) -> None:
    facts[steps.end["meminfo"]]["fields"]["Committed_AS"] += 16


def _replace(fact: dict[str, Any], old: str, new: str, event: str) -> None:
    lines = [line.replace(old, new) if event in line else line for line in fact["lines"]]
    assert lines != fact["lines"], f"nothing to change in {fact['lines']}"
    fact["lines"] = lines


@pytest.mark.parametrize(
    ("doctor", "guarantee"),
    [
        (_errno, 54),
        (_pgoff, 12),
        (_file, 10),
        (_private, 24),
        (_flags, 19),
        (_content, 34),
        (_no_close, 53),
        (_no_mapped, 48),
        (_locked, 45),
        (_action, 33),
        (_twice, 4),
        (_reference, 27),
        (_charge, 56),
    ],
)
def test_a_rule_finds_the_violation(doctor: Doctor, guarantee: int) -> None:
    execution = execution_of(MAP, HookPath.STACK, doctor)
    assert guarantee in {number for each in violations(execution) for number in each.guarantees}
    with pytest.raises(AssertionError, match=rf"{MAP} on stack: "):
        check(execution, None, VERSION)


def _permission(facts: Facts, steps: Steps) -> None:
    facts[steps.maps]["vmas"][0]["perms"] = "r--s"


def test_the_comparison_finds_what_no_rule_checks() -> None:
    execution, reference = (
        execution_of(MAP, HookPath.STACK, _permission),
        execution_of(MAP, HookPath.DIRECT),
    )
    (found,) = disagreements(execution, reference, VERSION)
    assert (found.reference, found.seen) == ("rw-s", "r--s")
    with pytest.raises(AssertionError, match="perms differs from the reference"):
        check(execution, reference, VERSION)


def test_each_allowed_difference_has_a_reason_and_a_source() -> None:
    for difference in DIFFERENCES:
        assert len(difference.reason) > 20
        assert ".c " in difference.source
        assert difference.paths


@pytest.mark.parametrize(
    ("plan", "path", "where", "allowed"),
    [
        (Plan(), HookPath.STACK, "1 hooklog.2 mapped.visible", True),
        (Plan(), HookPath.DIRECT, "1 hooklog.2 mapped.visible", False),
        (Plan(), HookPath.STACK, "1 hooklog.2 mapped.pgoff", False),
        (Plan(error_override="-EAGAIN"), HookPath.STACK, "0 map.errno", True),
        (Plan(), HookPath.STACK, "0 map.errno", False),
        (Plan(error_override="-EAGAIN"), HookPath.LEGACY, "0 map.errno", False),
        (Plan(error_override="-EAGAIN"), HookPath.STACK, "3 mprotect.errno", False),
    ],
)
def test_a_difference_is_allowed_at_its_place_only(
    plan: Plan, path: HookPath, where: str, *, allowed: bool
) -> None:
    assert is_allowed(Scenario(name="x", plan=plan), path, where, VERSION) == allowed


def test_a_difference_is_allowed_on_its_kernels_only() -> None:
    assert not is_allowed(Scenario(name="x"), HookPath.STACK, "1 hooklog.2 mapped.visible", "7.1")


class Recorded:
    """A prober whose recorded execution has a plan that the module refused."""

    def run(self, script: Script) -> Observation:
        def refuse(facts: Facts, steps: Steps) -> None:
            facts[steps.ready - 1] |= {"errno": 22, "error": "EINVAL"}

        return execution_of(MAP, HookPath.DIRECT, refuse).seen


def test_an_execution_whose_plan_was_refused_is_an_error() -> None:
    prober = cast(Prober, Recorded())
    with pytest.raises(AssertionError, match=r"^plan top .*: EINVAL"):
        run_execution(prober, scenario_of(MAP), HookPath.DIRECT)
