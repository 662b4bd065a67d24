# SPDX-License-Identifier: GPL-2.0
"""The complaints of a sweep about the facts of a simulated guest program."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.mmap.faultinject import MAX_ROUNDS, InjectedCall, Sweep
from testbed.mmap.observation import Observation, parse_observation
from testbed.mmap.path import HookPath

SIZE = 4096
ROOM = 0x10000000
ALLOCATIONS = 3


class SimulatedProgram:
    """Answers a sweep's script like a kernel whose mmap makes three allocations."""

    def __init__(self, sweep: Sweep, fault: str = "") -> None:
        self.script = sweep.script
        self.fault = fault
        self.mapped: list[tuple[str, int, int]] = []  # file, first page, number of pages
        self.armed = 0
        self.references = 2

    def observe(self) -> Observation:
        facts = [json.dumps(fact) for fact in self._run()]
        return parse_observation(self.script, "\n".join([*facts, '{"done":true}']), "status 0")

    def _run(self) -> Iterator[dict[str, Any]]:
        lines = [line.split() for line in self.script.lines]
        first = lines.index(next(line for line in lines if line[0] == "sweep"))
        for number in range(1, first + 1):
            yield self._answer(number, lines[number - 1], 0)
        for turn in range(1, ALLOCATIONS + 2):
            for number in range(first + 2, len(lines)):
                yield self._answer(number, lines[number - 1], turn)

    def _answer(self, number: int, words: list[str], turn: int) -> dict[str, Any]:
        fact: dict[str, Any] = {"step": number, "op": words[0], "errno": 0}
        fact |= {"round": turn} if turn else {}
        answer = getattr(self, f"_{words[0]}", None)
        return fact | (answer(words, turn) if answer else {})

    def _map(self, words: list[str], turn: int) -> dict[str, Any]:
        pages = int(words[3].removeprefix("len=").removesuffix("p"))
        if words[1] == "room":
            return {"addr": hex(ROOM), "len": pages * SIZE}
        armed, self.armed = self.armed, 0
        injected = {"injected": 0 < armed <= ALLOCATIONS} if armed else {}
        if injected.get("injected"):
            return injected | self._fail()
        at = int(words[-1].removeprefix("addr=room+").removesuffix("p"))
        self.mapped.append((words[2], at, pages))
        return injected

    def _fail(self) -> dict[str, Any]:
        if self.fault == "leak":
            self.references += 1
        if self.fault == "half":
            self.mapped.append(("top", 6, 2))
        return {"errno": 22, "error": "EINVAL"} if self.fault == "errno" else ENOMEM

    def _fail_nth(self, words: list[str], turn: int) -> dict[str, Any]:
        self.armed = turn
        return {}

    def _munmap(self, words: list[str], turn: int) -> dict[str, Any]:
        self.mapped.clear()
        return {}

    def _maps(self, words: list[str], turn: int) -> dict[str, Any]:
        vmas = [
            {
                "start": hex(ROOM + at * SIZE), "end": hex(ROOM + (at + pages) * SIZE),
                "perms": "rw-s", "offset": "0x0", "path": f"/dev/{file}", "vmflags": ["rd", "sd"],
                "smaps": {},
            }
            for file, at, pages in self.mapped
        ]  # fmt: skip
        return {"vmas": vmas}

    def _hooklog(self, words: list[str], turn: int) -> dict[str, Any]:
        return {"lines": [], "lost": 0}

    def _counts(self, words: list[str], turn: int) -> dict[str, Any]:
        names = ("lower", "replacement", "page_count", "page_mapcount")
        return {"file": self.references, **dict.fromkeys(names, 0)}

    def _status(self, words: list[str], turn: int) -> dict[str, Any]:
        return {"fields": {"VmSize": 100, "VmLck": 0}}

    def _meminfo(self, words: list[str], turn: int) -> dict[str, Any]:
        return {"fields": {"Committed_AS": 10, "Shmem": 0, "Mlocked": 0}}


ENOMEM = {"errno": 12, "error": "ENOMEM"}


def test_a_kernel_that_cleans_up_gets_no_complaint() -> None:
    sweep = Sweep(HookPath.DIRECT, InjectedCall())
    seen = SimulatedProgram(sweep).observe()
    assert list(sweep.complaints(seen)) == []
    assert sweep.reached(seen) == ALLOCATIONS < MAX_ROUNDS


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("leak", "file of 0 is 3 after the call, was 2"),
        ("half", "the call fails and changes the mappings"),
        ("errno", "the call fails with EINVAL, not ENOMEM"),
    ],
)
def test_a_complaint_names_the_failed_allocation(fault: str, complaint: str) -> None:
    sweep = Sweep(HookPath.DIRECT, InjectedCall())
    complaints = list(sweep.complaints(SimulatedProgram(sweep, fault).observe()))
    first, text = complaints[0]
    assert first == 1
    assert text.startswith(complaint)
    assert {number for number, _ in complaints} >= {1, 2, 3}
