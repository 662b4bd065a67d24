# SPDX-License-Identifier: GPL-2.0
"""An observation: the facts that the guest program printed, as values."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from testbed.errors import ProbeKilled, ProbeProtocolError
from testbed.mmap.script import Script

_SHOWN = 400  # characters of an answer that an error quotes


@dataclass(frozen=True)
class Vma:
    """One VMA as /proc/self/maps and smaps show it (proc_pid_smaps(5))."""

    start: int
    end: int
    perms: str
    offset: int  # bytes
    path: str
    vmflags: frozenset[str]
    smaps: Mapping[str, int]  # kB, but for ProtectionKey

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
        """A value as an integer, whatever its base."""
        return int(self.values[key], 0)

    def node(self, key: str) -> str:
        """A file's tag without the number of the open file: `mmap_stack#3` is `mmap_stack`."""
        return self.values[key].partition("#")[0]


class FactDict(dict[str, Any]):
    """What a step told. To look for more than that is an expectation which it does not meet."""

    def __missing__(self, key: str) -> Any:
        raise AssertionError(f"no {key} is told, only {dict(self)}")


@dataclass(frozen=True)
class Fact:
    """What one step reported."""

    step: int
    op: str
    child: bool
    round: int  # of a sweep, from 1; 0 outside
    values: Mapping[str, Any]

    @property
    def errno(self) -> int:
        return int(self.values.get("errno", 0))

    @property
    def injected(self) -> bool:
        """Whether one of its allocations was made to fail."""
        return bool(self.values.get("injected"))

    @property
    def error(self) -> str:
        """The name of the errno, such as EINVAL; empty on success."""
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
        """The only VMA. Raises AssertionError when there are none or several."""
        vmas = self.vmas
        assert len(vmas) == 1, f"expected one VMA, found {len(vmas)}: {self.values['vmas']}"
        return vmas[0]

    @property
    def results(self) -> list[str]:
        """Per page: `ok` or the signal that touching it raised."""
        return [page["result"] for page in self.values["pages"]]

    @property
    def contents(self) -> list[str]:
        """Per page: what is in it, or the signal that reading it raised."""
        return [page.get("content", page.get("result")) for page in self.values["pages"]]

    @property
    def events(self) -> list[HookEvent]:
        """The hook log. Raises ProbeProtocolError when records were lost."""
        if self.values.get("lost"):
            raise ProbeProtocolError(f"the hook log lost {self.values['lost']} records")
        return [_parse_event(line) for line in self.values["lines"]]


@dataclass(frozen=True)
class Observation:
    """All facts of one script, by the number of their step, in a sweep also of their round."""

    script: str
    output: str
    facts: Mapping[tuple[int, bool, int], Fact] = field(repr=False)
    round: int = 0  # whose facts `[]` gives; of steps outside the sweep in any round

    def __getitem__(self, step: int) -> Fact:
        """The fact of a step; of a step in a fork, the child's."""
        for number in dict.fromkeys((self.round, 0)):
            for child in (False, True):
                if (step, child, number) in self.facts:
                    return self.facts[step, child, number]
        if self._is_a_childs(step):
            raise AssertionError(f"step {step} has no fact: no child took it\n{self.report()}")
        raise ProbeProtocolError(f"step {step} has no fact", evidence=self.report())

    def _is_a_childs(self, step: int) -> bool:
        """Whether a step lies between `fork` and `endfork`: the child may have failed to be."""
        before = [line for line in self.script.splitlines()[:step] if line in ("fork", "endfork")]
        return before[-1:] == ["fork"]

    @property
    def rounds(self) -> list[Observation]:
        """The same facts as each round of a sweep sees them."""
        last = max((number for _, _, number in self.facts), default=0)
        return [dataclasses.replace(self, round=number) for number in range(1, last + 1)]

    def report(self) -> str:
        """Script and facts, for a failure's evidence."""
        lines = self.script.splitlines()
        return "\n".join(f"{n:3} {line}" for n, line in enumerate(lines, 1)) + "\n" + self.output


def parse_observation(
    script: Script, output: str, status: str, *, killed: bool = False
) -> Observation:
    """The facts that a script's run printed; `status` tells how the program ended.

    Raises:
        ProbeKilled: the end is missing, since it was killed.
        ProbeProtocolError: a line is no JSON, the script is refused, or the end is missing.
    """
    facts = {}
    last: dict[str, Any] = {}
    for line in output.splitlines():
        last = _parse_line(line)
        if last.get("error") == "usage":
            text = f"the guest program refuses line {last['step']}: {last['text']}"
            raise ProbeProtocolError(text, evidence=script.lines[last["step"] - 1])
        if "step" in last:
            fact = Fact(
                last["step"], last["op"], bool(last.get("child")), last.get("round", 0), last
            )
            facts[fact.step, fact.child, fact.round] = fact
    observation = Observation(script.text, output, facts)
    if last != {"done": True}:
        kind = ProbeKilled if killed else ProbeProtocolError
        raise kind(f"the guest program ended early ({status})", evidence=observation.report())
    return observation


def names(events: Sequence[HookEvent]) -> list[str]:
    """The sequence of events, for comparison with an expected order."""
    return [event.name for event in events]


def named(events: Sequence[HookEvent], name: str) -> Iterator[HookEvent]:
    return (event for event in events if event.name == name)


def only(events: Sequence[HookEvent], name: str) -> HookEvent:
    """The one event of that name. Raises AssertionError when there are none or several."""
    found = list(named(events, name))
    assert len(found) == 1, f"expected one {name}, found {len(found)} in {names(events)}"
    return found[0]


def _parse_line(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line, object_hook=FactDict)
    except json.JSONDecodeError as exc:
        raise ProbeProtocolError(
            "the guest program printed no JSON", evidence=line[:_SHOWN]
        ) from exc
    if not isinstance(value, dict):
        raise ProbeProtocolError("the guest program printed no object", evidence=line[:_SHOWN])
    return value


_EVENT = re.compile(r"(?P<sequence>\d+) pid=(?P<pid>\d+) (?P<name>\w+) ?(?P<values>.*)")


def _parse_event(line: str) -> HookEvent:
    match = _EVENT.fullmatch(line)
    if match is None:
        raise ProbeProtocolError("a record of the hook log cannot be read", evidence=line[:_SHOWN])
    pairs = (word.partition("=") for word in match["values"].split())
    values = {key: value for key, _, value in pairs}
    return HookEvent(int(match["sequence"]), int(match["pid"]), match["name"], values)
