# SPDX-License-Identifier: GPL-2.0
"""What a survey tried, and what the driver refused, in a few words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from testbed.check.invariants import ranges

# Protection, offset and size of an mmap() call.
Request = tuple[str, int, int]

# The name of the error of each call, or "".
Answers = Mapping[Request, str]

_SHOWN = 4  # calls that no rule describes

_PROT, _OFFSET, _SIZE = range(3)


def refused(answers: Answers) -> Iterator[str]:
    """Yield which protections, offsets and sizes the driver refuses, with the errors.

    A protection that is never mapped comes first. Of the rest, an offset that is never mapped,
    then a size. What remains depends on several of them.
    """
    rest = dict(answers)
    for index in (_PROT, _OFFSET, _SIZE):
        never = dict(_never(rest, index))
        for error in dict.fromkeys(never.values()):
            yield f"{_listed(index, (v for v, each in never.items() if each == error))}: {error}"
        rest = {call: error for call, error in rest.items() if call[index] not in never}
    yield from _remaining(rest)


def tried(answers: Answers) -> str:
    """Return all that was tried: protections, sizes and offsets."""
    prots = ", ".join(dict.fromkeys(prot for prot, _, _ in answers))
    sizes = _listed(_SIZE, {call[_SIZE] for call in answers})
    return f"{prots}; {sizes}; {_listed(_OFFSET, {call[_OFFSET] for call in answers})}"


def _listed(index: int, values: Iterable[Any]) -> str:
    """Return values of one part of a call, in words."""
    if index == _PROT:
        return f"protection {', '.join(map(str, values))}"
    words = ranges(sorted(values))
    if index == _OFFSET:
        return f"offset {words}"
    return f"{words} page" if words == "1" else f"{words} pages"


def _never(answers: Answers, index: int) -> Iterator[tuple[Any, str]]:
    """Yield each value of one part of the calls with which none succeeds, and the errors."""
    for value in dict.fromkeys(call[index] for call in answers):
        errors = [error for call, error in answers.items() if call[index] == value]
        if all(errors):
            yield value, "/".join(sorted(set(errors)))


def _remaining(answers: Answers) -> Iterator[str]:
    """Yield sizes that are refused at some offsets only, and last the single calls."""
    calls = [call for call, error in answers.items() if error]
    places: dict[tuple[int, str], list[int]] = {}
    single = []
    for prot, offset, size in calls:
        alike = [each for each in answers if each[_OFFSET:] == (offset, size)]
        errors = {answers[each] for each in alike}
        if len(errors) > 1:
            single.append((prot, offset, size))
        elif size not in places.setdefault((offset, answers[prot, offset, size]), []):
            places[offset, answers[prot, offset, size]].append(size)
    for (offset, error), sizes in places.items():
        if sizes:
            yield f"{_listed(_SIZE, sizes)} at offset {offset}: {error}"
    for prot, offset, size in single[:_SHOWN]:
        answer = answers[prot, offset, size]
        yield f"{prot}, {_listed(_SIZE, [size])} at offset {offset}: {answer}"
    if len(single) > _SHOWN:
        yield f"and {len(single) - _SHOWN} more"
