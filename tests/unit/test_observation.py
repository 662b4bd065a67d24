# SPDX-License-Identifier: GPL-2.0
"""The output of the guest program becomes facts, or an error that quotes it."""

from __future__ import annotations

import json

import pytest

from testbed.errors import ProbeKilled, ProbeProtocolError
from testbed.mmap.observation import Observation, named, names, parse_observation
from testbed.mmap.oracle import canonical_descriptor, canonical_vma
from testbed.mmap.script import Script

VMA = {
    "start": "0x7f0000000000",
    "end": "0x7f0000004000",
    "perms": "rw-s",
    "offset": "0x3000",
    "path": "/dev/mmap_stack",
    "vmflags": ["rd", "wr", "sh", "sd"],
    "smaps": {"Rss": 0, "ProtectionKey": 0},
}
ENTRY = (
    "7 pid=42 prepare file=mmap_direct#1 vm_file=mmap_stack#2 mm=current "
    "start=0x7f0000000000 end=0x7f0000004000 pgoff=0x3 flags=0xfb vm_ops=dummy private=NULL"
)


def observe(*facts: dict[str, object], done: bool = True) -> Observation:
    """Return the observation of a script whose steps report these facts."""
    script = Script([f"step {n}" for n, _ in enumerate(facts)])
    lines = [json.dumps({"step": n, "op": "x", **fact}) for n, fact in enumerate(facts, 1)]
    end = ['{"done":true}'] if done else []
    return parse_observation(script, "\n".join(lines + end), "status 0")


def test_a_fact_is_found_by_its_step() -> None:
    seen = observe({"errno": 0}, {"errno": 22, "error": "EINVAL"})
    assert [seen[step].error for step in (1, 2)] == ["", "EINVAL"]


def test_a_fact_of_the_child_is_found_by_its_step() -> None:
    assert observe({}, {"child": True, "errno": 5})[2].errno == 5


def test_each_round_of_a_sweep_has_its_own_facts() -> None:
    script = Script(["env", "sweep 3", "fail_nth", "map", "endsweep"])
    lines = [{"step": 1, "op": "env", "errno": 7}]
    lines += [{"step": 4, "op": "map", "round": n, "injected": n < 3} for n in (1, 2, 3)]
    output = "\n".join(map(json.dumps, [*lines, {"done": True}]))
    seen = parse_observation(script, output, "status 0")
    assert [one[4].injected for one in seen.rounds] == [True, True, False]
    assert {one[1].errno for one in seen.rounds} == {7}
    with pytest.raises(ProbeProtocolError, match="step 4 has no fact"):
        _ = seen[4]


def test_vmas_are_compared_without_address_and_file() -> None:
    elsewhere = VMA | {"start": "0x1000", "end": "0x5000", "path": "/dev/mmap_direct"}
    other = elsewhere | {"vmflags": ["rd", "wr", "sh", "mg"]}
    one, two = (observe({"vmas": [vma]})[1].vma for vma in (VMA, other))
    assert (one.size, one.offset, one.path) == (0x4000, 0x3000, "/dev/mmap_stack")
    assert canonical_vma(one) == canonical_vma(two)
    shifted = observe({"vmas": [VMA | {"offset": "0x4000"}]})[1].vma
    assert canonical_vma(one) != canonical_vma(shifted)


def test_a_missing_key_of_a_fact_fails_the_test() -> None:
    (fact, pages) = observe({"error": "EINVAL"}, {"pages": [{"result": "SIGBUS"}]}).facts.values()
    with pytest.raises(AssertionError, match=r"the fact has no addr, only .*EINVAL"):
        _ = fact.address
    with pytest.raises(AssertionError, match="the fact has no pte_pfn"):
        _ = pages.values["pages"][0]["pte_pfn"]


def test_two_vmas_are_an_error_where_one_is_expected() -> None:
    with pytest.raises(AssertionError, match="found 2"):
        _ = observe({"vmas": [VMA, VMA]})[1].vma


def test_a_page_has_content_or_a_signal() -> None:
    pages = [{"result": "ok", "content": "pool:1"}, {"result": "SIGBUS"}]
    fact = observe({"pages": pages})[1]
    assert (fact.results, fact.contents) == (["ok", "SIGBUS"], ["pool:1", "SIGBUS"])


def test_the_hook_log_is_parsed_into_events() -> None:
    fact = observe({"lines": [ENTRY, "8 pid=42 mapped start=0x1"], "lost": 0})[1]
    assert names(fact.events) == ["prepare", "mapped"]
    (entry,) = named(fact.events, "prepare")
    assert (entry.node("vm_file"), entry.number("pgoff"), entry.pid) == ("mmap_stack", 3, 42)
    assert canonical_descriptor(entry)["size"] == 0x4000
    assert not {"start", "file", "vm_file"} & canonical_descriptor(entry).keys()


def test_a_log_that_lost_records_is_an_error() -> None:
    with pytest.raises(ProbeProtocolError, match="lost 3 records"):
        _ = observe({"lines": [], "lost": 3})[1].events


def test_output_that_is_cut_off_is_an_error_that_quotes_it() -> None:
    with pytest.raises(ProbeProtocolError, match="ended early") as caught:
        observe({"errno": 0}, done=False)
    assert '"errno": 0' in caught.value.evidence


def test_a_program_that_the_kernel_killed_has_its_own_error() -> None:
    with pytest.raises(ProbeKilled, match="ended early"):
        parse_observation(Script(["env"]), "", "signal 11", killed=True)


def test_a_missing_child_fails_the_test_that_needs_its_facts() -> None:
    script = Script(["fork", "env", "endfork", "env"])
    seen = parse_observation(script, '{"done":true}', "status 0")
    with pytest.raises(AssertionError, match="step 2 has no fact: no child ran it"):
        _ = seen[2]
    with pytest.raises(ProbeProtocolError, match="step 4 has no fact"):
        _ = seen[4]


@pytest.mark.parametrize("output", ["Segmentation fault", "[1]", '{"step":'])
def test_an_invalid_line_is_quoted(output: str) -> None:
    with pytest.raises(ProbeProtocolError) as caught:
        parse_observation(Script(["env"]), output, "status 0")
    assert output in caught.value.evidence


def test_the_error_names_a_refused_step() -> None:
    refusal = '{"step":2,"error":"usage","text":"unknown step fly"}'
    with pytest.raises(ProbeProtocolError, match="unknown step fly") as caught:
        parse_observation(Script(["env", "fly m"]), refusal, "status 2")
    assert caught.value.evidence == "fly m"


def test_a_step_without_a_fact_is_an_error() -> None:
    with pytest.raises(ProbeProtocolError, match="step 9 has no fact"):
        _ = observe({"errno": 0})[9]
