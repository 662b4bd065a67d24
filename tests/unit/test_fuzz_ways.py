# SPDX-License-Identifier: GPL-2.0
"""Programs on the kernel's own files: on a file of this host, which stands for all ways."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.errors import GuestTimeout, UnbalancedLedger
from testbed.fuzz.drawing import draw
from testbed.fuzz.exchange import Ran
from testbed.fuzz.kernelfile import Ways
from testbed.fuzz.program import Gate, Program, Step, Task
from testbed.fuzz.ways import deviations_on_ways, way_script
from testbed.mmap.observation import Observation, parse_observation
from testbed.mmap.plan import NOTHING
from testbed.mmap.scenario import Call
from testbed.mmap.script import Script
from testbed.process import run

_ROOT = Path(__file__).parents[2]

BELOW, ABOVE = "below", "above"

OPENED = ("open top file rw create", "ftruncate top 4p", "pwrite top off=0 len=4p value=0x77")
WAYS = Ways(name="twice", opening={BELOW: OPENED, ABOVE: OPENED})

Observe = Callable[..., dict[str, Observation]]


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("probe") / "probe"
    sources = sorted((_ROOT / "tests" / "probes" / "probe").rglob("*.c"))
    run(["cc", "-O0", "-w", "-I", _ROOT / "modules" / "include", "-o", program, *sources])
    return program


@pytest.fixture
def observe(probe: Path, tmp_path: Path) -> Observe:
    """Return a function that runs a program twice on a file."""

    def observed(program: Program, ways: Ways = WAYS) -> dict[str, Observation]:
        found = {}
        for where in ways.opening:
            script = way_script(program, ways, where)
            done = run([probe], stdin=script.text.encode(), cwd=tmp_path)
            found[where] = parse_observation(script, done.stdout, "ended")
        return found

    return observed


def titles(program: Program, observed: dict[str, Observation], ways: Ways = WAYS) -> list[str]:
    ran = Ran(program, ways=ways, observed=observed)
    return [each.title for each in deviations_on_ways(ran)]


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
    assert set(titles(program, other)) == {"read.pages.content differs on twice"}


def test_map_sync_may_be_refused_above_alone(observe: Observe) -> None:
    program = Program(call=Call(flags="shared_validate,sync"))
    seen = observe(program)
    changed = _changed(seen[ABOVE], '"content":"fill:0x77"', '"content":"zero"')
    assert titles(program, {**seen, ABOVE: changed}) == []


def test_behind_the_end_of_a_file_the_two_may_differ(observe: Observe) -> None:
    program = Program(call=Call(offset=(1 << 51) - 1))
    seen = observe(program)
    assert titles(program, {**seen, ABOVE: observe(Program())[ABOVE]}) == []


def test_several_vmas_may_move_on_one_way_alone(observe: Observe) -> None:
    move = Step("mremap m len=2p old=2p flags=maymove,fixed addr=room+6p as=n")
    program = Program(room=True, steps=(Step("query m"), move, Step("query m")))
    seen = observe(program)
    output = seen[ABOVE].output
    last = output.rindex('"op":"query"')
    changed = output[:last] + output[last:].replace('"shared"', '"other"')
    other = {**seen, ABOVE: _changed(dataclasses.replace(seen[ABOVE], output=changed), "", "")}
    assert set(titles(program, other)) == {"query.vmas.flags differs on twice"}
    assert titles(program, other, dataclasses.replace(WAYS, places=True)) == []


def test_a_file_that_decides_on_places_may_refuse_one(observe: Observe) -> None:
    ways = dataclasses.replace(WAYS, places=True)
    program = Program(room=True, call=Call(addr="room", flags="shared,fixed"))
    seen = observe(program)
    other = {**seen, ABOVE: _changed(seen[ABOVE], '"content":"fill:0x77"', '"content":"zero"')}
    assert titles(program, other) != []
    assert titles(program, other, ways) == []


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
    ran = Ran(Program(), ways=WAYS, aftermath=GuestTimeout("no answer"))
    assert [each.title for each in deviations_on_ways(ran)] == ["hang on twice"]


def test_a_known_leak_of_a_file_is_not_reported() -> None:
    for balanced, shown in ((True, ["ledger: Shmem on twice"]), (False, [])):
        ways = dataclasses.replace(WAYS, balanced=balanced)
        ran = Ran(Program(), ways=ways, aftermath=UnbalancedLedger("Shmem is 4 kB, not 0 kB"))
        assert [each.title for each in deviations_on_ways(ran)] == shown


def test_the_script_needs_no_module(observe: Observe) -> None:
    second = Step("map o top len=1p off=0p flags=shared", Task.SECOND, Gate.PREPARE)
    steps = (Step("vma m 0"), Step("hooklog"), second, Step("maps m"))
    text = way_script(Program(steps=steps), WAYS, ABOVE).text
    assert "vma" not in text
    assert "hooklog" not in text
    assert "gate" not in text
    assert "\nmap o top " in text
    assert "munmap o\n" in text
    assert text.count("maps m\n") == 2


def test_what_every_mapping_is_holds_without_a_comparison(observe: Observe) -> None:
    alone = Ways(name="alone", opening={"direct": OPENED})
    program = Program(call=Call(pages=2, prot="r"))
    seen = observe(program, alone)
    assert titles(program, seen, alone) == []
    other = {"direct": _changed(seen["direct"], '"perms":"r--s"', '"perms":"rw-s"')}
    assert titles(program, other, alone) == ["permissions of the mapping, direct alone"]
    made = next(fact for fact in seen["direct"].facts.values() if fact.values.get("name") == "m")
    end = f"{made.address + int(made.values['len']):x}"
    moved = f"{int(end, 16) - 0x1000:x}"
    other = {"direct": _changed(seen["direct"], f'"end":"0x{end}"', f'"end":"0x{moved}"')}
    assert "extent of the mapping, direct alone" in titles(program, other, alone)


def test_a_file_that_keeps_what_was_written_is_compared_without_its_content(
    observe: Observe,
) -> None:
    program = Program(call=Call(pages=2))
    ways = dataclasses.replace(WAYS, steady=False)
    seen = observe(program, ways)
    other = {**seen, ABOVE: _changed(seen[ABOVE], '"content":"fill:0x77"', '"content":"zero"')}
    assert titles(program, other, ways) == []
    other = {**seen, ABOVE: _changed(seen[ABOVE], '"perms":"rw-s"', '"perms":"r--s"')}
    assert "maps.vmas.perms differs on twice" in titles(program, other, ways)


def test_a_mount_with_noexec_judges_only_what_executes(observe: Observe) -> None:
    ways = dataclasses.replace(WAYS, executable=False)
    plain = Program(call=Call(pages=2, prot="r"))
    seen = observe(plain, ways)
    other = {**seen, ABOVE: _changed(seen[ABOVE], '"me",', "")}
    assert other[ABOVE].output != seen[ABOVE].output
    assert titles(plain, other, ways) == []
    assert titles(plain, other) == ["maps.vmas.vmflags differs on twice"]
    for prot, differs in (("r", True), ("rx", False)):
        program = Program(call=Call(pages=2, prot=prot, flags="private"))
        seen = observe(program, ways)
        other = {**seen, ABOVE: _changed(seen[ABOVE], '"content":"fill:0x77"', '"content":"zero"')}
        assert bool(titles(program, other, ways)) == differs


def test_each_way_has_its_own_mapping_at_the_same_step() -> None:
    ways = Ways(
        name="segment",
        opening={"memfd": ("memfd low 4p",), "shm": ("shmget low 4p", "shmstat low")},
        mapping={"shm": "shmat m low"},
        sharing=("shared",),
        offset=2,
    )
    program = Program(call=Call(flags="private,locked"))
    scripts = {way: way_script(program, ways, way).lines for way in ways.opening}
    (at,) = (n for n, line in enumerate(scripts["shm"]) if line == "shmat m low")
    assert scripts["memfd"][at] == "map m top len=4p off=2p prot=rw flags=shared,locked"
    assert len(scripts["memfd"]) == len(scripts["shm"])


def _changed(seen: Observation, old: str, new: str) -> Observation:
    """Parse the output anew, with some text replaced."""
    output = seen.output.replace(old, new) if old else seen.output
    return parse_observation(Script(seen.script.splitlines()), output, "ended")
