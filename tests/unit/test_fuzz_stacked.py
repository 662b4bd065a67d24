# SPDX-License-Identifier: GPL-2.0
"""Programs on the kernel's own stacks: on a file of this host, which stands for both places."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.errors import GuestTimeout
from testbed.fuzz.drawing import draw
from testbed.fuzz.exchange import Ran
from testbed.fuzz.program import Gate, Program, Step, Task
from testbed.fuzz.stacked import ABOVE, BELOW, deviations_on_stack, stack_script
from testbed.intree import stacks
from testbed.intree.stacks import FILE_STACKS, FileStack, overlay
from testbed.mmap.observation import Observation, parse_observation
from testbed.mmap.plan import NOTHING
from testbed.mmap.scenario import Call
from testbed.mmap.script import Script
from testbed.process import run

_ROOT = Path(__file__).parents[2]

STACK = FileStack(name="twice", layers=(overlay("base", "lower", "upper"),))

Observe = Callable[[Program], dict[str, Observation]]


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("probe") / "probe"
    sources = sorted((_ROOT / "tests" / "probes" / "probe").rglob("*.c"))
    run(["cc", "-O0", "-w", "-I", _ROOT / "modules" / "include", "-o", program, *sources])
    return program


@pytest.fixture
def observe(probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Observe:
    """Return a function that runs a program twice on a file."""
    monkeypatch.setattr(stacks, "FOLDER", str(tmp_path))
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "file").touch()

    def observed(program: Program) -> dict[str, Observation]:
        found = {}
        for where in (BELOW, ABOVE):
            script = stack_script(program, STACK, where)
            done = run([probe], stdin=script.text.encode())
            found[where] = parse_observation(script, done.stdout, "ended")
        return found

    return observed


def titles(program: Program, observed: dict[str, Observation]) -> list[str]:
    ran = Ran(program, stack=STACK, observed=observed)
    return [each.title for each in deviations_on_stack(ran)]


def test_the_same_file_shows_the_same_and_leaves_nothing(observe: Observe) -> None:
    rng = random.Random(5)
    for _ in range(15):
        drawn = draw(rng)
        assert drawn is not None
        program = dataclasses.replace(
            drawn.program, plan=NOTHING, outer=NOTHING, spare="", spare_plan=NOTHING
        )
        assert titles(program, observe(program)) == []


def test_another_content_is_a_difference(observe: Observe) -> None:
    program = Program(call=Call(pages=2))
    seen = observe(program)
    other = {**seen, ABOVE: _changed(seen[ABOVE], '"content":"fill:0x77"', '"content":"zero"')}
    assert set(titles(program, other)) == {
        "pread.pages.content differs on twice",
        "read.pages.content differs on twice",
    }


def test_map_sync_may_be_refused_above_alone(observe: Observe) -> None:
    program = Program(call=Call(flags="shared_validate,sync"))
    seen = observe(program)
    changed = _changed(seen[ABOVE], '"content":"fill:0x77"', '"content":"zero"')
    assert titles(program, {**seen, ABOVE: changed}) == []


def test_a_mapping_that_stays_is_a_deviation(observe: Observe) -> None:
    program = Program()
    seen = observe(program)
    lines = seen[ABOVE].output.splitlines(keepends=True)
    at = max(number for number, line in enumerate(lines) if '"op":"status"' in line)
    lines[at] = lines[at].replace('"VmSize":', '"VmSize":1')
    changed = dataclasses.replace(seen[ABOVE], output="".join(lines))
    other = {**seen, ABOVE: _changed(changed, "", "")}
    assert titles(program, other) == ["VmSize after munmap, above twice"]


def test_behind_another_mapping_of_the_file_the_two_may_differ(observe: Observe) -> None:
    again = Step("map o top len=1p off=0p flags=shared")
    program = Program(steps=(again, Step("query m")))
    seen = observe(program)
    changed = seen[ABOVE].output.replace('"shared"', '"other"')
    plain = Program(steps=(Step("query m"),))
    lines = changed.splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if '"op":"query"' in line)
    before = seen[ABOVE].output.splitlines(keepends=True)
    only_last = "".join([*before[:last], lines[last], *before[last + 1 :]])
    other = {**seen, ABOVE: _changed(dataclasses.replace(seen[ABOVE], output=only_last), "", "")}
    assert titles(program, other) == []
    seen = observe(plain)
    other = {**seen, ABOVE: _changed(seen[ABOVE], '"shared"', '"other"')}
    assert titles(plain, other) == ["query.vmas.flags differs on twice"] * 2


def test_a_hang_is_titled_by_the_stack() -> None:
    ran = Ran(Program(), stack=STACK, aftermath=GuestTimeout("no answer"))
    assert [each.title for each in deviations_on_stack(ran)] == ["hang on twice"]


def test_the_script_needs_no_module(observe: Observe) -> None:
    second = Step("map o top len=1p off=0p flags=shared", Task.SECOND, Gate.PREPARE)
    steps = (Step("vma m 0"), Step("hooklog"), second, Step("maps m"))
    text = stack_script(Program(steps=steps), FILE_STACKS[0], ABOVE).text
    assert "vma" not in text
    assert "hooklog" not in text
    assert "gate" not in text
    assert "\nmap o top " in text
    assert "munmap o\n" in text
    assert text.count("maps m\n") == 2


def _changed(seen: Observation, old: str, new: str) -> Observation:
    """Parse the output anew, with some text replaced."""
    output = seen.output.replace(old, new) if old else seen.output
    return parse_observation(Script(seen.script.splitlines()), output, "ended")
