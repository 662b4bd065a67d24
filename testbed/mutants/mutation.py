# SPDX-License-Identifier: GPL-2.0
"""Known-bad kernels: single-point mutations of the layer, and what the tests made of each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from testbed import errors
from testbed.cache import digest
from testbed.errors import SetupError
from testbed.files import write_whole
from testbed.kernel.patch import read_patch
from testbed.report.text import table_head, table_row
from testbed.results.model import Case, Run, Status
from testbed.settings import KERNEL_CONFIG

MUTANTS = KERNEL_CONFIG / "mutants"

SEMANTIC = ".cocci"
_SUFFIXES = (".patch", ".diff", SEMANTIC)

# A line of a header, and its continuation lines. Semantic patches have it in comments.
_HEADER = re.compile(
    r"^(?://)? ?(What|Undoes|Equivalent|Kernels|Arches): (.*(?:\n(?://)? {2,}\S.*)*)", re.M
)

# Where a patch begins below its header.
_PATCH = re.compile(r"^(?:diff|---) ", re.M)


class Fate(StrEnum):
    """What became of a mutation on one architecture."""

    ORACLE = "oracle"  # killed: a test's statement about facts is not true
    SPLAT = "splat"  # killed: the kernel printed a warning or worse during a test
    LOST = "lost"  # killed: the guest died or hung in a test
    BROKE = "broke"  # killed, but by a test that broke down instead of stating what is wrong
    BOOT = "boot"  # killed: it does not boot
    BUILD = "build"  # killed: it does not build
    SURVIVED = "survived"
    EQUIVALENT = "equivalent"  # survived, and its file says why it must
    ABSENT = "does not apply"
    UNKNOWN = "unknown"  # the host failed, twice

    @property
    def killed_by_suite(self) -> bool:
        """Whether the suite has killed it, and not the compiler or the boot."""
        return self in (Fate.ORACLE, Fate.SPLAT, Fate.LOST)


# What may come from a busy host as well: such a run is repeated once, and the second counts.
UNSURE = frozenset({Fate.LOST, Fate.BROKE, Fate.BOOT, Fate.UNKNOWN})


class Sieve(StrEnum):
    """What the tree's own userland tests of VMAs say of a mutation."""

    CAUGHT = "caught"
    MISSED = "missed"
    BLIND = "blind"  # they do not contain the file that was mutated
    NONE = "-"  # the tree has no such tests, or they do not pass without a mutation


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A patch that makes a good kernel bad at one point."""

    name: str  # the file's, without its suffix
    path: Path
    identity: str  # equal for equal patches, whatever their headers say
    files: tuple[str, ...] = ()  # of the tree; a semantic patch finds them when it is applied
    what: str = ""  # what the bad kernel does
    undoes: str = ""  # numbers of guarantees, and fixes
    equivalent: str = ""  # why no test can tell it from the good one
    kernels: str = ""  # where it applies, if not everywhere
    arches: str = ""  # where its code is compiled, if not everywhere

    @property
    def semantic(self) -> bool:
        return self.path.suffix == SEMANTIC

    @property
    def cost(self) -> int:
        """How much is compiled anew: 2 nearly everything, 1 what is in mm/, 0 one file."""
        headers = [name for name in self.files if name.endswith(".h")]
        return 2 if any(name.startswith("include/") for name in headers) else bool(headers)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A mutation's fate on one architecture."""

    mutation: str
    identity: str
    arch: str
    fate: Fate
    test: str = ""  # the node id of the test that killed it
    reason: str = ""  # one line
    evidence: str = ""  # the first lines
    seconds: float = 0.0
    sieve: Sieve = Sieve.NONE


def load_mutations(folder: Path) -> list[Mutation]:
    """The mutations of a folder, by name.

    Raises:
        SetupError: there is no such folder, no mutation in it, or a file is no patch.
    """
    if not folder.is_dir():
        raise SetupError(f"there is no folder of mutations at {folder}")
    files = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    if not files:
        raise SetupError(f"{folder} has no {', '.join(f'*{suffix}' for suffix in _SUFFIXES)}")
    return [_load(path) for path in files]


def _load(path: Path) -> Mutation:
    semantic = path.suffix == SEMANTIC
    files = () if semantic else tuple(sorted(read_patch(path).files))
    text = path.read_text(errors="replace")
    # Only what is above the patch: a changed line may look like a header.
    patch = None if semantic else _PATCH.search(text)
    body = text[patch.start() :] if patch else text
    found = _HEADER.findall(text[: patch.start()] if patch else text)
    values = {key.lower(): _joined(value) for key, value in found}
    return Mutation(name=path.stem, path=path, identity=digest(body), files=files, **values)


def _joined(value: str) -> str:
    return " ".join(line.removeprefix("//").strip() for line in value.splitlines())


def by_cost(mutations: Iterable[Mutation]) -> list[Mutation]:
    """Those that are quick to build first: a header that all include costs a whole kernel."""
    return sorted(mutations, key=lambda mutation: mutation.cost)


def verdict_of(run: Run) -> tuple[Fate, Case | None]:
    """What a run that stopped at the first surprise says of the kernel, and the case that does."""
    case = next((case for case in run.cases if not case.status.as_expected), None)
    if case is None:
        passed = any(case.status is Status.PASS for case in run.cases)
        return (Fate.SURVIVED if passed else Fate.UNKNOWN), None
    return _fate(case), case


def _fate(case: Case) -> Fate:
    for blame, fate in _FATES:
        if case.raised(blame):
            return fate
    if case.status is Status.FAIL:
        return Fate.ORACLE
    return Fate.BROKE if case.status is Status.ERROR else Fate.UNKNOWN


# The first that fits. What a guest command says is a fact like others: an oracle's.
_FATES = (
    (errors.KernelSplat, Fate.SPLAT),
    (errors.BootError, Fate.BOOT),
    (errors.GuestLost, Fate.LOST),
    (errors.GuestTimeout, Fate.LOST),
    (errors.GuestError, Fate.ORACLE),
    (errors.TreeError, Fate.BUILD),
)


class Records:
    """Outcomes that are kept from run to run, one file each, beside the log of the kill."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, key: str) -> Outcome | None:
        """What was kept under this key, if it can be read."""
        try:
            values = json.loads((self.root / f"{key}.json").read_text())
            values |= {"fate": Fate(values["fate"]), "sieve": Sieve(values["sieve"])}
            return Outcome(**values)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def keep(self, key: str, outcome: Outcome, log: str) -> None:
        """Keep an outcome, all of it or nothing."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.log(key).write_text(log)
        write_whole(self.root / f"{key}.json", json.dumps(asdict(outcome), indent=1))

    def log(self, key: str) -> Path:
        return self.root / f"{key}.log"

    def kills(self, arch: str) -> list[Outcome]:
        """What tests have killed on an architecture, the oldest first, whatever the suite was."""
        files = sorted(self.root.glob("*.json"), key=lambda path: path.stat().st_mtime)
        found = (self.find(path.stem) for path in files)
        return [seen for seen in found if seen and seen.arch == arch and seen.fate.killed_by_suite]


def killers_first(kills: Sequence[Outcome], mutation: Mutation | None = None) -> list[str]:
    """Tests in the order that kills soonest, as far as earlier kills tell.

    What killed this very mutation last comes first, then who killed most.
    """
    own = [kill.test for kill in kills if mutation and kill.identity == mutation.identity]
    counts: dict[str, int] = {}
    for kill in kills:
        counts[kill.test] = counts.get(kill.test, 0) + 1
    return list(dict.fromkeys([*own[-1:], *sorted(counts, key=lambda test: -counts[test])]))


def table_lines(mutations: Sequence[Mutation], outcomes: Sequence[Outcome]) -> list[str]:
    """A Markdown table: one row for each mutation, one column for each architecture."""
    arches = list(dict.fromkeys(outcome.arch for outcome in outcomes))
    found = {(outcome.mutation, outcome.arch): outcome for outcome in outcomes}
    heads = ("mutation", "what it does", "undoes", *arches, "tools/testing/vma")
    lines = table_head(*heads)
    for mutation in mutations:
        row = [found.get((mutation.name, arch)) for arch in arches]
        sieve = next((seen.sieve for seen in row if seen), Sieve.NONE)
        cells = [_cell(seen, mutation) for seen in row]
        lines.append(table_row([mutation.name, mutation.what, mutation.undoes, *cells, sieve]))
    return lines


def _cell(outcome: Outcome | None, mutation: Mutation) -> str:
    if outcome is None:
        return "not tried"
    why = {Fate.EQUIVALENT: mutation.equivalent, Fate.ABSENT: mutation.kernels}
    return ": ".join(filter(None, (outcome.fate, why.get(outcome.fate) or _short(outcome))))


def _short(outcome: Outcome) -> str:
    """The killing test without its folder, or the reason where no test did it."""
    if outcome.test and outcome.fate not in (Fate.BOOT, Fate.BUILD):
        return outcome.test.rpartition("/")[2]
    return outcome.reason


def summary_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """One line per architecture: how many of each fate."""
    lines = []
    for arch in dict.fromkeys(outcome.arch for outcome in outcomes):
        fates = [outcome.fate for outcome in outcomes if outcome.arch == arch]
        killed_by_suite = sum(fate.killed_by_suite for fate in fates)
        counts = ", ".join(f"{fates.count(fate)} {fate}" for fate in Fate if fate in fates)
        lines.append(
            f"{arch}: {len(fates)} mutations, {killed_by_suite} killed by the suite: {counts}"
        )
    return lines
