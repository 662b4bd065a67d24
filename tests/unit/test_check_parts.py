# SPDX-License-Identifier: GPL-2.0
"""Parts of `testbed check`: steps on a file, refusals, groups, opening, loading, looking twice."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from testbed.check.alike import Alike, alike_changes, alike_complaints, collapsed, telling
from testbed.check.checkplan import CheckPlan, load_check_plan
from testbed.check.drivernode import DriverNode, Unsteady
from testbed.check.filesteps import WrongStep, shown, step_words
from testbed.check.invariants import ranges
from testbed.check.loading import chosen_modules, references
from testbed.check.opening import Opener
from testbed.check.refusals import refused, tried
from testbed.check.script import BaseMapping, DriverScript
from testbed.check.survey import Look
from testbed.errors import SetupError
from testbed.kernel.driver import Driver, Module
from testbed.mmap.observation import Observation, parse_observation
from testbed.mmap.path import HookPath
from testbed.mmap.script import Script
from testbed.report.diff import FactChange

# Steps on an open file.


def offset_at(place: Any) -> dict[str, Any]:
    return {"ioctl": 1, "bytes": "00", "mmap_offset": place}


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"ioctl": 0x40047201, "value": 8}, "ioctl file 0x40047201 value=8"),
        ({"ioctl": 1}, "ioctl file 0x1 value=0"),
        ({"ioctl": 1, "bytes": "00 FF"}, "ioctl file 0x1 bytes=00ff"),
        (
            {"ioctl": 1, "bytes": "00", "mmap_offset": {"byte": 8, "bits": 64}},
            "ioctl file 0x1 bytes=00 mmap_offset=8 bits=64",
        ),
        ({"write": "on"}, "write_file file 6f6e"),
        ({"write": {"bytes": "0A"}}, "write_file file 0a"),
        ({"read": 16}, "read_file file 16"),
    ],
)
def test_a_step_becomes_one_of_the_probe(step: dict[str, Any], words: str) -> None:
    assert " ".join(step_words(step)) == words


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({}, "is not one of ioctl, write and read"),
        ({"ioctl": 1, "write": "on"}, "is not one of"),
        ({"ioctl": -1}, "-1 is not a number"),
        ({"ioctl": 1 << 32}, "is not a number from 0 to 0xffffffff"),
        ({"ioctl": True}, "True is not a number"),
        ({"ioctl": 1, "value": 1, "bytes": "00"}, "both a value and bytes"),
        ({"ioctl": 1, "bytes": "0"}, "not a text of bytes in hexadecimal"),
        ({"ioctl": 1, "bytes": ""}, "0 bytes are not between"),
        ({"ioctl": 1, "mmap_offset": {"byte": 8, "bits": 64}}, "mmap_offset needs bytes"),
        (offset_at(8), "is 8, not {byte = NUMBER, bits = 32 or 64}"),
        (offset_at({"byte": 8}), "not {byte = NUMBER, bits = 32 or 64}"),
        (offset_at({"byte": 8, "bits": 64, "base": 0}), "not {byte = NUMBER"),
        (offset_at({"byte": 8, "bits": 16}), "32 or 64 bits, not 16"),
        (offset_at({"byte": 8, "bits": True}), "32 or 64 bits, not True"),
        (offset_at({"byte": -1, "bits": 64}), "-1 is not a number"),
        (offset_at({"byte": 16377, "bits": 64}), "is not a number from 0 to 0x3ff8"),
        ({"read": 1, "mmap_offset": {"byte": 0, "bits": 64}}, "read does not take 'mmap_offset'"),
        ({"write": ""}, "is neither a text nor"),
        ({"write": "on", "value": 1}, "write does not take 'value'"),
        ({"read": 1 << 20}, "is not a number"),
        ({"iotcl": 1}, "unknown key 'iotcl'; did you mean ioctl?"),
    ],
)
def test_an_unusable_step_is_refused(step: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongStep, match=re.escape(message)):
        step_words(step)


def test_messages_show_a_step_without_the_files_name() -> None:
    assert shown(("write_file", "file", "6f6e")) == "write 6f6e"


# The plan.


_OFFSET = '{ioctl = 1, bytes = "00", mmap_offset = {byte = 0, bits = 32}}'


def plan_of(tmp_path: Path, text: str) -> CheckPlan:
    file = tmp_path / "foo.toml"
    file.write_text(text)
    return load_check_plan(file)


def test_sizes_and_offsets_count_in_units_from_the_base(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path, "sizes = [1, 2]\noffsets = [0, 3]\nunit = 4\nbase = 100\nvolatile = [0]"
    )
    assert (plan.sizes, plan.offsets, plan.volatile) == ((4, 8), (100, 112), (100,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unit = 0", "0 is less than 1"),
        ("base = -1", "-1 is less than 0"),
        ("volatile = [-1]", "-1 is less than 0"),
        ("modules = []", "leaves nothing to try"),
        ("parameters = 1", "neither a text nor a table"),
        ('mknod = "a:b"', "is not NAME or NAME:MINOR"),
        ("steps = [{ioctl = -1}]", "-1 is not a number"),
        ('steps = ["ioctl"]', "is not a list of dict"),
        (f"steps = [{_OFFSET}, {_OFFSET}]", "several steps have an mmap_offset"),
    ],
)
def test_an_unusable_key_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SetupError, match=message):
        plan_of(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ('parameters = "a=1"', {"core": "", "foo": "a=1"}),
        ('parameters = {core = "a=1"}', {"core": "a=1", "foo": ""}),
    ],
)
def test_each_module_has_its_parameters(
    tmp_path: Path, text: str, parameters: dict[str, str]
) -> None:
    plan = plan_of(tmp_path, text)
    found = {name: plan.parameters_of(name, last=name == "foo") for name in ("core", "foo")}
    assert found == parameters


# Modules.


def module(name: str, *depends: str) -> Module:
    return Module(Path(f"{name}.ko"), name, depends, "7.3.4")


DRIVER = Driver((module("core"), module("foo", "core"), module("test")))


def test_a_plan_chooses_modules_and_their_order() -> None:
    plan = CheckPlan(modules=("test", "core", "foo"))
    assert [each.name for each in chosen_modules(DRIVER, plan)] == ["test", "core", "foo"]
    assert chosen_modules(DRIVER, CheckPlan()) == DRIVER.modules


@pytest.mark.parametrize(
    ("plan", "message", "hint"),
    [
        (CheckPlan(modules=("fo",)), "names the module fo", "did you mean foo?"),
        (CheckPlan(parameters={"bar": ""}), "names the module bar", "choose from"),
        (CheckPlan(modules=("foo",)), "foo needs core", "add core"),
        (CheckPlan(modules=("foo", "core")), "does not load before it", "add core"),
    ],
)
def test_an_impossible_choice_of_modules_is_refused(
    plan: CheckPlan, message: str, hint: str
) -> None:
    with pytest.raises(SetupError, match=message) as caught:
        chosen_modules(DRIVER, plan)
    assert hint in caught.value.hint


def test_references_by_modules_do_not_count() -> None:
    text = (
        "foo 16384 2 bar, Live 0x0 (O)\nbar 16384 0 - Live 0x0\n"
        "stays 16384 0 [permanent], Live 0x0\n"
    )
    assert references(text) == {"foo": 1, "bar": 0, "stays": 0}


# Opening.


def opened(
    errors: Mapping[str, str], pinned: str = "foo", mmap_offset: str = ""
) -> tuple[Opener, list[str]]:
    """Judge an opening in which some modes fail, and each open file pins a module."""
    opener = Opener("/dev/foo", ("core", "foo"), (("ioctl", "file", "0x1"),))
    facts, mode = [], ""
    for number, line in enumerate(opener.script.lines, 1):
        words = line.split()
        fact: dict[str, Any] = {"step": number, "op": words[0], "errno": 0}
        if words[0] == "open":
            mode = words[3]
            fact |= {"error": errors[mode]} if mode in errors else {}
        if words[0] == "ioctl" and "ioctl" in errors:
            fact["error"] = errors["ioctl"]
        if words[0] == "ioctl" and mmap_offset:
            fact["mmap_offset"] = mmap_offset
        if words[0] == "show":
            count = int(bool(mode) and mode not in errors)
            fact["lines"] = [f"{pinned} 1 {count} - Live 0x0"]
        facts.append(fact)
    output = "".join(f"{json.dumps(fact)}\n" for fact in facts) + '{"done": true}\n'
    complaints, _ = opener.judge(parse_observation(opener.script, output, ""))
    return opener, complaints


def test_a_node_opens_for_reading_and_writing_or_else_for_reading() -> None:
    assert opened({})[0].opening.mode == "rw"
    opener, complaints = opened({"rw": "EACCES", "wo": "EACCES"})
    assert complaints == []
    assert opener.opening.mode == "ro"
    node = DriverNode("/dev/foo", "foo", memory=True)
    assert [*opener.opening.notes(node)] == ["/dev/foo opens for reading only (rw: EACCES)"]


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ({"rw": "EINVAL", "ro": "EPERM"}, "opens for writing only (rw: EINVAL, ro: EPERM)"),
        ({"rw": "ENXIO", "ro": "ENXIO", "wo": "ENXIO"}, "cannot be opened: ENXIO"),
        ({"rw": "EIO", "ro": "ENXIO", "wo": "ENXIO"}, "rw: EIO, ro: ENXIO, wo: ENXIO"),
        ({"ioctl": "ENOTTY"}, "step 1 of the plan fails: ioctl 0x1: ENOTTY"),
    ],
)
def test_a_node_that_cannot_be_mapped_says_why(errors: dict[str, str], message: str) -> None:
    [complaint] = opened(errors)[1]
    assert message in complaint


@pytest.mark.parametrize(("pinned", "owner"), [("core", "core"), ("foo", "foo"), ("framework", "")])
def test_the_owner_is_the_module_that_an_open_file_pins(pinned: str, owner: str) -> None:
    assert opened({}, pinned)[0].opening.owner == owner


@pytest.mark.parametrize(("offset", "said"), [("0x10000", ""), ("0x10", "0x10: not a multiple")])
def test_the_mmap_offset_is_noted_and_must_be_whole_pages(offset: str, said: str) -> None:
    opener, complaints = opened({}, mmap_offset=offset)
    assert [said in each for each in complaints] == [True] * bool(said)
    [note] = opener.opening.notes(DriverNode("/dev/foo", "foo", memory=True))
    assert note == f"offsets count from the mmap offset of the ioctl, at first {offset}"


def test_facts_count_from_the_last_mmap_offset() -> None:
    node = DriverNode("/dev/foo", "foo", memory=True, setup=(("ioctl", "file", "0x1"),))
    found = [offset_facts(node, at) for at in (0x10, 0x30, 0x500000)]
    assert found[0] == found[1] == found[2]
    assert [value for key, value in found[0].items() if "offset" in key or "pgoff" in key] == [
        *("1p", "2p", "1p"),
    ]


def offset_facts(node: DriverNode, pages: int) -> dict[str, str]:
    """The facts of a script in which the ioctl returns another page after each open."""
    script = DriverScript(HookPath.DIRECT, node, BaseMapping("shared", 4, 1, "rw"))
    script.map(), script.maps(), script.step("vma", "m")
    script.reopen()
    script.map(), script.maps()
    facts = []
    for number, line in enumerate(script.probe_script.lines, 1):
        op = line.split()[0]
        if op == "#":
            continue
        fact: dict[str, Any] = {"step": number, "op": op, "errno": 0}
        if op == "env":
            fact |= {"page_size": 4096, "pool_pfn": "0x999999"}
        if op == "ioctl":
            pages += 16
            fact["mmap_offset"] = hex(pages * 4096)
        if op == "maps":
            fact["vmas"] = [{"offset": hex((pages + 1) * 4096)}]
        if op == "vma":
            fact["pgoff"] = hex(pages + 2)
        facts.append(fact)
    output = "".join(f"{json.dumps(fact)}\n" for fact in facts) + '{"done": true}\n'
    return script.facts(parse_observation(script.probe_script, output, ""))


# Refusals.


def answers(refuse: Mapping[tuple[str, int, int], str]) -> dict[tuple[str, int, int], str]:
    calls = [(prot, at, size) for prot in ("rw", "r") for at in (0, 1) for size in (1, 2, 4)]
    return {call: refuse.get(call, "") for call in calls}


def everywhere(error: str, **only: Any) -> dict[tuple[str, int, int], str]:
    names = ("prot", "at", "size")
    return {
        call: error
        for call in answers({})
        if all(call[names.index(key)] in value for key, value in only.items())
    }


@pytest.mark.parametrize(
    ("refuse", "lines"),
    [
        ({}, []),
        (everywhere("EACCES", prot=("rw",)), ["protection rw: EACCES"]),
        (everywhere("EINVAL", at=(1,)), ["offset 1: EINVAL"]),
        (everywhere("EINVAL", size=(2, 4)), ["2, 4 pages: EINVAL"]),
        (everywhere("EINVAL", at=(1,), size=(4,)), ["4 pages at offset 1: EINVAL"]),
        (everywhere("EINVAL"), ["protection rw, r: EINVAL"]),
        (
            everywhere("EACCES", prot=("rw",)) | everywhere("ENXIO", at=(1,), prot=("r",)),
            ["protection rw: EACCES", "offset 1: ENXIO"],
        ),
        ({("rw", 0, 2): "EPERM"}, ["rw, 2 pages at offset 0: EPERM"]),
    ],
)
def test_refusals_are_named_in_few_words(
    refuse: dict[tuple[str, int, int], str], lines: list[str]
) -> None:
    assert list(refused(answers(refuse))) == lines


def test_all_that_was_tried_is_named() -> None:
    assert tried(answers({})) == "rw, r; 1-2, 4 pages; offset 0-1"


def test_ranges() -> None:
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"


# Groups.

PLACES = [(f"trial{number}", path) for number in range(20) for path in ("direct", "stack")]


def test_an_equal_complaint_is_shown_once_with_its_number() -> None:
    found = [("WARNING: foo", place) for place in PLACES]
    found += [
        (f"{number} map m FILE len=4p:.vmas[{number}].perms is r--s", place)
        for number, place in enumerate(PLACES)
    ]
    first, second = alike_complaints(found)
    assert first.where == "40 times: trial0, trial1, trial2, trial3 and 16 more on direct, stack"
    assert len(second.places) == 40


def test_a_flag_that_changed_everywhere_is_one_change() -> None:
    changes = [
        FactChange(f"{number} maps m:.vmas[0].vmflags", f"de me rd {more}", f"de rd {more}")
        for number, more in enumerate(("", "wr", "sh wr"))
    ]
    changes.append(FactChange("2 maps m:.vmas[0].vmflags", "de rd", "de me rd"))
    groups = alike_changes((change, ("fork", "direct")) for change in changes)
    assert [len(group.places) for group in groups] == [3, 1]


def test_an_error_says_more_than_its_number() -> None:
    both = [FactChange(f"1 map m:.{name}", "a", "b") for name in ("errno", "error", "len")]
    assert [each.where for each in telling(both)] == ["1 map m:.error", "1 map m:.len"]
    assert [*telling(both[:1])] == both[:1]


def test_one_trial_is_not_counted() -> None:
    assert Alike("page 1 is zero", [("fork", "direct")]).where == "fork on direct"


def test_a_splat_that_repeats_is_counted() -> None:
    assert collapsed("warning: a; warning: b; warning: a") == "warning: a (2 times); warning: b"


# Looking twice.

NODE = DriverNode("/dev/foo", "foo", memory=True)
BASE = BaseMapping("shared", 2, 0, "rw")


def looked(contents: list[list[str]]) -> Unsteady:
    """Return what a look finds, with the contents of two pages for each of its readings."""
    look = Look(HookPath.DIRECT, NODE, BASE, [0], 100)
    facts = []
    readings = iter(contents)
    for number, line in enumerate(look.script.probe_script.lines, 1):
        if line.startswith("read "):
            pages = [
                {"page": at, "result": "ok", "content": content}
                for at, content in enumerate(next(readings))
            ]
            facts.append({"step": number, "op": "read", "pages": pages})
    output = "".join(f"{json.dumps(fact)}\n" for fact in facts)
    seen = parse_observation(look.script.probe_script, output + '{"done": true}\n', "")
    return look.unsteady(seen)


def test_a_page_that_changes_by_itself_is_found() -> None:
    found = looked([["a", "b"], ["A", "b"], ["A", "b"], ["B", "b"]])
    assert found == Unsteady(frozenset({(0, 0)}))
    assert found.has(0, 0, across=False)
    assert not found.has(0, 1, across=True)
    assert Unsteady(frozenset({(1, 0)})).has(0, 1, across=False)


def test_a_page_that_differs_between_mappings_is_compared_within_one() -> None:
    found = looked([["a", "b"], ["a", "b"], ["a", "c"], ["a", "d"]])
    assert found == Unsteady(by_mapping=frozenset({(0, 1)}))
    assert found.has(0, 1, across=True)
    assert not found.has(0, 1, across=False)
    assert found.has(1, 0, across=True)  # the same page, by another offset


def observed_read(script: DriverScript, step: int, *contents: str) -> Observation:
    pages = [{"page": at, "result": "ok", "content": each} for at, each in enumerate(contents)]
    facts = [
        {"step": 1, "op": "env", "page_size": 4096},
        {"step": script.opened, "op": "open"},
        {"step": step, "op": "read", "pages": pages},
    ]
    output = "".join(f"{json.dumps(fact)}\n" for fact in facts)
    return parse_observation(Script(script.probe_script.lines), output + '{"done": true}\n', "")


@pytest.mark.parametrize(
    ("node", "pages"),
    [
        (NODE, [0, 1]),
        (DriverNode("/dev/foo", "foo", True, unsteady=Unsteady(frozenset({(0, 3)}))), [0]),
        (DriverNode("/dev/foo", "foo", True, fresh=False), []),
        (DriverNode("/dev/foo", "foo", memory=False), []),
    ],
    ids=["steady", "unsteady", "used", "registers"],
)
def test_the_facts_lack_the_content_of_unsteady_pages(node: DriverNode, pages: list[int]) -> None:
    script = DriverScript(HookPath.DIRECT, node, BASE)
    script.map(offset=2)
    step = script.read()
    facts = script.facts(observed_read(script, step, "a", "b"))
    assert [where[-10] for where in facts if where.endswith(".content")] == [*map(str, pages)]


def test_the_facts_are_empty_if_the_node_does_not_open() -> None:
    script = DriverScript(HookPath.DIRECT, NODE, BASE, "wo")
    step = script.read()
    seen = observed_read(script, step, "a", "b")
    facts = dict(seen.facts)
    key = (script.opened, False, 0)
    failed = {**facts[key].values, "error": "EACCES"}
    facts[key] = type(facts[key])(script.opened, "open", False, 0, failed)
    assert script.facts(Observation(seen.script, seen.output, facts)) == {}


def test_a_large_mapping_is_read_in_part() -> None:
    node = DriverNode("/dev/foo", "foo", memory=True, unit=16)
    script = DriverScript(HookPath.DIRECT, node, BaseMapping("shared", 64, 0, "rw"))
    assert script.sample == [0, 15, 16, 31, 32, 47, 48, 63]
    assert script.part_words == "16-31"
    small = DriverScript(HookPath.DIRECT, NODE, BASE)
    assert small.sample == [0, 1]
    assert small.part_words == "1"
