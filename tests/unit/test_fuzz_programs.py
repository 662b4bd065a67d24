# SPDX-License-Identifier: GPL-2.0
"""Programs of `testbed fuzz`: drawn, written, read, mutated, shrunk, and put into C."""

from __future__ import annotations

import functools
import json
import random
import sys
from pathlib import Path

import pytest

from testbed.fuzz.drawing import Drawn, draw, mutate, redraw, shrink
from testbed.fuzz.known import KNOWN
from testbed.fuzz.program import Fault, Gate, Program, Step, Task, program_from, program_text
from testbed.fuzz.selftest import c_makefile, c_test
from testbed.mmap.execution import execution_script
from testbed.mmap.path import HookPath
from testbed.mmap.plan import Action, Plan, VmOps
from testbed.mmap.scenario import Call
from testbed.process import run

_ROOT = Path(__file__).parents[2]
_PROBE = _ROOT / "tests" / "probes" / "probe"


_REPRODUCER = _ROOT / "testbed" / "fuzz" / "reproducer"
_INCLUDE = [f"-I{folder}" for folder in (_REPRODUCER, _ROOT / "modules" / "include")]


def drawn(count: int, seed: int = 1, faults: frozenset[Fault] = frozenset()) -> list[Drawn]:
    rng = random.Random(seed)
    found = [each for _ in range(count) if (each := draw(rng, faults=faults)) is not None]
    assert len(found) > count / 2
    return found


def test_a_program_is_the_same_after_it_was_written_and_read() -> None:
    for each in drawn(100):
        assert program_from(program_text(each.program)) == each.program


@pytest.mark.parametrize("text", ["", "[]", "{", '{"plan": {"nothing": 1}}', '{"steps": [1]}'])
def test_a_text_that_is_not_a_program_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        program_from(text)


def test_the_same_seed_draws_the_same_programs() -> None:
    programs = [[each.program for each in drawn(20, seed=3)] for _ in range(2)]
    assert programs[0] == programs[1]
    assert programs[0] != [each.program for each in drawn(20, seed=4)]


def test_no_module_of_the_process_changes_what_a_seed_draws(tmp_path: Path) -> None:
    """Hypothesis would take constants from the modules that are loaded."""
    (tmp_path / "numbers_of_mine.py").write_text(f"NUMBERS = {list(range(-500, 70000, 7))}\n")
    lines = (
        f"import random, sys; sys.path.append({str(tmp_path)!r}); import numbers_of_mine",
        "from testbed.fuzz.drawing import draw",
        "from testbed.fuzz.program import program_text",
        "rng = random.Random(3)",
        "found = [draw(rng) for _ in range(40)]",
        "print(*(program_text(each.program) for each in found if each), sep='\\n')",
    )
    there = run([sys.executable, "-c", "\n".join(lines)]).stdout.splitlines()
    assert there == [program_text(each.program) for each in drawn(40, seed=3)]


def test_choices_lead_to_their_program_again() -> None:
    for each in drawn(20):
        again = redraw(each.code)
        assert again is not None
        assert again.program == each.program


@pytest.mark.parametrize("code", ["zz", "ff"])
def test_damaged_choices_are_refused(code: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        redraw(code)


def test_a_mutated_program_resembles_the_first() -> None:
    rng = random.Random(1)
    pairs = [(each, other) for each in drawn(50) if (other := mutate(rng, each)) is not None]
    changed = [other.program != each.program for each, other in pairs]
    calls = [other.program.call == each.program.call for each, other in pairs]
    assert sum(changed) > len(pairs) / 3
    assert sum(calls) > len(pairs) / 3


@pytest.mark.parametrize(
    ("name", "least"),
    [("KD5", 15), ("KD7", 20), ("KD8", 18), ("KD11", 6), ("KD13", 12), ("KD14", 4)],
)
def test_what_a_known_defect_needs_is_drawn_often(name: str, least: int) -> None:
    """Of 200 programs, which take some minutes on a busy host."""
    need = next(each for each in KNOWN if each.name == name)
    programs = [each.program for each in _many()]
    shown = [each for each in programs if need.given(each) and set(need.paths) & set(each.paths)]
    assert len(shown) >= least


@functools.cache
def _many() -> list[Drawn]:
    return drawn(200)


def test_a_program_is_shrunk_to_what_shows_the_defect() -> None:
    def shows(program: Program) -> bool:
        return bool(program.plan.hide)

    first = next(each for each in drawn(200) if shows(each.program) and each.program.steps)
    smallest = shrink(first, shows)
    assert smallest.plan == Plan(hide=1)
    assert smallest.steps == ()
    assert smallest.call == Call()


def test_when_its_time_is_over_the_smallest_program_so_far_stays() -> None:
    asked: list[Program] = []

    def shows(program: Program) -> bool:
        asked.append(program)
        return bool(program.plan.hide) and len(asked) < 10

    first = next(each for each in drawn(200) if each.program.plan.hide and each.program.steps)
    smallest = shrink(first, shows)
    assert smallest.plan.hide
    assert smallest in asked[:10]
    assert len(asked) == len(set(asked))


def test_a_program_that_shows_nothing_any_more_stays_as_it_is() -> None:
    (first, *_) = drawn(3)
    assert shrink(first, lambda program: False) == first.program


def test_steps_of_a_child_in_a_row_share_one_child() -> None:
    steps = (Step("maps m"), Step("vma m", Task.CHILD), Step("query m", Task.CHILD))
    scenario = Program(steps=steps).scenario
    assert scenario.after == ("maps m", "fork", "vma m", "query m", "endfork")


def test_a_second_task_waits_at_its_gate_while_the_next_step_runs() -> None:
    second = Step("read m 0", Task.SECOND, Gate.CLOSE)
    child = Step("vma m", Task.CHILD)
    gate = ("gate top close 60", "second read m 0")
    assert Program(steps=(second, Step("munmap m 0"), Step("maps m"))).scenario.after == (
        *gate, "munmap m 0", "join", "maps m",
    )  # fmt: skip
    assert Program(steps=(second, child)).scenario.after == (
        *gate, "fork", "vma m", "endfork", "join",
    )  # fmt: skip
    assert Program(steps=(second, second)).scenario.after == (*gate, "join", *gate, "join")


def test_the_mapping_of_a_second_task_is_unmapped_too() -> None:
    second = Step("map o top len=1p off=0p flags=shared", Task.SECOND, Gate.MAPPED)
    program = Program(steps=(second,))
    assert program.scenario.mappings == ("m", "o")
    assert program.first_merge == 1


def test_paths_may_differ_from_the_first_step_that_maps_the_file_again() -> None:
    steps = (Step("vma m", Task.CHILD), Step("map o top len=1p off=0p flags=shared"))
    assert Program(steps=steps).first_merge == 3
    assert Program(steps=(Step("map room anon len=1p"),)).first_merge is None


def test_a_program_with_an_outer_hook_runs_on_stacks_alone() -> None:
    paths = Program(outer=Plan(private=1)).paths
    assert HookPath.STACK in paths
    assert HookPath.DIRECT not in paths
    assert HookPath.DIRECT in Program(outer=Plan()).paths


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("probe") / "probe"
    sources = sorted(_PROBE.rglob("*.c"))
    run(["cc", "-O0", "-w", "-I", _ROOT / "modules" / "include", "-o", program, *sources])
    return program


def test_the_probe_understands_every_program(probe: Path) -> None:
    """The modules are not there: files do not open, but each line is read."""
    scripts = [
        execution_script(each.program.scenario, path)[0].text
        for each in drawn(60)
        for path in each.program.paths[:1]
    ]
    done = run([probe], stdin="next\n".join(scripts).encode())
    facts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [fact["text"] for fact in facts if fact.get("error") == "usage"] == []
    assert sum("done" in fact for fact in facts) == len(scripts)


@pytest.mark.parametrize("faults", [frozenset(), frozenset(Fault)], ids=["plain", "faults"])
def test_every_program_is_c_that_compiles(tmp_path: Path, faults: frozenset[Fault]) -> None:
    for number, each in enumerate(drawn(12, faults=faults)):
        file = tmp_path / f"test{number}.c"
        file.write_text(c_test(each.program, each.program.paths[:2], "A test.\n*/ in a comment"))
        run(["cc", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", *_INCLUDE, file])


def c_lines(program: Program) -> list[str]:
    text = c_test(program, (HookPath.DIRECT, HookPath.STACK), "About it.")
    return [line.strip() for line in text.splitlines()]


def test_the_c_of_a_failed_allocation_looks_at_the_mapping_before_and_after() -> None:
    lines = c_lines(Program(steps=(Step("mprotect m 1-2 prot=r", fails=3),)))
    at = lines.index("before = view(run, M);")
    assert lines[at + 1] == "fail_allocation(run, 3);"
    assert lines[at + 2].startswith('did(run, "mprotect", mprotect(')
    assert lines[at + 3] == 'expect_unchanged(run, "mprotect", M, &before, 1);'


def test_the_c_of_a_failed_fork_and_of_a_failed_mmap() -> None:
    lines = c_lines(Program(fails=2, steps=(Step("vma m", Task.CHILD, fails=5),)))
    assert lines[lines.index("fail_allocation(run, 2);") + 1].startswith("map(run, M, run->top")
    assert lines[lines.index("fail_allocation(run, 5);") + 1] == "if (!ended(run, fork())) {"
    assert not any(line.startswith("expect_errno") for line in lines)


def test_the_c_of_a_program_whose_memory_is_limited() -> None:
    lines = c_lines(Program(memory=7, steps=(Step("memcg 9p"),)))
    assert lines.index("limit_memory(run, PAGES(7ULL));") < lines.index(
        "limit_memory(run, PAGES(9ULL));"
    )
    assert "static const bool may_be_killed = true;" in lines
    assert "static const bool may_be_killed = false;" in c_lines(Program())


def test_the_c_of_a_second_task_joins_it_after_the_next_step() -> None:
    second = Step("read m 0", Task.SECOND, Gate.FAULT)
    lines = c_lines(Program(steps=(second, Step("munmap m 1"), second, second)))
    starts = [f"start_second(run, second_{n}, MMAP_TESTBED_GATE_FAULT, 60);" for n in range(3)]
    at = lines.index(starts[0])
    assert lines[at + 1].startswith('did(run, "munmap"')
    rest = ["join_second(run);", starts[1], "join_second(run);", starts[2], "join_second(run);"]
    assert lines[at + 2 : at + 7] == rest
    assert lines.index("static void second_2(struct run *run)") < lines.index(
        "static void program(struct run *run)"
    )


def test_the_c_compares_nothing_from_the_second_mapping_of_the_file_on() -> None:
    steps = (Step("vma m"), Step("map o top len=1p off=0p flags=shared"))
    lines = c_lines(Program(steps=steps))
    at = lines.index("stop_comparing(run);")
    assert lines[at - 1] == "look(run, M, 0);"
    assert lines[at + 1].startswith("map(run, O, run->top")


@pytest.mark.parametrize(
    ("text", "reference", "shown"),
    [
        ("a\nb\ndone\n", "a\nb\ndone\n", []),
        ("a\nc\ndone\n", "a\nb\ndone\n", ["c", "first path: b"]),
        ("a\n?\nc\ndone\n", "a\nb\ndone\n", []),
        ("a\nc\ndone\n", "a\n?\ndone\n", []),
        ("a\n?\n!bad\ndone\n", "a\ndone\n", ["bad"]),
        ("b\n?\ndone\n", "a\n?\ndone\n", ["b", "first path: a"]),
        ("a\n", "a\ndone\n", ["the program was killed"]),
    ],
)
def test_the_c_test_judges_by_what_comes_before_a_fault(
    judging: Path, text: str, reference: str, shown: list[str]
) -> None:
    done = run([judging, text, reference], ok=[0, 1])
    assert done.stdout.splitlines() == [f"# {line}" for line in shown]
    assert done.status == bool(shown)


@pytest.fixture(scope="module")
def judging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that calls the judge of the C tests with its arguments."""
    program = tmp_path_factory.mktemp("judge") / "judge"
    test = c_test(Program(), (HookPath.DIRECT,), "About it.")
    source = program.with_suffix(".c")
    call = "int main(int count, char **words)\n{\n\treturn judge(words[1], words[count - 1]);\n}"
    source.write_text(f"#define main main_of_test\n{test}\n#undef main\n{call}\n")
    run(["cc", "-w", *_INCLUDE, "-o", program, source])
    return program


def test_the_c_of_a_program_has_its_plan_its_call_and_its_paths() -> None:
    program = Program(
        plan=Plan(vm_ops=VmOps.FULL, action=Action.REMAP, private=0x51, action_offset="1p"),
        call=Call(pages=2, offset=5, flags="private,locked"),
        steps=(Step("mremap m len=7p flags=maymove"),),
    )
    text = "\n".join(c_lines(program))
    assert ".fields = MMAP_TESTBED_PRIVATE | MMAP_TESTBED_ACTION_OFFSET," in text
    assert ".action_offset = PAGES(1ULL)," in text
    assert '{ "stack", { "mmap_stack", "mmap_direct" } },' in text
    assert "MAP_PRIVATE | MAP_LOCKED" in text
    assert "remap(run, M, M, run->at[M].len, PAGES(7ULL), MREMAP_MAYMOVE," in text
    assert "TEST_GEN_PROGS := a_test\n" in c_makefile("a_test")
