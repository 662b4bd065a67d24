# SPDX-License-Identifier: GPL-2.0
"""The plan of a check: the user's choices, and defaults that suit most drivers."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.check.drivernode import Setup
from testbed.check.filesteps import WrongStep, all_step_words
from testbed.errors import SetupError
from testbed.mmap.path import STACKS, HookPath
from testbed.tomlfile import read_toml

_PROT_LETTERS = frozenset("rwx")
_SHARING = ("shared", "private")


@dataclass(frozen=True, kw_only=True)
class CheckPlan:
    """The keys of a plan file (docs/check.md, "Plan file").

    Sizes and offsets are in pages here; in a file they count in units from the key `base`.
    """

    sizes: tuple[int, ...] = (1, 2, 3, 4, 8, 16)
    offsets: tuple[int, ...] = (0, 1, 2)  # from the mmap offset that a step returns, if any
    unit: int = 1  # pages
    prots: tuple[str, ...] = ("rw", "r", "w", "rx", "x", "none")  # the first that maps: default
    sharing: tuple[str, ...] = _SHARING
    paths: tuple[HookPath, ...] = (HookPath.DIRECT, *STACKS)
    skip: tuple[str, ...] = ()  # trials to leave out, as shell patterns
    memory: bool = True  # pages keep written values, and nothing else changes them
    volatile: tuple[int, ...] = ()  # pages behind `base` that change by themselves
    modules: tuple[str, ...] = ()  # of the driver, in load order; empty: all
    parameters: str | Mapping[str, str] = ""  # of the module that is loaded last, or of each
    mknod: str = ""  # NAME or NAME:MINOR; make the node for this entry of /proc/devices
    steps: Setup = ()  # on an open file, before it is mapped
    counters: tuple[str, ...] = ()  # files that must read the same after each trial
    write: Mapping[str, str] = field(default_factory=dict)  # into files, after loading
    searches: bool = True  # for other sizes if none of these can be mapped

    def skips(self, trial: str) -> bool:
        return any(fnmatch.fnmatchcase(trial, pattern) for pattern in self.skip)

    def parameters_of(self, module: str, *, last: bool) -> str:
        if isinstance(self.parameters, str):
            return self.parameters if last else ""
        return self.parameters.get(module, "")


def load_check_plan(file: Path | None) -> CheckPlan:
    """Read the plan in a TOML file. Without a file, return the default plan.

    Raises:
        SetupError: the file is missing or not TOML, a key is unknown, or a value is unusable.
    """
    if file is None:
        return CheckPlan()
    values = read_toml(file, "plan", list(_VALUES))
    try:
        return _plan({key: _VALUES[key](value) for key, value in values.items()})
    except (_WrongValue, WrongStep) as exc:
        raise SetupError(f"{file}: {exc}") from exc


def _plan(values: dict[str, Any]) -> CheckPlan:
    """Turn units into pages."""
    base = values.pop("base", 0)
    plan = CheckPlan(**values, searches="sizes" not in values)
    return dataclasses.replace(
        plan,
        sizes=tuple(size * plan.unit for size in plan.sizes),
        offsets=tuple(base + offset * plan.unit for offset in plan.offsets),
        volatile=tuple(base + page for page in plan.volatile),
    )


class _WrongValue(Exception):
    pass


def _list_of(kind: type, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list) or not all(type(each) is kind for each in value):
        raise _WrongValue(f"{value!r} is not a list of {kind.__name__}")
    return tuple(value)


def _filled(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        raise _WrongValue("an empty list leaves nothing to try")
    return value


def _sizes(value: Any) -> tuple[int, ...]:
    sizes = _filled(_list_of(int, value))
    if min(sizes) < 1:
        raise _WrongValue(f"a size must be 1 page or more, not {min(sizes)}")
    return sizes


def _offsets(value: Any) -> tuple[int, ...]:
    offsets = _filled(_list_of(int, value))
    if min(offsets) < 0:
        raise _WrongValue(f"an offset must be 0 pages or more, not {min(offsets)}")
    return offsets


def _prots(value: Any) -> tuple[str, ...]:
    prots = _filled(_list_of(str, value))
    for prot in prots:
        if prot != "none" and (not prot or set(prot) - _PROT_LETTERS):
            raise _WrongValue(f"{prot!r} is not a protection: combine r, w and x, or give none")
    return prots


def _chosen(choices: tuple[str, ...], value: Any) -> tuple[str, ...]:
    chosen = _filled(_list_of(str, value))
    for each in chosen:
        if each not in choices:
            raise _WrongValue(f"{each!r} is not one of {', '.join(choices)}")
    return chosen


def _paths(value: Any) -> tuple[HookPath, ...]:
    return tuple(map(HookPath, _chosen((HookPath.DIRECT, *STACKS), value)))


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise _WrongValue(f"{value!r} is not a {kind.__name__}")
    return value


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise _WrongValue(f"{value!r} is not a table of files and the text to write into each")
    return value


def _parameters(value: Any) -> str | dict[str, str]:
    if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return value
    if not isinstance(value, str):
        raise _WrongValue(f"{value!r} is neither a text nor a table of modules and texts")
    return value


def _at_least(least: int, value: Any) -> int:
    number = int(_exactly(int, value))
    if number < least:
        raise _WrongValue(f"{number} is less than {least}")
    return number


def _device(value: Any) -> str:
    text = str(_exactly(str, value))
    if not re.fullmatch(r"[^\s:]+(:\d+)?", text):
        raise _WrongValue(f"{text!r} is not NAME or NAME:MINOR")
    return text


_VALUES: dict[str, Callable[[Any], Any]] = {
    "sizes": _sizes,
    "offsets": _offsets,
    "unit": lambda value: _at_least(1, value),
    "base": lambda value: _at_least(0, value),
    "prots": _prots,
    "sharing": lambda value: _chosen(_SHARING, value),
    "paths": _paths,
    "skip": lambda value: _list_of(str, value),
    "memory": lambda value: _exactly(bool, value),
    "volatile": lambda value: tuple(_at_least(0, page) for page in _list_of(int, value)),
    "modules": lambda value: _filled(_list_of(str, value)),
    "parameters": _parameters,
    "mknod": _device,
    "steps": lambda value: all_step_words(_list_of(dict, value)),
    "counters": lambda value: _list_of(str, value),
    "write": _texts,
}
