# SPDX-License-Identifier: GPL-2.0
"""Known-bad kernels: mutations of the layer at a single point, and the outcome of each."""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

from testbed import errors
from testbed.cache import digest
from testbed.errors import SetupError
from testbed.files import make_folder, write_whole
from testbed.kernel.patch import read_patch
from testbed.report.text import table_head, table_row
from testbed.results.model import Case, Run, Status
from testbed.settings import KERNEL_CONFIG

MUTANTS = KERNEL_CONFIG / "mutants"

SEMANTIC = ".cocci"
_SUFFIXES = (".patch", ".diff", SEMANTIC)

# A line of a header, and its continuation lines. In semantic patches these are comments.
_HEADER = re.compile(
    r"^(?://)? ?(What|Undoes|Equivalent|Kernels|Arches): (.*(?:\n(?://)? {2,}\S.*)*)", re.M
)

# The first line of a patch below its header.
_PATCH = re.compile(r"^(?:diff|---) ", re.M)


class Fate(StrEnum):
    """The fate of a mutation on one architecture."""

    ORACLE = "oracle"  # killed: a test's statement about facts is false
    SPLAT = "splat"  # killed: the kernel printed a warning or worse during a test
    LOST = "lost"  # killed: the guest died or hung in a test
    BROKE = "broke"  # killed, but only because a test itself broke down
    BOOT = "boot"  # killed: the kernel does not boot
    BUILD = "build"  # killed: the kernel does not build
    SURVIVED = "survived"
    EQUIVALENT = "equivalent"  # survived, and its file explains why it must
    ABSENT = "does not apply"
    UNKNOWN = "unknown"  # the host failed, twice

    @property
    def killed_by_suite(self) -> bool:
        """Whether the suite killed it, not the compiler or the boot."""
        return self in (Fate.ORACLE, Fate.SPLAT, Fate.LOST)


# Fates that a busy host may cause: such a run is repeated once, and the second run counts.
UNSURE = frozenset({Fate.LOST, Fate.BROKE, Fate.BOOT, Fate.UNKNOWN})


class Sieve(StrEnum):
    """The result of the tree's own userland tests of VMAs on a mutation."""

    CAUGHT = "caught"
    MISSED = "missed"
    BLIND = "blind"  # they do not compile the mutated file
    NONE = "-"  # the tree has no such tests, or they do not pass without a mutation


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A patch that breaks a good kernel at one point."""

    name: str  # of the file, without its suffix
    path: Path
    identity: str  # equal for equal patches; headers do not count
    files: tuple[str, ...] = ()  # of the tree; empty for a semantic patch
    what: str = ""  # what the bad kernel does wrong
    undoes: str = ""  # numbers of guarantees, fixes (R), open defects (KD)
    equivalent: str = ""  # why no test can distinguish it from the good kernel
    kernels: str = ""  # where it applies, if not everywhere
    arches: str = ""  # where its code is compiled, if not everywhere

    @property
    def semantic(self) -> bool:
        return self.path.suffix == SEMANTIC

    @property
    def cost(self) -> int:
        """How much to recompile: 2 nearly everything, 1 the files in mm/, 0 one file."""
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
    evidence: str = ""  # its first lines
    seconds: float = 0.0
    built: float = 0.0  # the seconds of these that it was built in, or waited to be built
    sieve: Sieve = Sieve.NONE
    facts: str = ""  # of a survivor: what differs from the good kernel's facts, one line


def load_mutations(folder: Path) -> list[Mutation]:
    """Return the mutations of a folder, sorted by name.

    Raises:
        SetupError: the folder does not exist or has no mutation, two have one name, or a file is
            not a patch.
    """
    if not folder.is_dir():
        raise SetupError(f"{folder} is not a folder")
    files = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    if not files:
        raise SetupError(f"{folder} has no {', '.join(f'*{suffix}' for suffix in _SUFFIXES)}")
    by_name: dict[str, Path] = {}
    for path in files:
        if (other := by_name.setdefault(path.stem, path)) != path:
            message = f"{folder}: {other.name} and {path.name} are two mutations of one name"
            raise SetupError(message, hint="rename one of them")
    return [_load(path) for path in files]


def _load(path: Path) -> Mutation:
    semantic = path.suffix == SEMANTIC
    files = () if semantic else tuple(sorted(read_patch(path).files))
    text = path.read_text(errors="replace")
    # Search above the patch only: a changed line may look like a header.
    patch = None if semantic else _PATCH.search(text)
    body = text[patch.start() :] if patch else text
    found = _HEADER.findall(text[: patch.start()] if patch else text)
    values = {key.lower(): _joined(value) for key, value in found}
    return Mutation(name=path.stem, path=path, identity=digest(body), files=files, **values)


def _joined(value: str) -> str:
    return " ".join(line.removeprefix("//").strip() for line in value.splitlines())


def by_cost(mutations: Iterable[Mutation]) -> list[Mutation]:
    """Return the mutations, quickest build first: a header that every file includes comes last."""
    return sorted(mutations, key=lambda mutation: mutation.cost)


def verdict_of(run: Run) -> tuple[Fate, Case | None]:
    """Return the fate of a kernel, and the case that decided it.

    The run stopped at its first unexpected result. None: no case was unexpected.
    """
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


# The first match counts. A failed guest command is a fact like any other: ORACLE.
_FATES = (
    (errors.KernelSplat, Fate.SPLAT),
    (errors.BootError, Fate.BOOT),
    (errors.GuestLost, Fate.LOST),
    (errors.GuestTimeout, Fate.LOST),
    (errors.GuestError, Fate.ORACLE),
    (errors.TreeError, Fate.BUILD),
)


class Records:
    """Outcomes recorded across campaigns: each has a file, and the log of the kill beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, key: str, *, since: float = 0.0) -> Outcome | None:
        """Return the outcome recorded under `key`; None if it is absent or unreadable.

        `since` is in seconds since the epoch: an outcome from before then does not count.
        """
        file = self.root / f"{key}.json"
        try:
            if file.stat().st_mtime < since:
                return None
            values = json.loads(file.read_text())
            values |= {"fate": Fate(values["fate"]), "sieve": Sieve(values["sieve"])}
            return Outcome(**values)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def keep(self, key: str, outcome: Outcome, log: str) -> None:
        """Record an outcome and its log. The outcome is written atomically."""
        make_folder(self.root, "state_dir")
        self.log(key).write_text(log)
        write_whole(self.root / f"{key}.json", json.dumps(asdict(outcome), indent=1))

    def claim(self, key: str, *, wait: bool = False) -> IO[bytes] | None:
        """Claim a key, so that no other campaign makes its record. Closing the file ends the claim.

        Return None if another campaign has claimed it; with `wait` wait until that ends. A claim
        ends with its process (flock(2)).
        """
        locks = make_folder(self.root / "locks", "state_dir")
        lock = (locks / key).open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            lock.close()
            return None
        except BaseException:
            lock.close()
            raise
        return lock

    def log(self, key: str) -> Path:
        return self.root / f"{key}.log"

    def kills(self, arch: str) -> list[Outcome]:
        """Return the kills by tests on `arch`, oldest first, of any version of the suite."""
        files = sorted(self.root.glob("*.json"), key=lambda path: path.stat().st_mtime)
        found = (self.find(path.stem) for path in files)
        return [seen for seen in found if seen and seen.arch == arch and seen.fate.killed_by_suite]


def killers_first(kills: Sequence[Outcome], mutation: Mutation | None = None) -> list[str]:
    """Return tests in the order that, judging by earlier kills, kills soonest.

    First the test that killed this mutation last, then the tests with the most kills.
    """
    own = [kill.test for kill in kills if mutation and kill.identity == mutation.identity]
    counts: dict[str, int] = {}
    for kill in kills:
        counts[kill.test] = counts.get(kill.test, 0) + 1
    return list(dict.fromkeys([*own[-1:], *sorted(counts, key=lambda test: -counts[test])]))


def table_lines(mutations: Sequence[Mutation], outcomes: Sequence[Outcome]) -> list[str]:
    """Return a Markdown table: a row for each mutation, a column for each architecture."""
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
    """Return the killing test without its folder, or the reason if no test killed it."""
    if outcome.facts:
        return f"facts differ: {outcome.facts}"
    if outcome.test and outcome.fate not in (Fate.BOOT, Fate.BUILD):
        return outcome.test.rpartition("/")[2]
    return outcome.reason


def summary_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Return one line per architecture: the number of mutations of each fate."""
    lines = []
    for arch in dict.fromkeys(outcome.arch for outcome in outcomes):
        fates = [outcome.fate for outcome in outcomes if outcome.arch == arch]
        killed_by_suite = sum(fate.killed_by_suite for fate in fates)
        counts = ", ".join(f"{fates.count(fate)} {fate}" for fate in Fate if fate in fates)
        lines.append(
            f"{arch}: {len(fates)} mutations, {killed_by_suite} killed by the suite: {counts}"
        )
    return lines
