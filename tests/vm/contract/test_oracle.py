# SPDX-License-Identifier: GPL-2.0
"""Every scenario on every path, against the contract's rules and its reference path."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import pytest

from testbed.lab.guest import Guest
from testbed.mmap.catalogue import SCENARIOS
from testbed.mmap.execution import Execution, run_execution
from testbed.mmap.generate import generate
from testbed.mmap.oracle import check, reference_path
from testbed.mmap.path import HookPath
from testbed.mmap.probe import Prober
from testbed.mmap.scenario import Scenario

# Every run executes the scenarios of these seeds. One that finds a defect gets its own name.
SEEDS = range(60)


def _cases(scenarios: Iterable[Scenario]) -> list[object]:
    return [_case(scenario, path) for scenario in scenarios for path in scenario.paths]


def _case(scenario: Scenario, path: HookPath) -> object:
    marks = [pytest.mark.guarantee(*scenario.guarantees)]
    if defect := scenario.defect(path):
        marks.append(
            pytest.mark.defect(
                defect.name,
                symptom=defect.symptom,
                recorded=defect.recorded,
                fixed=defect.fixed,
            )
        )
    return pytest.param(scenario, path, id=f"{scenario}-{path}", marks=marks)


Executions = dict[tuple[Path, str, HookPath], Execution]


@pytest.fixture(scope="session")
def executions() -> Executions:
    """Executions so far, by log directory of the VM: several paths share a reference."""
    return {}


@pytest.mark.parametrize(("scenario", "path"), _cases(SCENARIOS))
def test_scenario(
    guest: Guest, stack: Prober, executions: Executions, scenario: Scenario, path: HookPath
) -> None:
    _judge(guest, stack, executions, scenario, path)


@pytest.mark.parametrize(("scenario", "path"), _cases(map(generate, SEEDS)))
def test_generated_scenario(
    guest: Guest, stack: Prober, executions: Executions, scenario: Scenario, path: HookPath
) -> None:
    _judge(guest, stack, executions, scenario, path)


def _judge(
    guest: Guest, stack: Prober, executions: Executions, scenario: Scenario, path: HookPath
) -> None:
    other = reference_path(path, scenario.paths)
    reference = _run(guest, stack, executions, scenario, other) if other is not None else None
    execution = _run(guest, stack, executions, scenario, path)
    check(execution, reference, guest.prepared.kernel.version)


def _run(
    guest: Guest, stack: Prober, executions: Executions, scenario: Scenario, path: HookPath
) -> Execution:
    key = guest.vm.spec.log_dir, scenario.name, path
    if key not in executions:
        warns = scenario.splat if path.shape.prepares else None
        with guest.expect_splat(*warns) if warns else nullcontext():
            executions[key] = run_execution(stack, scenario, path)
    return executions[key]
