# SPDX-License-Identifier: GPL-2.0
"""An observation: the facts that the guest program printed, as Python values."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from testbed.errors import ProbeKilled, ProbeProtocolError
from testbed.mmap.script import Script

_SHOWN = 400  # characters of the output that an error quotes


@dataclass(frozen=True)
class Vma:
    """One VMA as /proc/self/maps and /proc/self/smaps show it (proc_pid_smaps(5))."""

    start: int
    end: int
    perms: str
    offset: int  # bytes
    path: str
    vmflags: frozenset[str]
    smaps: Mapping[str, int]  # kB, except ProtectionKey

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class HookEvent:
    """One record of the hook log."""

    sequence: int
    pid: int
    name: str
    values: Mapping[str, str]

    def number(self, key: str) -> int:
        """Return a value as an integer, in any base."""
        return int(self.values[key], 0)

    def node(self, key: str) -> str:
        """Return a file's tag without the number of the open: `mmap_stack` for `mmap_stack#3`."""
        return self.values[key].partition("#")[0]


class FactDict(dict[str, Any]):
    """The values that a step reported. A missing key fails the test, not the testbed."""

    def __missing__(self, key: str) -> Any:
        raise AssertionError(f"the fact has no {key}, only {dict(self)}")


@dataclass(frozen=True)
class Fact:
    """The report of one step."""

    step: int
    op: str
    child: bool
    round: int  # of a sweep, from 1; 0 outside a sweep
    values: Mapping[str, Any]

    @property
    def errno(self) -> int:
        return int(self.values.get("errno", 0))

    @property
    def injected(self) -> bool:
        """Whether fault injection made one of the step's allocations fail."""
        return bool(self.values.get("injected"))

    @property
    def error(self) -> str:
        """The name of the errno, such as EINVAL, or its number if it has none; empty on success."""
        return str(self.values.get("error", ""))

    @property
    def address(self) -> int:
        return int(self.values["addr"], 16)

    @property
    def vmas(self) -> list[Vma]:
        return [
            Vma(
                start=int(vma["start"], 16),
                end=int(vma["end"], 16),
                perms=vma["perms"],
                offset=int(vma["offset"], 16),
                path=vma["path"],
                vmflags=frozenset(vma["vmflags"]),
                smaps=vma["smaps"],
            )
            for vma in self.values["vmas"]
        ]

    @property
    def vma(self) -> Vma:
        """The only VMA. Raises AssertionError if there are none or several."""
        vmas = self.vmas
        assert len(vmas) == 1, f"expected one VMA, found {len(vmas)}: {self.values['vmas']}"
        return vmas[0]

    @property
    def results(self) -> list[str]:
        """For each page: `ok`, or the signal that the access raised."""
        return [page["result"] for page in self.values["pages"]]

    @property
    def contents(self) -> list[str]:
        """For each page: its content, or the signal that the read raised."""
        return [page.get("content", page.get("result")) for page in self.values["pages"]]

    @property
    def events(self) -> list[HookEvent]:
        """The hook log. Raises ProbeProtocolError if records were lost."""
        if self.values.get("lost"):
            raise ProbeProtocolError(f"the hook log lost {self.values['lost']} records")
        return [_parse_event(line) for line in self.values["lines"]]


@dataclass(frozen=True)
class Observation:
    """All facts of one script, by the number of the step and, in a sweep, of the round."""

    script: str
    output: str
    facts: Mapping[tuple[int, bool, int], Fact] = field(repr=False)
    round: int = 0  # whose facts `[]` returns; a step outside the sweep is in every round
    volatile: frozenset[int] = frozenset()  # steps that read memory which changes by itself
    reached: frozenset[str] = frozenset()  # code: the lower half of each address (docs/probe.md)

    def __getitem__(self, step: int) -> Fact:
        """Return the fact of a step. For a step in a fork this is the child's fact."""
        for number in dict.fromkeys((self.round, 0)):
            for child in (False, True):
                if (step, child, number) in self.facts:
                    return self.facts[step, child, number]
        if self._is_a_childs(step):
            raise AssertionError(f"step {step} has no fact: no child ran it\n{self.report()}")
        raise ProbeProtocolError(f"step {step} has no fact", evidence=self.report())

    def _is_a_childs(self, step: int) -> bool:
        """Whether a step lies between `fork` and `endfork`. The fork may have failed."""
        before = [line for line in self.script.splitlines()[:step] if line in ("fork", "endfork")]
        return before[-1:] == ["fork"]

    @property
    def rounds(self) -> list[Observation]:
        """This observation as each round of the sweep sees it."""
        last = max((number for _, _, number in self.facts), default=0)
        return [dataclasses.replace(self, round=number) for number in range(1, last + 1)]

    def report(self) -> str:
        """Return the script and its facts, as evidence of a failure."""
        lines = self.script.splitlines()
        return "\n".join(f"{n:3} {line}" for n, line in enumerate(lines, 1)) + "\n" + self.output


def parse_observation(
    script: Script, output: str, status: str, *, killed: bool = False
) -> Observation:
    """Parse the facts that a script's run printed. `status` describes the program's end.

    Raises:
        ProbeKilled: the last line is missing, and the program was killed.
        ProbeProtocolError: a line is not JSON, the program refused the script, or the last
            line is missing.
    """
    facts = {}
    last: dict[str, Any] = {}
    reached = frozenset(word for found in _REACHED.findall(output) for word in found.split())
    output = _REACHED.sub("", output)
    for line in output.splitlines():
        last = _parse_line(line)
        if last.get("error") == "usage":
            text = f"the guest program refused line {last['step']}: {last['text']}"
            raise ProbeProtocolError(text, evidence=script.lines[last["step"] - 1])
        if "step" in last:
            fact = Fact(
                last["step"], last["op"], bool(last.get("child")), last.get("round", 0), last
            )
            facts[fact.step, fact.child, fact.round] = fact
    volatile = frozenset(script.volatile)
    observation = Observation(script.text, output, facts, volatile=volatile, reached=reached)
    if last != {"done": True}:
        kind = ProbeKilled if killed else ProbeProtocolError
        raise kind(f"the guest program ended early ({status})", evidence=observation.report())
    return observation


# Not a fact of a step: it differs between paths, and says nothing to a reader.
_REACHED = re.compile(r',"reached":"([0-9a-f ]*)"')


def names(events: Sequence[HookEvent]) -> list[str]:
    """Return the names of the events, for comparison with an expected order."""
    return [event.name for event in events]


def named(events: Sequence[HookEvent], name: str) -> Iterator[HookEvent]:
    return (event for event in events if event.name == name)


def only(events: Sequence[HookEvent], name: str) -> HookEvent:
    """Return the only event of that name. Raises AssertionError if there are none or several."""
    found = list(named(events, name))
    assert len(found) == 1, f"expected one {name}, found {len(found)} in {names(events)}"
    return found[0]


def _parse_line(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line, object_hook=FactDict)
    except json.JSONDecodeError as exc:
        raise ProbeProtocolError(
            "the guest program printed a line that is not JSON", evidence=line[:_SHOWN]
        ) from exc
    if not isinstance(value, dict):
        raise ProbeProtocolError(
            "the guest program printed a line that is not an object", evidence=line[:_SHOWN]
        )
    return value


_EVENT = re.compile(r"(?P<sequence>\d+) pid=(?P<pid>\d+) (?P<name>\w+) ?(?P<values>.*)")


def _parse_event(line: str) -> HookEvent:
    match = _EVENT.fullmatch(line)
    if match is None:
        raise ProbeProtocolError(
            "a record of the hook log cannot be parsed", evidence=line[:_SHOWN]
        )
    pairs = (word.partition("=") for word in match["values"].split())
    values = {key: value for key, _, value in pairs}
    return HookEvent(int(match["sequence"]), int(match["pid"]), match["name"], values)
