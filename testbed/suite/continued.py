# SPDX-License-Identifier: GPL-2.0
"""A run that continues an earlier one: `testbed run --continue`.

A run writes its identity into its folder before its first test. An interrupted or killed run with
an equal identity is continued in the same folder: the tests that have a verdict do not run again,
and the result is that of one run. A kernel that is built during the tests is added to the identity
before its first verdict.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from testbed.cache import digest
from testbed.claims import claimed
from testbed.errors import SetupError, TreeError
from testbed.files import DAMAGED, write_whole
from testbed.formats.junit import write_junit
from testbed.kernel.source import resolve
from testbed.lab.lab import Lab
from testbed.results.model import Case, Run, Status
from testbed.results.store import (
    CASES_FILE,
    IDENTITY_FILE,
    RESULT_FILE,
    mend,
    read_cases,
    read_run,
    remove_run_dir,
    write_run,
)
from testbed.suite.identity import suite_identity

# The option of `testbed run`.
OPTION = "--continue"

_DIGITS = 12  # of a digest that a user sees

# The machine of an architecture whose kernel does not build.
_NO_KERNEL = "a kernel that does not build"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What the verdicts of a run depend on, in words for the user, and when the run began."""

    command: tuple[str, ...]  # that began it
    started: str  # ISO 8601, UTC
    seconds: float = 0.0  # of its earlier parts
    retried: tuple[str, ...] = ()  # in its earlier parts
    choices: Mapping[str, str]  # options, the kernel's text, and the tests
    machines: Mapping[str, str]  # kernel, accelerator and QEMU by architecture, of those prepared
    ended: bool = False  # all of its tests have run


@dataclass(frozen=True)
class Part:
    """What earlier parts of a run have left. A new run has nothing."""

    identity: Identity
    cases: tuple[Case, ...] = ()  # those with a verdict
    is_whole: bool = False  # no test is left to run

    def whole(self, folder: Path, run: Run) -> Run:
        """Return the run as one, from its first start on, and write its files."""
        if not self.cases:
            return run
        whole = dataclasses.replace(
            run,
            command=shlex.join(self.identity.command),
            started=self.identity.started,
            seconds=round(self.identity.seconds + run.seconds, 3),
            retried=(*self.identity.retried, *run.retried),
        )
        write_run(folder, whole)
        write_junit(folder, whole)
        return whole


@contextmanager
def begun(
    lab: Lab, selection: Mapping[str, str], command: Sequence[str], earlier: Path | None
) -> Iterator[Part]:
    """Prepare the kernels, and begin a run, or continue the one in the folder `earlier`.

    While the block runs, no other process can continue the run. `selection` are the options that
    select tests.

    Raises:
        SetupError: `earlier` holds no run that this one can continue; the evidence says why.
        InfraError: the host failed.
    """
    if earlier is None:
        with _removed_if_empty(lab):
            machines = prepare(lab)
            identity = dataclasses.replace(identity_of(lab, selection, command), machines=machines)
            with claimed(lab.run_dir):
                write_identity(lab.run_dir, identity)
                yield Part(identity)
                _change_identity(lab.run_dir, ended=True)
        return
    with claimed(earlier):
        known = read_identity(earlier)
        identity = identity_of(lab, selection, command)
        _refuse_other(earlier, known, identity)  # before it builds a kernel
        lab.run_dir = earlier
        if known.ended and (cases := _all_cases(earlier)):
            yield Part(known, cases, is_whole=True)
            return
        identity = dataclasses.replace(identity, machines=prepare(lab, known.machines))
        _refuse_other(earlier, known, identity)
        part = _take_up(earlier, known, identity.machines)
        write_identity(earlier, part.identity)
        yield part
        _change_identity(earlier, ended=True)


def find_run(root: Path, name: str) -> Path:
    """Return the folder of a run: `name` below `root`, or a path; an empty name is the last run.

    Raises:
        SetupError: there is no such folder.
    """
    places = [root / name, Path(name)] if name else [root / "latest"]
    found = next((path for path in places if path.is_dir()), None)
    if found is None:
        raise SetupError(f"there is no run {name or 'to continue'} in {root}")
    return found.resolve()


def continuing(command: Sequence[str], folder: Path, root: Path) -> str:
    """Return the command that continues the run in `folder`, which `command` began."""
    words = []
    rest = iter(command)
    for word in rest:
        if word == OPTION:
            # An option that follows is not the value of this one.
            words += [value for value in [next(rest, "")] if value.startswith("-")]
        elif not word.startswith(f"{OPTION}="):
            words.append(word)
    name = folder.name if folder.parent == root.resolve() else str(folder)
    return shlex.join([*words, OPTION, name])


def identity_of(lab: Lab, selection: Mapping[str, str], command: Sequence[str]) -> Identity:
    """Return the identity of a run, without its machines: kernels need not be built for it."""
    settings = lab.ctx.settings
    ready = lab.all_prepared()
    source = ready[0].source if ready else resolve(settings.kernel, lab.ctx)
    series = lab.series
    choices = {
        "kernel": f"{source.description} {_short(source.identity)}",
        "--series": f"{', '.join(series.names)} {_short(series.identity)}".strip(),
        "tests": suite_identity()[:_DIGITS],
        **selection,
        "--arch": ",".join(sorted(settings.arch)),
        "--flavour": settings.flavour,
        "--config": " ".join(f"{path.name} {_content(path)}" for path in settings.config),
        "--cmdline": settings.cmdline,
        "--qemu": shlex.join(settings.qemu),
        "--isolation": settings.isolation,
        "--accel": settings.accel,
        "--toolchain": settings.toolchain,
        "memory_mib": str(settings.memory_mib),
    }
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return Identity(command=tuple(command), started=started, choices=choices, machines={})


def prepare(lab: Lab, needed: Collection[str] = ()) -> dict[str, str]:
    """Prepare the kernels, and return the machine of each architecture.

    One that is to be built during the tests has no machine yet, unless it is `needed`.
    """
    late = lab.prepare_ready(needed)
    return {arch: _machine(lab, arch) for arch in lab.ctx.settings.arch if arch not in late}


def add_machine(lab: Lab, arch: str) -> None:
    """Add the machine of an architecture to the identity of a run, before its first verdict.

    A session of pytest has no identity, and is not continued.

    Raises:
        TestbedError: the host failed, or the identity cannot be written.
    """
    if not (lab.run_dir / IDENTITY_FILE).exists():
        return
    machines = read_identity(lab.run_dir).machines
    if arch not in machines:
        _change_identity(lab.run_dir, machines={**machines, arch: _machine(lab, arch)})


def _machine(lab: Lab, arch: str) -> str:
    """Return the words for a kernel and what runs it.

    A kernel that does not build is a finding: the test of the build raises it again.
    """
    try:
        ready = lab.prepared(arch)
    except TreeError:
        return _NO_KERNEL
    return f"kernel {ready.kernel.key[:_DIGITS]}, {ready.accel.accel}, QEMU {ready.qemu_version}"


def differences(then: Identity, now: Identity) -> list[str]:
    """Return a line for each difference for which a verdict of `then` may not hold `now`.

    Machines that only one of them has prepared do not count: the other has no verdict on them.
    """
    names = {**then.choices, **now.choices}
    pairs = {name: (then.choices.get(name, ""), now.choices.get(name, "")) for name in names}
    both = [arch for arch in then.machines if arch in now.machines]
    pairs |= {arch: (then.machines[arch], now.machines[arch]) for arch in both}
    return [
        f"{name}: {one or 'none'} in that run, {other or 'none'} now"
        for name, (one, other) in pairs.items()
        if one != other
    ]


def with_verdict(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Return the last case of each test, without those whose test did not run (MISS)."""
    last = {case.test: case for case in cases}
    return tuple(case for case in last.values() if case.status is not Status.MISS)


def write_identity(folder: Path, identity: Identity) -> None:
    write_whole(folder / IDENTITY_FILE, json.dumps(dataclasses.asdict(identity), indent=1) + "\n")


def read_identity(folder: Path) -> Identity:
    """Return the identity of the run in a folder.

    Raises:
        SetupError: it has none, or one that cannot be read.
    """
    file = folder / IDENTITY_FILE
    try:
        values = json.loads(file.read_text())
        lists = {name: tuple(map(str, values[name])) for name in ("command", "retried")}
        tables = {name: dict(values[name]) for name in ("choices", "machines")}
        return Identity(**{**values, **lists, **tables})
    except FileNotFoundError as exc:
        hint = "it ended before its first test, or an older testbed made it: begin a new run"
        raise SetupError(f"{folder} cannot be continued: it has no {file.name}", hint=hint) from exc
    except DAMAGED as exc:
        raise SetupError(f"{file} cannot be read: {exc}") from exc


def _change_identity(folder: Path, **changes: Any) -> None:
    """Change an identity. Its time stays: that is the start of this part of the run."""
    identity, status = read_identity(folder), (folder / IDENTITY_FILE).stat()
    write_identity(folder, dataclasses.replace(identity, **changes))
    os.utime(folder / IDENTITY_FILE, ns=(status.st_atime_ns, status.st_mtime_ns))


def _all_cases(folder: Path) -> tuple[Case, ...]:
    """Return the cases of a run that has ended; none if a test is left, or the result is lost."""
    cases = read_cases(folder) if (folder / RESULT_FILE).exists() else []
    found = with_verdict(cases)
    return found if len(found) == len({case.test for case in cases}) else ()


def _refuse_other(folder: Path, then: Identity, now: Identity) -> None:
    if lines := differences(then, now):
        hint = f"begin a new run, without {OPTION}"
        if all(line.startswith("-") for line in lines):
            again = continuing(then.command, folder, folder.parent)
            hint = f"repeat the options of that run: {again}"
        message = f"{folder.name} cannot be continued: this run is another one"
        raise SetupError(message, evidence="\n".join(lines), hint=hint)


def _take_up(folder: Path, known: Identity, machines: Mapping[str, str]) -> Part:
    """Return what the run in a folder has left, after repairs of its files.

    A case counts only if its machine, which that run prepared, is known.
    """
    mend(folder)
    cases = [case for case in read_cases(folder) if case.arch in ("", *known.machines)]
    retried = read_run(folder).retried if (folder / RESULT_FILE).exists() else known.retried
    seconds = known.seconds + _seconds_of_last_part(folder)
    identity = dataclasses.replace(known, machines=machines, seconds=seconds, retried=retried)
    return Part(identity, with_verdict(cases))


def _seconds_of_last_part(folder: Path) -> float:
    """Return the time from the start of the last part to its last case; a kill leaves no other."""
    cases = folder / CASES_FILE
    if not cases.exists():
        return 0.0
    lasted = cases.stat().st_mtime - (folder / IDENTITY_FILE).stat().st_mtime
    return max(0.0, round(lasted, 3))


@contextmanager
def _removed_if_empty(lab: Lab) -> Iterator[None]:
    """Remove the folder of a run when the block ends, unless a test ran."""
    try:
        yield
    finally:
        if lab.started:
            remove_run_dir(lab.run_dir)


def _short(identity: str) -> str:
    return digest(identity)[:_DIGITS] if identity else ""


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:_DIGITS]
