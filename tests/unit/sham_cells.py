# SPDX-License-Identifier: GPL-2.0
"""A kind of cell that needs no kernel: a child process writes a result after some milliseconds.

The parameters of a cell say what it does. `register` adds the kind; a child adds it by itself.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import signal
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from waiting import runs

from testbed.cache import digest
from testbed.context import Context
from testbed.errors import InfraError, SetupError
from testbed.nightly.bisect_cell import BAD, GOOD
from testbed.nightly.cell import RUN_FOLDER, Cell, Found
from testbed.nightly.kinds import BISECT, KINDS, Kind
from testbed.nightly.values import count, text
from testbed.process import check_output, spawn
from testbed.results.model import Case, Environment, Run, Status
from testbed.results.store import append_facts, write_run
from testbed.settings import CHECKOUT

KIND = "sham"

# A child imports this module.
SHAM_ENV = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(CHECKOUT)])}

# What the child of a cell that stands for a VM waits for. No other program does.
_VM_SECONDS = b"1000.25"

TESTS = [f"tests/vm/contract/test_sham.py::test_sham[{number}]" for number in range(5)]


def run_sham(cell: Cell, ctx: Context, out: Path) -> Found:
    """Do what the parameters say, and return five cases.

    ms        wait for so many milliseconds, beside a child that stands for a VM
    diary     note start and end in this file: "start ID PID CHILD", "end ID"
    die       kill this process: always, or once; or always its parent
    raises    raise an error of that class
    broken    a test that fails; with a git tree, only if its mm/util.c says "broken"
    alone     "passes": the broken test passes when it is tried again
    facts     the first test sees the tree's mm/util.c
    """
    params = cell.params
    with spawn(["sleep", _VM_SECONDS.decode()], log=Path(os.devnull)) as child:
        note(params, f"start {cell.id} {os.getpid()} {child.pid}")
        time.sleep(int(params.get("ms", "0")) / 1000)
        _misbehave(cell, out)
    found = Run(
        name=out.name,
        command="true",
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        environments=(_environment(cell),),
        cases=tuple(_cases(cell)),
    )
    (out / RUN_FOLDER).mkdir(exist_ok=True)
    if "facts" in params:
        seen = {"1 read.text": _text(_tree(cell), cell.commit)}
        append_facts(out / RUN_FOLDER, TESTS[0], {"script": seen})
    write_run(out / RUN_FOLDER, found)
    note(params, f"end {cell.id}")
    return Found(found)


def note(params: object, line: str) -> None:
    diary = dict(params).get("diary")  # type: ignore[call-overload]
    if diary:
        with Path(diary).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(f"{line}\n")


def _misbehave(cell: Cell, out: Path) -> None:
    die, raises = cell.params.get("die"), cell.params.get("raises")
    died = out / "died"
    if die == "parent":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)  # the kernel ends this process as well
    if die == "always" or (die == "once" and not died.exists()):
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if raises:
        raise {"InfraError": InfraError, "SetupError": SetupError}[raises]("as asked")


def _cases(cell: Cell) -> Iterable[Case]:
    for test in cell.only or TESTS:
        bad = cell.params.get("broken") == test.rpartition("[")[2].rstrip("]") and _is_broken(cell)
        status = Status.FAIL if bad else Status.PASS
        reason = "vm_pgoff is 0, not 9" if bad else ""
        error = "AssertionError" if bad else ""
        yield Case(test=test, arch=cell.arch, status=status, reason=reason, error=error)


def _is_broken(cell: Cell) -> bool:
    if cell.confirms and cell.params.get("alone") == "passes":
        return False
    if not cell.commit:
        return True
    return "broken" in _text(_tree(cell), cell.commit)


def _tree(cell: Cell) -> str:
    return cell.kernel.removeprefix("tree:").rpartition("@")[0]


def _environment(cell: Cell) -> Environment:
    return Environment(
        arch=cell.arch,
        kernel=f"7.3.4-testbed-{cell.id}",
        source=cell.source,
        series=tuple(patch.name for patch in cell.patches),
        flavour=cell.flavour,
        isolation=cell.isolation,
        accel="tcg",
        accel_reason="a sham",
        qemu="10.0.2",
        kernel_key=cell.kernel_group,
        commit=cell.commit,
    )


def alive(pid: int) -> bool:
    """Whether the process of a cell, or what stands for its VM, runs.

    One that only waits for its parent's wait(2) does not. On a busy host other processes get the
    number of one that has ended: the command line shows whose it is.
    """
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return runs(pid) and (b"sham_cells" in words or _VM_SECONDS in words)


def sham(number: int = 0, **params: str) -> Cell:
    """Return a sham cell. Cells with other numbers or parameters are other experiments."""
    words = {**params, "number": str(number)}
    return Cell(
        kind=KIND,
        matrix="shams",
        stream=f"stream-{number}",
        kernel="debian:7.3.4-1",
        identity="deb sham",
        arch="x86_64",
        flavour="base",
        isolation="batch",
        memory_mib=1,
        params=words,
        content=digest(*(f"{key}={value}" for key, value in sorted(words.items()))),
    )


def search_sham(cell: Cell, ctx: Context, out: Path) -> Found:
    """Find the first commit whose mm/util.c says "broken", with git alone."""
    path = _tree(cell)
    git = ["git", "-C", path]
    span = f"{cell.params[GOOD]}..{cell.params[BAD]}"
    commits = check_output([*git, "rev-list", "--reverse", span]).split()
    broken = (each for each in commits if "broken" in _text(path, each))
    answer = {"commit": next(broken)}
    answer["title"] = check_output([*git, "log", "-1", "--format=%s", answer["commit"]]).strip()
    case = Case(test=f"bisect::{cell.only[0]}", arch=cell.arch, status=Status.PASS)
    found = Run(name=out.name, command="true", started="", cases=(case,))
    (out / RUN_FOLDER).mkdir(exist_ok=True)
    write_run(out / RUN_FOLDER, found)
    return Found(found, answer)


def _text(path: str, commit: str) -> str:
    return check_output(["git", "-C", path, "show", f"{commit}:mm/util.c"])


def register() -> None:
    KINDS[KIND] = Kind(
        run=run_sham,
        identity=lambda cell, ctx: (),
        seconds=lambda cell: float(cell.params.get("cost", "1")),
        keys={
            **dict.fromkeys(("ms", "cost", "number"), count),
            **dict.fromkeys(("diary", "die", "raises", "broken", "alone", "facts"), text),
        },
        program=("-m", "sham_cells"),
        repeatable=True,
    )
    KINDS[BISECT] = dataclasses.replace(
        KINDS[BISECT],
        run=search_sham,
        identity=lambda cell, ctx: (),
        seconds=lambda cell: 1.0,
        program=("-m", "sham_cells"),
    )


if __name__ == "__main__":
    # The commands import all of the testbed: only a child needs them.
    from testbed.cli.exit import end_with
    from testbed.cli.run_cell import run_cell

    register()
    end_with("testbed", lambda: run_cell.main(standalone_mode=False) or 0)
