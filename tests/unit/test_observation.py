# SPDX-License-Identifier: GPL-2.0
"""What the guest program printed becomes facts, or an error that quotes it."""

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
    """The observation of a script whose steps report these facts."""
    script = Script([f"step {n}" for n, _ in enumerate(facts)])
    lines = [json.dumps({"step": n, "op": "x", **fact}) for n, fact in enumerate(facts, 1)]
    end = ['{"done":true}'] if done else []
    return parse_observation(script, "\n".join(lines + end), "status 0")


def test_a_step_is_found_by_its_number() -> None:
    seen = observe({"errno": 0}, {"errno": 22, "error": "EINVAL"})
    assert [seen[step].error for step in (1, 2)] == ["", "EINVAL"]


def test_a_fact_of_the_child_is_found_by_its_step() -> None:
    assert observe({}, {"child": True, "errno": 5})[2].errno == 5


def test_a_round_of_a_sweep_has_facts_of_its_own() -> None:
    script = Script(["env", "sweep 3", "fail_nth", "map", "endsweep"])
    lines = [{"step": 1, "op": "env", "errno": 7}]
    lines += [{"step": 4, "op": "map", "round": n, "injected": n < 3} for n in (1, 2, 3)]
    output = "\n".join(map(json.dumps, [*lines, {"done": True}]))
    seen = parse_observation(script, output, "status 0")
    assert [one[4].injected for one in seen.rounds] == [True, True, False]
    assert {one[1].errno for one in seen.rounds} == {7}
    with pytest.raises(ProbeProtocolError, match="step 4 has no fact"):
        _ = seen[4]


def test_a_vma_is_read_and_compared_without_place_and_file() -> None:
    elsewhere = VMA | {"start": "0x1000", "end": "0x5000", "path": "/dev/mmap_direct"}
    other = elsewhere | {"vmflags": ["rd", "wr", "sh", "mg"]}
    one, two = (observe({"vmas": [vma]})[1].vma for vma in (VMA, other))
    assert (one.size, one.offset, one.path) == (0x4000, 0x3000, "/dev/mmap_stack")
    assert canonical_vma(one) == canonical_vma(two)
    shifted = observe({"vmas": [VMA | {"offset": "0x4000"}]})[1].vma
    assert canonical_vma(one) != canonical_vma(shifted)


def test_to_look_for_what_a_step_does_not_tell_is_an_expectation_not_met() -> None:
    (fact, pages) = observe({"error": "EINVAL"}, {"pages": [{"result": "SIGBUS"}]}).facts.values()
    with pytest.raises(AssertionError, match=r"no addr is told, only .*EINVAL"):
        _ = fact.address
    with pytest.raises(AssertionError, match="no pte_pfn is told"):
        _ = pages.values["pages"][0]["pte_pfn"]


def test_two_vmas_are_not_one() -> None:
    with pytest.raises(AssertionError, match="found 2"):
        _ = observe({"vmas": [VMA, VMA]})[1].vma


def test_pages_give_content_or_signal() -> None:
    pages = [{"result": "ok", "content": "pool:1"}, {"result": "SIGBUS"}]
    fact = observe({"pages": pages})[1]
    assert (fact.results, fact.contents) == (["ok", "SIGBUS"], ["pool:1", "SIGBUS"])


def test_the_hook_log_is_read_event_by_event() -> None:
    fact = observe({"lines": [ENTRY, "8 pid=42 mapped start=0x1"], "lost": 0})[1]
    assert names(fact.events) == ["prepare", "mapped"]
    (entry,) = named(fact.events, "prepare")
    assert (entry.node("vm_file"), entry.number("pgoff"), entry.pid) == ("mmap_stack", 3, 42)
    assert canonical_descriptor(entry)["size"] == 0x4000
    assert not {"start", "file", "vm_file"} & canonical_descriptor(entry).keys()


def test_a_log_that_lost_records_is_no_evidence() -> None:
    with pytest.raises(ProbeProtocolError, match="lost 3 records"):
        _ = observe({"lines": [], "lost": 3})[1].events


def test_an_output_that_is_cut_is_an_error_with_what_came() -> None:
    with pytest.raises(ProbeProtocolError, match="ended early") as caught:
        observe({"errno": 0}, done=False)
    assert '"errno": 0' in caught.value.evidence


def test_a_program_that_the_kernel_killed_is_the_kernels_fault() -> None:
    with pytest.raises(ProbeKilled, match="ended early"):
        parse_observation(Script(["env"]), "", "signal 11", killed=True)


def test_a_child_that_never_was_fails_the_test_that_asks_for_its_facts() -> None:
    script = Script(["fork", "env", "endfork", "env"])
    seen = parse_observation(script, '{"done":true}', "status 0")
    with pytest.raises(AssertionError, match="step 2 has no fact: no child took it"):
        _ = seen[2]
    with pytest.raises(ProbeProtocolError, match="step 4 has no fact"):
        _ = seen[4]


@pytest.mark.parametrize("output", ["Segmentation fault", "[1]", '{"step":'])
def test_what_is_no_fact_is_quoted(output: str) -> None:
    with pytest.raises(ProbeProtocolError) as caught:
        parse_observation(Script(["env"]), output, "status 0")
    assert output in caught.value.evidence


def test_a_step_that_the_program_refuses_is_named() -> None:
    refusal = '{"step":2,"error":"usage","text":"unknown step fly"}'
    with pytest.raises(ProbeProtocolError, match="unknown step fly") as caught:
        parse_observation(Script(["env", "fly m"]), refusal, "status 2")
    assert caught.value.evidence == "fly m"


def test_a_step_without_a_fact_is_an_error() -> None:
    with pytest.raises(ProbeProtocolError, match="step 9 has no fact"):
        _ = observe({"errno": 0})[9]
