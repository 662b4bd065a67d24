# SPDX-License-Identifier: GPL-2.0
"""What is known of the kernel: open defects (docs/findings.md), by the programs that show them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from testbed.errors import SetupError
from testbed.fuzz.judge import Deviation
from testbed.fuzz.program import Program
from testbed.mmap.path import MMAP_STACKS, PREPARING, STACKS, HookPath
from testbed.mmap.prediction import failure
from testbed.suggest import suggest

COMPAT = tuple(path for path in HookPath if path.shape.compat)

_PAGE = 4096
_KEPT = r"(replacement of (top|hook)|(Committed_AS|Shmem) of meminfo) after munmap is"
_KEPT_PLACES = r"\d+ (counts\.replacement|meminfo\.(Committed_AS|Shmem))"
_SWITCHED = r"(lower of top|file of hook) after munmap is"
_SWITCHED_PLACES = r"\d+ counts\.(file|lower)"
_LEDGER = r"^after the test .*(Committed_AS|Shmem|references)"


@dataclass(frozen=True, kw_only=True)
class KnownDefect:
    """An open defect: what a program does that shows it, and how it shows."""

    name: str  # of its section in docs/findings.md
    given: Callable[[Program], bool]
    paths: tuple[HookPath, ...]
    symptom: str = ""  # a regular expression, searched in the headline of a deviation
    touches: str = ""  # matched whole with the canonical places that differ too
    kills: bool = False  # it damages the guest: such a program is not run on these paths

    def explains(self, program: Program, deviation: Deviation) -> bool:
        """Whether the deviation is how the defect shows."""
        concerned = {deviation.path, deviation.reference} - {None}
        if concerned and concerned.isdisjoint(self.paths):
            return False
        if not self.given(program):
            return False
        by_symptom = bool(self.symptom and re.search(self.symptom, deviation.headline))
        return by_symptom or bool(self.touches and re.fullmatch(self.touches, deviation.where))


def _replaces(program: Program) -> bool:
    return program.plan.replace is not None


def _is_refused(program: Program) -> bool:
    plan = program.plan
    late = (
        program.faulty or plan.error_override or failure(program.scenario, HookPath.DIRECT, _PAGE)
    )
    return _replaces(program) and bool(late) and not plan.hook_error and not plan.hook_error_after


def _may_be_refused(program: Program) -> bool:
    plan = program.plan
    return program.faulty or plan.action is not None or plan.error_override is not None


def _spare_fails(program: Program) -> bool:
    return _replaces(program) and program.spare.endswith(("legacy", "custom"))


KNOWN = (
    KnownDefect(
        name="KD1",
        given=_replaces,
        paths=COMPAT,
        symptom=f"{_KEPT}|{_LEDGER}",
        touches=_KEPT_PLACES,
    ),
    KnownDefect(
        name="KD5",
        given=lambda program: bool(program.plan.hide),
        paths=(HookPath.CUSTOM,),
        kills=True,
    ),
    KnownDefect(
        name="KD7",
        given=lambda program: bool(program.plan.mapped_error) or program.plan.bad_page is not None,
        paths=COMPAT,
        symptom=r"calls of close\(\) is 0, not 1",
        touches=r"\d+ hooklog\.\d+( (close|munmap)\..*)?",
    ),
    KnownDefect(
        name="KD8",
        given=lambda program: program.outer.private is not None and program.plan.private is None,
        paths=MMAP_STACKS,
        symptom=r"(vm_private_data|private data of (mapped|close)\(\)) is",
    ),
    KnownDefect(
        name="KD9",
        given=lambda program: True,
        paths=STACKS,
        symptom=r"^file of mapped\(\), which is not the file of its hook",
    ),
    KnownDefect(
        name="KD11",
        given=lambda program: program.plan.widen_end is not None,
        paths=tuple(HookPath),
        kills=True,
    ),
    KnownDefect(
        name="KD12",
        given=_is_refused,
        paths=PREPARING,
        symptom=f"{_KEPT}|{_LEDGER}",
        touches=_KEPT_PLACES,
    ),
    KnownDefect(
        name="KD13",
        given=lambda program: _replaces(program) and program.first_merge is not None,
        paths=PREPARING,
        symptom=f"{_KEPT}|{_LEDGER}",
        touches=_KEPT_PLACES,
    ),
    # The same two for the file to which an outer mmap_prepare has switched.
    KnownDefect(
        name="KD12",
        given=_may_be_refused,
        paths=(HookPath.PREPARE_FIRST,),
        symptom=f"{_SWITCHED}|{_LEDGER}",
        touches=_SWITCHED_PLACES,
    ),
    KnownDefect(
        name="KD13",
        given=lambda program: program.first_merge is not None,
        paths=(HookPath.PREPARE_FIRST,),
        symptom=f"{_SWITCHED}|{_LEDGER}",
        touches=_SWITCHED_PLACES,
    ),
    KnownDefect(name="KD14", given=_spare_fails, paths=PREPARING, kills=True),
)


def known_without(names: Iterable[str]) -> tuple[KnownDefect, ...]:
    """Return the known defects, without those that are to be found anew.

    Raises:
        SetupError: there is no such defect.
    """
    forgotten, all_names = set(names), [each.name for each in KNOWN]
    for name in forgotten - set(all_names):
        raise SetupError(f"no known defect is called {name}: {suggest(name, all_names)}")
    return tuple(each for each in KNOWN if each.name not in forgotten)


def unexplained(
    program: Program, found: Sequence[Deviation], known: Sequence[KnownDefect]
) -> list[Deviation]:
    """Return the deviations that no known defect explains."""
    return [
        deviation
        for deviation in found
        if not any(defect.explains(program, deviation) for defect in known)
    ]


def safe_paths(program: Program, known: Sequence[KnownDefect]) -> tuple[HookPath, ...]:
    """Return the program's paths without those on which a known defect damages the guest."""
    return tuple(
        path
        for path in program.paths
        if not any(
            defect.kills and path in defect.paths and defect.given(program) for defect in known
        )
    )
