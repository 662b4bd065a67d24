# SPDX-License-Identifier: GPL-2.0
"""The folder of a finding: `fuzz/TITLE/` in the folder of the run.

finding.txt        the deviation, and what was seen on each path
program.json       the smallest program
original.json      the program that showed it first
test_TITLE.py      a test to paste into tests/vm/contract
selftest/          a test in the layout of kselftest, and what it printed (ktap.txt)

For a file of the kernel's own there are instead of the tests the scripts for the probe, one for
each way to the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from testbed.errors import CommandError, GuestError
from testbed.files import write_whole
from testbed.fuzz.alone import Alone, Finding
from testbed.fuzz.program import program_text
from testbed.fuzz.selftestfolder import compiled_selftest, write_selftest
from testbed.mmap.path import HookPath

_TEST = '''\
# SPDX-License-Identifier: GPL-2.0
"""{headline}"""

from __future__ import annotations

from testbed.fuzz.exchange import Ran
from testbed.fuzz.faults import allow_faults
from testbed.fuzz.judge import deviations
from testbed.fuzz.program import program_from
from testbed.lab.guest import Guest
from testbed.mmap.execution import run_execution
from testbed.mmap.path import HookPath
from testbed.mmap.probe import Prober

PROGRAM = program_from(
    """{program}"""
)


def test_{name}(guest: Guest, stack: Prober) -> None:
    allow_faults(guest)
    paths = ({paths},)
    ran = Ran(
        PROGRAM, {{path: run_execution(stack, PROGRAM.scenario, path) for path in paths}}
    )
    assert deviations(ran, guest.prepared.kernel.version) == []
'''


def write_finding(root: Path, found: Finding) -> Path:
    """Write the folder of a finding below `root`, without running anything. Return it."""
    folder = root / found.deviation.name
    if folder.exists():
        folder = root / f"{folder.name}-{found.arch}"
    folder.mkdir(parents=True)
    write_whole(folder / "finding.txt", "\n".join(finding_lines(found)) + "\n")
    write_whole(folder / "program.json", program_text(found.smallest) + "\n")
    write_whole(folder / "original.json", program_text(found.drawn.program) + "\n")
    name = found.deviation.name.replace("-", "_")
    if found.has_c_test:
        write_whole(folder / f"test_{name}.py", _test(found, name))
        about = "\n".join(found.about)
        write_selftest(folder / "selftest", name, found.smallest, found.paths, about)
    for where, seen in found.ran.observed.items():
        write_whole(folder / where, seen.script)
    return folder


def try_selftest(folder: Path, found: Finding, alone: Alone) -> str:
    """Compile the C test, and run it on a pristine clone. Return what it showed, in words."""
    selftest = folder / "selftest"
    (source,) = selftest.glob("*.c")
    try:
        binary = compiled_selftest(source, alone.lab.prepared(found.arch).arch)
    except CommandError as error:
        write_whole(selftest / "ktap.txt", f"# {error}\n")
        return "the C test does not compile"
    try:
        printed = alone.run_binary(binary)
    except GuestError as error:
        printed = f"# {error.message}\n"
    write_whole(selftest / "ktap.txt", printed)
    lost = "KTAP" not in printed
    shown = "not ok" in printed or lost
    return "the C test shows it" if shown else "the C test does not show it"


def finding_lines(found: Finding) -> Iterator[str]:
    """Yield the report of a finding."""
    yield from found.about
    yield f"program: {program_text(found.smallest)}"
    yield f"first seen after {found.seconds:.0f} s and {found.executions} executions"
    seen = {str(path): execution.seen for path, execution in found.ran.executions.items()}
    for where, observation in {**seen, **found.ran.observed}.items():
        yield f"\n{where}:"
        yield observation.report()
    for path, error in found.ran.failures.items():
        yield f"\non {path}: {error}"
    if found.ran.aftermath is not None:
        yield f"\nafterwards: {found.ran.aftermath}"


def _test(found: Finding, name: str) -> str:
    headline = found.deviation.headline.splitlines()[0].replace('"', "'").replace("\\", "/")
    return _TEST.format(
        headline=headline[:90],
        program=program_text(found.smallest).replace('"line"', '\n    "line"'),
        name=name,
        paths=", ".join(f"HookPath.{HookPath(path).name}" for path in found.paths),
    )
