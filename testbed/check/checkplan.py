# SPDX-License-Identifier: GPL-2.0
"""The plan of a check: the user's choices, and defaults that suit most drivers."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from testbed.check.drivernode import Setup
from testbed.check.filesteps import WrongStep, all_step_words
from testbed.errors import SetupError
from testbed.mmap.path import MMAP_STACKS, HookPath
from testbed.tomlfile import read_toml
from testbed.tomlvalues import (
    SHARING,
    WrongValue,
    at_least,
    chosen,
    exactly,
    filled,
    list_of,
    offsets,
    prots,
    sizes,
    texts,
)


@dataclass(frozen=True, kw_only=True)
class CheckPlan:
    """The keys of a plan file (docs/check.md, "Plan file").

    Sizes and offsets are in pages here; in a file they count in units from the key `base`.
    """

    sizes: tuple[int, ...] = (1, 2, 3, 4, 8, 16)  # empty: the one that the opener reports
    offsets: tuple[int, ...] = (0, 1, 2)  # from the mmap offset that a step returns, if any
    unit: int = 1  # pages
    prots: tuple[str, ...] = ("rw", "r", "w", "rx", "x", "none")  # the first that maps: default
    sharing: tuple[str, ...] = SHARING
    paths: tuple[HookPath, ...] = (HookPath.DIRECT, *MMAP_STACKS)
    skip: tuple[str, ...] = ()  # trials to leave out, as shell patterns
    only: tuple[str, ...] = ()  # the trials to perform, as shell patterns; empty: all
    memory: bool = True  # pages keep written values, and nothing else changes them
    volatile: tuple[int, ...] = ()  # pages behind `base` that change by themselves
    modules: tuple[str, ...] = ()  # of the driver, in load order; empty: all
    parameters: str | Mapping[str, str] = ""  # of the module that is loaded last, or of each
    mknod: str = ""  # NAME or NAME:MINOR; make the node for this entry of /proc/devices
    steps: Setup = ()  # on an open file, before it is mapped
    counters: tuple[str, ...] = ()  # files that must read the same after each trial
    write: Mapping[str, str] = field(default_factory=dict)  # into files, after loading
    searches: bool = True  # for other sizes if none of these can be mapped
    opener: tuple[str, ...] = ()  # opens the file in place of open(2); only a recipe has one
    chain: tuple[str, ...] = ()  # the functions that mmap() runs, from the outside in
    places: bool = False  # the driver's own get_unmapped_area() decides on addresses
    not_below: Mapping[str, str] = field(default_factory=dict)  # stacks left out, and why

    def skips(self, trial: str) -> bool:
        return any(fnmatch.fnmatchcase(trial, pattern) for pattern in self.skip)

    def wants(self, trial: str) -> bool:
        """Whether the user asked for a trial: by its name, without its sharing, or by a pattern."""
        names = (trial, trial.rpartition("-")[0])
        return not self.only or any(
            fnmatch.fnmatchcase(name, pattern) for name in names for pattern in self.only
        )

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
    except (WrongValue, WrongStep) as exc:
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


def _paths(value: Any) -> tuple[HookPath, ...]:
    return tuple(map(HookPath, chosen((HookPath.DIRECT, *MMAP_STACKS), value)))


def _parameters(value: Any) -> str | dict[str, str]:
    if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return value
    if not isinstance(value, str):
        raise WrongValue(f"{value!r} is neither a text nor a table of modules and texts")
    return value


def _device(value: Any) -> str:
    text = str(exactly(str, value))
    if not re.fullmatch(r"[^\s:]+(:\d+)?", text):
        raise WrongValue(f"{text!r} is not NAME or NAME:MINOR")
    return text


_VALUES: dict[str, Callable[[Any], Any]] = {
    "sizes": sizes,
    "offsets": offsets,
    "unit": partial(at_least, 1),
    "base": partial(at_least, 0),
    "prots": prots,
    "sharing": partial(chosen, SHARING),
    "paths": _paths,
    "skip": partial(list_of, str),
    "memory": partial(exactly, bool),
    "volatile": lambda value: tuple(at_least(0, page) for page in list_of(int, value)),
    "modules": lambda value: filled(list_of(str, value)),
    "parameters": _parameters,
    "mknod": _device,
    "steps": lambda value: all_step_words(list_of(dict, value)),
    "counters": partial(list_of, str),
    "write": partial(texts, "files and the text to write into each"),
}
