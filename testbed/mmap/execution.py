# SPDX-License-Identifier: GPL-2.0
"""An execution: one scenario on one path, from opening the files to a balanced ledger."""

from __future__ import annotations

from dataclasses import dataclass, field

from testbed.mmap.observation import Fact, HookEvent, Observation
from testbed.mmap.path import TOP, HookPath, hook_name, open_path
from testbed.mmap.probe import Prober
from testbed.mmap.scenario import Scenario
from testbed.mmap.script import Script


@dataclass
class Steps:
    """The numbers of an execution's own steps. The scenario's steps lie in between."""

    env: int = 0
    ready: int = 0  # all files are open and have their plans
    before: dict[str, int] = field(default_factory=dict)  # the ledger with all files open
    map: int = 0
    log: int = 0  # of the mmap call alone
    maps: int = 0
    query: int = 0
    vma: int = 0
    early: dict[str, int] = field(default_factory=dict)  # the ledger right after mmap
    ptes: int = 0
    pagemap: int = 0
    read: int = 0
    read_log: int = 0
    after: range = range(0)
    after_log: int = 0
    end_log: int = 0  # of munmap
    end: dict[str, int] = field(default_factory=dict)  # the ledger after munmap


@dataclass(frozen=True)
class Execution:
    """The observation of a scenario on a path."""

    scenario: Scenario
    path: HookPath
    steps: Steps
    seen: Observation

    @property
    def made(self) -> Fact:
        return self.seen[self.steps.map]

    @property
    def page_size(self) -> int:
        return int(self.seen[self.steps.env].values["page_size"])

    @property
    def pool_pfn(self) -> int:
        return int(self.seen[self.steps.env].values["pool_pfn"], 16)

    def log(self, step: int) -> list[HookEvent]:
        return self.seen[step].events

    @property
    def events(self) -> list[HookEvent]:
        """The whole hook log, in order."""
        steps = self.steps
        logs = (steps.log, steps.read_log, steps.after_log, steps.end_log)
        return [event for step in logs if step for event in self.log(step)]


def run_execution(prober: Prober, scenario: Scenario, path: HookPath) -> Execution:
    """Run a scenario on a path, in a fresh process.

    Raises:
        AssertionError: a file cannot be opened, or the module refuses a plan.
    """
    script, steps = execution_script(scenario, path)
    seen = prober.run(script)
    for number in range(steps.env, steps.ready + 1):
        assert not seen[number].error, f"{script.lines[number - 1]}: {seen[number].error}"
    return Execution(scenario, path, steps, seen)


def execution_script(
    scenario: Scenario, path: HookPath, *, covered: bool = False
) -> tuple[Script, Steps]:
    """Return the script of an execution. From `map` on, it is the same on every path.

    `covered`: it reports which code it reaches. The kernel must have KCOV.
    """
    script, steps = Script(), Steps()
    if covered:
        script.step("kcov")
    steps.env = script.step("env")
    if scenario.spare:
        script.step(*scenario.spare.split())
    spare = "spare" if scenario.spare else ""
    open_path(script, path, scenario.plan, outer=scenario.outer, replacement=spare)
    steps.ready = script.step("reset", TOP)
    steps.before = _ledger(script, path)
    _lines(script, scenario.before, path)
    script.step("clearlog")
    if scenario.fail_nth:
        script.step("fail_nth", str(scenario.fail_nth))
    call = scenario.call
    steps.map = script.map(
        "m",
        TOP,
        pages=call.pages,
        offset=call.offset,
        prot=call.prot,
        flags=call.flags,
        addr=call.addr,
    )
    steps.log = _take_log(script)
    steps.maps, steps.query = script.maps("m"), script.step("query", "m")
    steps.vma, steps.early = script.step("vma", "m"), _ledger(script, path)
    if scenario.touch:
        steps.ptes, steps.pagemap = script.step("ptes", "m"), script.step("pagemap", "m")
        steps.read, steps.read_log = script.read("m"), _take_log(script)
    first = len(script.lines) + 1
    _lines(script, scenario.after, path)
    steps.after = range(first, len(script.lines) + 1)
    steps.after_log = _take_log(script) if scenario.after else 0
    for name in scenario.mappings:
        script.step("munmap", name)
    steps.end_log, steps.end = _take_log(script), _ledger(script, path)
    script.step("reset", TOP)
    return script, steps


def _lines(script: Script, lines: tuple[str, ...], path: HookPath) -> None:
    for line in lines:
        script.step(*line.format(hook=hook_name(path)).split())


def _take_log(script: Script) -> int:
    """Read the hook log and clear it, so that the next log begins here."""
    step = script.hooklog()
    script.step("clearlog")
    return step


def _ledger(script: Script, path: HookPath) -> dict[str, int]:
    """Read the counters that must return to these values in the end."""
    return {
        "top": script.step("counts", TOP),
        "hook": script.step("counts", hook_name(path)),
        "status": script.step("status"),
        "meminfo": script.step("meminfo"),
    }
