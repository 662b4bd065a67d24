# SPDX-License-Identifier: GPL-2.0
"""`testbed check`: its plan, its trials, its rules and its report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.check.checkplan import CheckPlan, load_check_plan
from testbed.check.drivernode import DriverNode
from testbed.check.faultinject import sweeps_on
from testbed.check.report import check_content, check_lines, conversion_lines
from testbed.check.result import (
    Checked,
    Conversion,
    TrialResult,
    TrialStatus,
    exit_status,
    path_changes,
)
from testbed.check.script import BaseMapping, DriverScript
from testbed.check.survey import Survey
from testbed.check.trials import trials_on
from testbed.errors import SetupError
from testbed.mmap.observation import Observation, parse_observation
from testbed.mmap.path import MMAP_STACKS, HookPath
from testbed.mmap.script import Script

PAGE = 4096
TARGET = DriverNode("/dev/foo", "foo", memory=True)
SHARED = BaseMapping("shared", 4, 0, "rw")
PRIVATE = BaseMapping("private", 4, 0, "rw")
PATHS = (HookPath.DIRECT, *MMAP_STACKS)

TRIALS = {trial.name: trial for each in (SHARED, PRIVATE) for trial in trials_on(each, CheckPlan())}


# The plan.


def test_a_plan_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "foo.toml"
    file.write_text(
        'sizes = [4]\noffsets = [0, 8]\nprots = ["r", "none"]\nsharing = ["private"]\n'
        'paths = ["direct", "stack-first"]\nskip = ["fail-*"]\nmemory = false\n'
        'parameters = "order=2"\ncounters = ["/sys/foo/users"]\n'
        '[write]\n"/sys/foo/state" = "on"\n'
    )
    assert load_check_plan(file) == CheckPlan(
        sizes=(4,),
        offsets=(0, 8),
        prots=("r", "none"),
        sharing=("private",),
        paths=(HookPath.DIRECT, HookPath.STACK_FIRST),
        skip=("fail-*",),
        memory=False,
        parameters="order=2",
        counters=("/sys/foo/users",),
        write={"/sys/foo/state": "on"},
        searches=False,
    )


def test_the_default_plan_has_all_paths() -> None:
    assert load_check_plan(None).paths == PATHS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size = [1]", "unknown key 'size'"),
        ("sizes = 4", "4 is not a list of int"),
        ("sizes = []", "leaves nothing to try"),
        ("sizes = [0]", "a size must be 1 page or more, not 0"),
        ("offsets = [-1]", "an offset must be 0 pages or more, not -1"),
        ("sizes = [true]", "is not a list of int"),
        ('prots = ["rq"]', "'rq' is not a protection"),
        ('sharing = ["both"]', "'both' is not one of shared, private"),
        ('paths = ["custom"]', "'custom' is not one of direct, stack,"),
        ("memory = 1", "1 is not a bool"),
        ('write = "on"', "is not a table"),
        ("sizes =", "is not valid TOML"),
    ],
)
def test_an_unusable_plan_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "foo.toml"
    file.write_text(text)
    with pytest.raises(SetupError, match=message):
        load_check_plan(file)


def test_an_unknown_key_gets_a_hint_with_the_nearest_known_key(tmp_path: Path) -> None:
    (tmp_path / "foo.toml").write_text("size = [1]")
    with pytest.raises(SetupError) as caught:
        load_check_plan(tmp_path / "foo.toml")
    assert caught.value.hint == "did you mean sizes?"


def test_a_missing_plan_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot read the plan"):
        load_check_plan(tmp_path / "foo.toml")


# The trials.


def lines_after_the_files(script: DriverScript) -> list[str]:
    """Return a trial's own steps. The mapped file is FILE in them, and a step on files a pause."""
    lines = script.probe_script.lines[6:]
    words = [["FILE" if word == script.top else word for word in line.split()] for line in lines]
    return ["#" if line[0] in ("open", "lower", "close") else " ".join(line) for line in words]


@pytest.mark.parametrize("name", TRIALS)
def test_a_trials_steps_have_the_same_numbers_on_every_path(name: str) -> None:
    scripts = [lines_after_the_files(TRIALS[name].script(path, TARGET)[0]) for path in PATHS]
    assert scripts[0]
    assert all(script == scripts[0] for script in scripts)


@pytest.mark.parametrize(
    ("name", "base", "plan", "reason"),
    [
        ("fork", SHARED, CheckPlan(), ""),
        ("fork", SHARED, CheckPlan(skip=("fork*",)), "the plan leaves it out"),
        (
            "munmap-part",
            BaseMapping("shared", 2, 0, "rw"),
            CheckPlan(),
            "the base mapping has fewer than 3",
        ),
        (
            "write",
            BaseMapping("shared", 4, 0, "r"),
            CheckPlan(),
            "the base mapping is not writable",
        ),
        ("write", SHARED, CheckPlan(memory=False), "the plan sets memory = false"),
    ],
)
def test_a_skipped_trial_has_a_reason(
    name: str, base: BaseMapping, plan: CheckPlan, reason: str
) -> None:
    trial = next(each for each in trials_on(base, plan) if each.name == f"{name}-shared")
    assert trial.why_not(plan).startswith(reason)
    assert bool(trial.why_not(plan)) == bool(reason)


def test_pages_other_than_plain_memory_are_never_written() -> None:
    node = DriverNode("/dev/foo", "foo", memory=False)
    for trial in TRIALS.values():
        if not trial.why_not(CheckPlan(memory=False)):
            script, _ = trial.script(HookPath.DIRECT, node)
            assert not [line for line in script.probe_script.lines if line.startswith("write m")]


def test_a_sweep_uses_the_base_mapping() -> None:
    base = BaseMapping("private", 8, 2, "r")
    sweeps = {name: make(HookPath.STACK, TARGET) for name, make in sweeps_on(base)}
    lines = sweeps["fail-map-private"].script.lines
    assert "map m over1 len=8p off=2p prot=r flags=private,fixed addr=room+6p" in lines
    assert "counts over1" in lines
    assert "counts file" not in lines
    assert "fail_nth" in lines


def test_a_driver_may_return_any_error_when_an_allocation_fails() -> None:
    sweeps = [make(HookPath.DIRECT, TARGET) for _, make in sweeps_on(SHARED)]
    assert {sweep.call.errors for sweep in sweeps} == {()}


def test_a_sweep_of_a_call_that_is_refused_anyway_has_no_complaints() -> None:
    """A driver may permit one mapping for each open file."""
    for _, make in sweeps_on(SHARED):
        sweep = make(HookPath.DIRECT, TARGET)
        step = sweep._reference.call
        fact = {"step": step, "op": sweep.script.lines[step - 1].split()[0], "error": "EBUSY"}
        seen = parse_observation(sweep.script, f'{json.dumps(fact)}\n{{"done": true}}\n', "")
        assert list(sweep.complaints(seen)) == []


# The rules. Every answer is a good kernel's, except for those that a test changes.


def address_of(line: list[str], places: dict[str, int]) -> int:
    addr = next((word[5:] for word in line if word.startswith("addr=")), "")
    name, _, pages = addr.rstrip("p").partition("+")
    return places[name] + int(pages or 0) * PAGE if name else 0x7F00_0000_0000


def answer(number: int, line: str, places: dict[str, int]) -> dict[str, Any]:
    """Return the fact of a step in a guest where everything works."""
    words = line.split()
    fact: dict[str, Any] = {"step": number, "op": words[0], "errno": 0}
    keys = dict(word.split("=", 1) for word in words if "=" in word)
    if words[0] == "env":
        return {**fact, "page_size": PAGE, "pool_pfn": "0x1000"}
    if words[0] in ("map", "mremap"):
        name = keys.get("as", words[1])
        places[name] = address_of(words, places)
        pages = int(keys["len"].rstrip("p"))
        return {**fact, "name": name, "addr": hex(places[name]), "len": pages * PAGE}
    if words[0] in ("read", "write", "peek", "poke"):
        listed = "0-3" if words[2] == "all" else words[2]
        return {**fact, "pages": [page(index) for index in indexes(listed)]}
    if words[0] == "maps":
        return {**fact, "vmas": []}
    if words[0] == "status":
        return {**fact, "fields": {"VmLck": 0}}
    if words[0] == "fork":
        return {**fact, "pid": 7, "status": 0}
    return fact


def page(index: int, content: str = "fill:0x61") -> dict[str, Any]:
    if content.startswith("SIG"):
        return {"page": index, "result": content}
    return {"page": index, "result": "ok", "content": content}


def indexes(text: str) -> list[int]:
    ends = [part.split("-") for part in text.split(",")]
    return [index for part in ends for index in range(int(part[0]), int(part[-1]) + 1)]


def vma(pages: int, perms: str = "rw-s", *flags: str) -> dict[str, Any]:
    start, end = hex(0x7F00_0000_0000), hex(0x7F00_0000_0000 + pages * PAGE)
    where = {"start": start, "end": end, "offset": "0x0", "path": "/dev/foo"}
    return {**where, "perms": perms, "vmflags": list(flags), "smaps": {"Size": pages * 4}}


def observed(script: Script, changes: dict[str, dict[str, Any]]) -> Observation:
    """Return an observation of a script, with changes.

    The key of a change is the beginning of a line. It changes the last such line, or the one with
    the index `nth`.
    """
    places: dict[str, int] = {}
    answers = {}
    inside = False
    for number, line in enumerate(script.lines, 1):
        if line.startswith("#"):
            continue
        if line in ("endfork", "fork"):
            inside = line == "fork"
        if line != "endfork":
            answers[number] = answer(number, line, places)
            if inside and line != "fork":
                answers[number]["child"] = True
    for begins, change in changes.items():
        where = [number for number in answers if script.lines[number - 1].startswith(begins)]
        assert where, f"no step begins with {begins}"
        answers[where[change.pop("nth", -1)]].update(change)
    output = "".join(f"{json.dumps(fact)}\n" for fact in answers.values())
    return parse_observation(script, output + '{"done": true}\n', "status 0")


def complaints(name: str, changes: dict[str, dict[str, Any]]) -> list[str]:
    script, rules = TRIALS[name].script(HookPath.DIRECT, TARGET)
    return list(rules(observed(script.probe_script, changes)))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("sizes-shared", {"maps m": {"vmas": [vma(1)]}}, "4096 bytes are still mapped after"),
        (
            "sizes-shared",
            {"maps m": {"nth": 0, "vmas": [vma(2)]}},
            "8192 bytes are mapped, not 4096",
        ),
        (
            "sizes-shared",
            {"maps m": {"nth": 0, "vmas": [vma(1, "rwxs")]}},
            "the access of a VMA is rwxs",
        ),
        (
            "prot-rw-shared",
            {"read m 0": {"pages": [page(0)]}},
            "after mprotect to PROT_NONE a page reads",
        ),
        ("read-only-shared", {"mprotect m": {"errno": 0}}, "mprotect to rw of a read-only file"),
        ("write-only-shared", {}, "mmap of a write-only file: success, not EACCES"),
        ("exit-shared", {"fork": {"status": 1}}, "the child ended with 1"),
        (
            "again-shared",
            {"map m": {"error": "EBUSY"}},
            "identical mmap calls gave different results",
        ),
        (
            "again-shared",
            {"read m": {"pages": [page(0, "zero")]}},
            "page 0 is zero in a later mapping, was fill:0x61",
        ),
        ("fork-shared", {"read m": {"nth": 1, "pages": [page(1, "zero")]}}, "page 1 is zero in a"),
        ("fork-write-shared", {"read m": {"pages": [page(0)]}}, "a child's write does not show"),
        (
            "fork-write-private",
            {"read m": {"pages": [page(0, "fill:0x11")]}},
            "page 0 is fill:0x11 after a write in a child, was fill:0x61",
        ),
        ("munmap-part-shared", {"read m 1": {"pages": [page(1)]}}, "an unmapped page reads ok"),
        (
            "mprotect-part-shared",
            {"maps m": {"nth": 1, "vmas": [vma(3)]}},
            "12288 bytes are mapped, not",
        ),
        ("shrink-shared", {"read m": {"pages": [page(0, "SIGBUS")]}}, "page 0 is SIGBUS after"),
        (
            "grow-shared",
            {"maps m": {"nth": 0, "vmas": [vma(4, "rw-s", "de")]}},
            "mremap of a VM_DONTEXPAND mapping: success, not EFAULT",
        ),
        ("move-shared", {"maps m": {"vmas": [vma(4)]}}, "still mapped at the old address"),
        (
            "move-part-shared",
            {"read n": {"pages": [page(0, "zero")]}},
            "page 1 is zero after the move",
        ),
        ("move-refused-shared", {}, "mremap expanded it over the mapping behind it"),
        ("populate-shared", {"map m": {"error": "ENOMEM"}}, "mmap with populate: ENOMEM, not"),
        ("mlock-shared", {"status": {"fields": {"VmLck": 16}}}, "16 kB are locked after munmap"),
        ("dontneed-shared", {"read m": {"pages": [page(2, "zero")]}}, "page 2 is zero after MADV"),
        ("over-shared", {"read room": {"pages": [page(0, "zero"), page(5)]}}, "the pages beside"),
        ("adjacent-shared", {"read n": {"pages": [page(1, "zero")]}}, "in one of two adjacent"),
        ("write-shared", {"read m": {"pages": [page(0)]}}, "the write does not show"),
        (
            "write-private",
            {"read other": {"pages": [page(0, "fill:0x11")]}},
            "page 0 is fill:0x11 after a write to a private mapping",
        ),
        ("close-first-shared", {"read m": {"nth": 1, "pages": [page(0, "zero")]}}, "was closed"),
        ("unload-shared", {}, "the module can be unloaded while its node is mapped"),
        (
            "cut-first-shared",
            {"read m": {"pages": [page(1, "zero")]}},
            "page 1 is zero after the head was unmapped",
        ),
        ("edges-shared", {"maps m": {"vmas": [vma(1)]}}, "4096 bytes are still mapped after"),
        (
            "refused-shared",
            {
                "map wrong": {"nth": 1, "error": "EINVAL"},
                "maps wrong": {"nth": 1, "vmas": [vma(1)]},
            },
            "4096 bytes are still mapped after a call that failed",
        ),
        ("refused-shared", {"map m": {"error": "EBUSY"}}, "the right one fails with EBUSY"),
        (
            "refused-shared",
            {"read m": {"pages": [page(2, "zero")]}},
            "page 2 is zero beside calls that failed",
        ),
        ("peek-shared", {"peek m": {"pages": [page(0, "zero")]}}, "page 0 is zero as ptrace shows"),
        ("poke-shared", {}, "page 0 is fill:0x61 after a write by mem"),
        ("beside-shared", {"read n": {"pages": [page(1, "zero")]}}, "after munmap of its neighb"),
        (
            "beside-shared",
            {"read m": {"pages": [page(1, "zero")]}},
            "page 1 is zero beside a mapping of another file",
        ),
        (
            "duplicate-shared",
            {"read n": {"pages": [page(1, "zero")]}},
            "page 1 is zero after munmap of the first mapping",
        ),
        ("populate-later-shared", {"read m": {"pages": [page(0, "zero")]}}, "after munlock"),
    ],
)
def test_a_violated_rule_is_a_complaint(
    name: str, changes: dict[str, dict[str, Any]], message: str
) -> None:
    assert any(message in each for each in complaints(name, changes)), complaints(name, changes)


def test_a_driver_may_forbid_access_by_a_debugger() -> None:
    refused: dict[str, Any] = {"pages": [{"page": index, "result": "EIO"} for index in range(4)]}
    assert complaints("peek-shared", {"peek m": refused}) == []
    assert not any("ptrace" in each for each in complaints("poke-shared", {"poke m": refused}))


def test_a_driver_may_permit_one_mapping_for_each_open_file() -> None:
    once: dict[str, dict[str, Any]] = {
        "map wrong": {"nth": 0, "error": "EBUSY"},
        "map m": {"error": "EBUSY"},
    }
    assert complaints("refused-shared", once) == []


def test_pages_may_be_lost_after_madvise() -> None:
    lost = {"pages": [page(index, "SIGBUS") for index in range(4)]}
    seen = complaints("dontneed-shared", {"read m": lost})
    assert not any("SIGBUS" in each for each in seen)


def test_contents_are_not_compared_unless_the_node_is_plain_memory() -> None:
    node = DriverNode("/dev/foo", "foo", memory=False)
    script, rules = TRIALS["fork-shared"].script(HookPath.DIRECT, node)
    seen = observed(script.probe_script, {"read m": {"pages": [page(0, "zero")]}})
    assert not any("page 0" in each for each in rules(seen))
    assert not any("content" in where for where in script.facts(seen))


def test_a_module_may_be_unloaded_while_a_file_that_does_not_pin_it_is_mapped() -> None:
    node = DriverNode("/sys/kernel/foo/ring", "foo", memory=True)
    script, rules = TRIALS["unload-shared"].script(HookPath.DIRECT, node)
    assert list(rules(observed(script.probe_script, {}))) == []


# The comparison of paths.


def facts(name: str, path: HookPath, changes: dict[str, dict[str, Any]]) -> dict[str, str]:
    script, _ = TRIALS[name].script(path, TARGET)
    return script.facts(observed(script.probe_script, changes))


@pytest.mark.parametrize("path", MMAP_STACKS)
def test_facts_are_equal_on_equal_paths(path: HookPath) -> None:
    for name in TRIALS:
        assert facts(name, path, {}) == facts(name, HookPath.DIRECT, {}), name


def test_a_fact_names_its_step() -> None:
    found = facts("fork-shared", HookPath.STACK, {})
    assert found["1 map m FILE len=4p off=0p prot=rw flags=shared:.errno"] == "0"
    assert "3 read m all:.pages[0].content" in found


MAPPED = "1 map m FILE len=4p off=0p prot=rx flags=shared:"


@pytest.mark.parametrize(
    ("where", "first", "other", "listed"),
    [
        ("2 maps m:.vmas[0].vmflags", "mr rd", "me mr rd", False),
        ("2 maps m:.vmas[0].vmflags", "mr rd", "mr rd wr", True),
        ("3 vma m:.flags", "0x1b", "0x5b", False),
        ("3 vma m:.flags", "0x1b", "0x1f", True),
        ("3 msync m:.errno", "0", "22", False),
        ("3 munmap m:.errno", "0", "22", True),
        (f"{MAPPED}.error", "EPERM", "ENODEV", False),
        (f"{MAPPED}.error", "EINVAL", "ENODEV", True),
        ("9 map n FILE len=4p addr=room+4p:.error", "-", "EBUSY", False),
    ],
)
def test_properties_of_the_mapped_file_may_differ(
    where: str, first: str, other: str, listed: bool
) -> None:
    changes = path_changes({where: first}, {where: other})
    assert [each.where for each in changes] == [where] * listed


def test_another_mapping_that_the_files_mount_forbids_is_left_out_with_the_steps_that_show_it() -> (
    None
):
    words = "map wrong FILE len=8p off=0p prot=x flags=shared"
    first = {f"7 {words}:.error": "EPERM", "8 maps wrong:.vmas": "0", "10 read m 0:.result": "ok"}
    other = {f"7 {words}:.error": "-", "8 maps wrong:.vmas": "1", "10 read m 0:.result": "SIGBUS"}
    assert [each.where for each in path_changes(first, other)] == ["10 read m 0:.result"]
    first[f"7 {words}:.error"] = "EINVAL"
    assert len(path_changes(first, other)) == 3


def test_a_step_that_only_one_path_has_is_listed() -> None:
    assert len(path_changes({"3 munmap m:.error": "EINVAL"}, {})) == 1
    assert path_changes({"3 msync m:.error": "EINVAL"}, {}) == []


def test_a_fact_hides_the_number_of_a_frame() -> None:
    mapped = vma(4, "rw-p") | {"offset": "0x123450000"}
    found = facts("fork-private", HookPath.DIRECT, {"maps m": {"nth": 0, "vmas": [mapped]}})
    assert found["2 maps m:.vmas[0].offset"] == "a frame"


# The survey.


def surveyed(plan: CheckPlan, answers: Iterator[tuple[str, list[str]]]) -> BaseMapping | None:
    """Return a survey's base mapping. An answer is the error of an mmap, and its pages' results."""
    survey = Survey(HookPath.DIRECT, TARGET, plan, "shared")
    lines = survey.script.probe_script.lines
    facts: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        if line.startswith("map "):
            error, results = next(answers)
            facts[number] = {"op": "map", "error": error}
            pages = [{"page": at, "result": result} for at, result in enumerate(results)]
            facts[number + 1] = {"op": "read", "pages": pages}
    output = "".join(f"{json.dumps({'step': step, **fact})}\n" for step, fact in facts.items())
    script = survey.script.probe_script
    return survey.base(parse_observation(script, output + '{"done": true}\n', ""))


def test_the_base_mapping_is_the_largest_whose_pages_are_all_accessible() -> None:
    plan = CheckPlan(sizes=(1, 4, 8), offsets=(0, 1), prots=("rw", "r"))
    rw: list[tuple[str, list[str]]] = [("EACCES", [])] * 6
    first = [("", ["ok"]), ("", ["ok"] * 4), ("", ["ok"] * 4 + ["SIGBUS"] * 4)]
    rest = [("", ["ok"]), ("EINVAL", []), ("EINVAL", [])]
    assert surveyed(plan, iter(rw + first + rest)) == BaseMapping("shared", 4, 0, "r")


def test_the_base_mapping_has_the_only_size_of_a_driver() -> None:
    plan = CheckPlan(sizes=(1, 16), offsets=(0, 2), prots=("rw",))
    answers = [("EINVAL", []), ("EINVAL", []), ("EINVAL", []), ("", ["ok"] * 16)]
    assert surveyed(plan, iter(answers)) == BaseMapping("shared", 16, 2, "rw")


def test_a_driver_that_maps_nothing_has_no_base_mapping() -> None:
    plan = CheckPlan(sizes=(1,), offsets=(0,), prots=("rw",))
    assert surveyed(plan, iter([("ENODEV", [])])) is None


# The report.


def outcome(trial: str, *complaints: str, path: str = "direct", **more: Any) -> TrialResult:
    return TrialResult(trial=trial, path=path, complaints=complaints, **more)


def checked(*outcomes: TrialResult) -> Checked:
    return Checked(
        arch="x86_64",
        kernel="7.3.4",
        driver="foo",
        node="/dev/foo",
        base_mappings=(str(SHARED),),
        outcomes=outcomes,
    )


def test_a_report_counts_trials_and_lists_those_that_do_not_hold() -> None:
    found = checked(
        outcome("fork"),
        outcome("move", "page 1 is zero"),
        outcome("move", "page 1 is zero", path="stack"),
        outcome("fail-map", path="stack", skipped="on debug only"),
    )
    lines = list(check_lines(found))
    assert "base mappings: shared rw, 4 pages at page 0" in lines
    assert "| direct | 1 | 1 | 0 |" in lines
    assert "| stack | 0 | 1 | 1 |" in lines
    assert lines[lines.index("- page 1 is zero") + 1] == "  2 times: move on direct, stack"
    assert "- skipped, on debug only: fail-map" in lines
    assert exit_status([found]) == 1
    assert exit_status([checked(outcome("fork"))]) == 0


@pytest.mark.parametrize(
    ("complaint", "hinted"),
    [
        ("page 0 is zero in a child, was fill:0x61", True),
        ("pages 0-2, 4 changed in a child: page 0 is zero, was fill:0x61", True),
        ("/sys/users is 2, was 1", False),
        ("mmap rw of a read-only file: success, not EACCES", False),
    ],
)
def test_a_report_of_a_changed_page_says_how_a_plan_names_it(complaint: str, hinted: bool) -> None:
    lines = list(check_lines(checked(outcome("fork", complaint))))
    assert any("volatile = [0]" in line for line in lines) == hinted


def test_a_driver_with_one_fault_has_a_report_of_one_screen() -> None:
    names = [name for name in TRIALS if name.endswith("-shared")]
    failed = [outcome(name, "warning: foo", path=path) for name in names for path in PATHS]
    lines = list(check_lines(checked(*failed)))
    assert len(lines) < 24
    assert f"  {len(failed)} times: {', '.join(names[:4])} and" in "\n".join(lines)


def test_a_report_for_programs_has_everything() -> None:
    (content,) = check_content([checked(outcome("fork", facts={"1 map m:.errno": "0"}))])
    assert content["outcomes"][0]["verdict"] == TrialStatus.HOLDS
    assert content["outcomes"][0]["facts"] == {"1 map m:.errno": "0"}


def test_equal_versions_have_no_difference() -> None:
    both = [checked(outcome("fork", facts={"1 map m:.errno": "0"})) for _ in range(2)]
    found = Conversion(both[0], both[1])
    assert found.differences == []
    assert "none on x86_64; trials compared: 1" in list(conversion_lines(found))
    assert exit_status([found]) == 0


def test_every_difference_is_shown() -> None:
    before = checked(
        outcome("fork", facts={"1 map m:.errno": "0"}), outcome("adjacent"), outcome("move")
    )
    after = checked(
        outcome("fork", facts={"1 map m:.errno": "22", "1 map m:.error": "EINVAL"}),
        outcome("adjacent", "foo.ko cannot be unloaded"),
        outcome("move"),
    )
    found = Conversion(before, after)
    assert [each.trial for each in found.differences] == ["fork", "adjacent"]
    lines = list(conversion_lines(found))
    first = lines.index("- 1 map m:.error")
    assert lines[first + 1 : first + 4] == [
        "    before: -",
        "    after:  EINVAL",
        "  fork on direct",
    ]
    assert "- 1 map m:.errno" not in lines  # the error says it
    assert "    after:  fails: foo.ko cannot be unloaded" in lines
    assert exit_status([found]) == 1
    assert (
        json.loads(json.dumps(check_content([found])))[0]["differences"][1]["trial"] == "adjacent"
    )


def test_a_difference_between_versions_that_hold_is_a_finding() -> None:
    before = checked(outcome("fork", facts={"1 map m:.errno": "0"}))
    after = checked(outcome("fork", facts={"1 map m:.errno": "22"}))
    assert exit_status([Conversion(before, after)]) == 1


def test_a_trial_that_only_the_newer_version_passes_is_a_difference() -> None:
    found = Conversion(checked(outcome("fork", "leaks")), checked(outcome("fork")))
    assert [each.changes[0].new for each in found.differences] == ["holds"]
