# SPDX-License-Identifier: GPL-2.0
"""`testbed fuzz` on a real kernel: a known defect that it is to forget is found anew."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.files import make_folder
from testbed.fuzz.drawing import Drawn, draw, mutate
from testbed.fuzz.faults import faults_of
from testbed.fuzz.program import Fault, Gate, Program, Step, Task
from testbed.fuzz.selftestfolder import compiled_selftest, write_selftest
from testbed.lab.guest import Guest
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.path import MODULE, HookPath
from testbed.mmap.plan import Action, Plan, VmOps
from testbed.process import run

Command = Callable[..., list[str]]

# Some of these programs keep the outer hook's file, so that mapped() shows KD9.
_PROGRAMS = "24"


def test_a_defect_is_found_and_kept_with_its_tests(command: Command, tmp_path: Path) -> None:
    words = ["--programs", _PROGRAMS, "--seed", "1", "--corpus", str(tmp_path / "corpus")]
    done = run([*command("fuzz"), *words, "--forget", "KD9", "--json"], ok=[0, 1])
    found = json.loads(done.stdout)
    assert done.status == 1, done.stdout + done.stderr
    (campaign,) = found["campaigns"]
    assert campaign["executions"] > 0
    assert campaign["refused"] == {}
    titles = [each["title"] for each in campaign["found"]]
    assert all(title.startswith("file of mapped(), which is not") for title in titles), titles
    assert len(found["kept"]) == len(titles) > 0
    for folder, shown in found["kept"].items():
        assert shown == "the C test shows it"
        assert "not ok 1 " in (Path(folder) / "selftest" / "ktap.txt").read_text()
    assert list((tmp_path / "corpus" / campaign["arch"]).glob("*.json"))


def _killers(count: int) -> Iterator[Drawn]:
    """Yield programs whose hook maps behind its VMA, which the kernel answers by a BUG (KD11)."""
    rng = random.Random(5)
    first: Drawn | None = None
    while count:
        drawn = mutate(rng, first) if first else draw(rng)
        if drawn and _widens(drawn.program):
            yield drawn
            first, count = drawn, count - 1


def _widens(program: Program) -> bool:
    """Whether the action maps the whole of a range that is longer than the VMA."""
    plan = program.plan
    others = (plan.hook_error, plan.hook_error_after, plan.mapped_error, plan.replace, plan.hide)
    parts = (plan.shrink_start, plan.shrink_end, plan.action_offset, plan.action_size)
    remaps = plan.action in (Action.REMAP, Action.IOREMAP) and not any((*others, *parts))
    short = program.call.pages <= 6 and HookPath.DIRECT in program.paths
    return remaps and short and plan.widen_end is not None


def test_what_kills_its_guest_is_reported_once_and_then_left_out(
    command: Command, tmp_path: Path, prepared: PreparedKernel
) -> None:
    corpus = make_folder(tmp_path / "corpus" / prepared.arch.name, "")
    for number, killer in enumerate(_killers(4)):
        (corpus / f"{number}.json").write_text(json.dumps({"choices": killer.code}))
    words = ["--programs", "6", "--seed", "1", "--corpus", str(tmp_path / "corpus")]
    done = run([*command("fuzz"), *words, "--forget", "KD11", "--json"], ok=[0, 1])
    (campaign,) = json.loads(done.stdout)["campaigns"]
    titles = [each["title"] for each in campaign["found"]]
    assert len(titles) == len(set(titles)) > 0
    # A second guest may die on another path, and others by programs that were changed since.
    assert campaign["damaged"] < campaign["programs"]
    assert campaign["left_out"] >= 2


def test_the_kernels_own_files_show_the_same_on_all_ways(command: Command, tmp_path: Path) -> None:
    words = ["--programs", "20", "--seed", "4", "--corpus", str(tmp_path / "corpus")]
    found = json.loads(run([*command("fuzz"), *words, "--on", "shm,ramfs", "--json"]).stdout)
    (campaign,) = found["campaigns"]
    assert campaign["unserved"] == []
    assert campaign["refused"] == {}
    assert set(campaign["on_files"]) == {"shm", "ramfs"}
    assert min(campaign["on_files"].values()) > 10


_PATHS = (HookPath.DIRECT, HookPath.STACK)
# mapped() would show KD9.
_PLAN = Plan(vm_ops=VmOps.NO_MAPPED)

# Programs without a deviation, that need all that a C test can do.
_SOUND = {
    "second-unmaps": Program(
        plan=_PLAN,
        steps=(
            Step("read m 1", Task.SECOND, Gate.FAULT),
            Step("munmap m 0"),
            Step("munmap m 2", Task.SECOND, Gate.CLOSE),
            Step("vma m 1"),
        ),
    ),
    "second-maps": Program(
        plan=_PLAN,
        steps=(Step("map o top len=1p off=9p flags=shared", Task.SECOND, Gate.PREPARE),),
    ),
    "child-writes": Program(plan=_PLAN, steps=(Step("write m 0 0x77", Task.CHILD),)),
    "mmap-fails": Program(plan=_PLAN, fails=2),
    "calls-fail": Program(
        plan=_PLAN,
        steps=(
            Step("mprotect m 1 prot=r", fails=1),
            Step("vma m", Task.CHILD, fails=3),
            Step("munmap m 1", fails=1),
        ),
    ),
    "short-of-memory": Program(plan=_PLAN, memory=64, steps=(Step("read m 0"), Step("memcg 32p"))),
}


@pytest.mark.parametrize("name", _SOUND)
def test_the_c_test_of_a_sound_program_passes(guest: Guest, tmp_path: Path, name: str) -> None:
    program = _SOUND[name]
    needed = {Fault.MEMORY} if program.limited else {Fault.ALLOCATION} if program.faulty else set()
    if not needed <= faults_of(guest.prepared.kernel):
        pytest.skip(f"the kernel cannot have the fault: {', '.join(needed)}")
    guest.load(MODULE)
    source = write_selftest(tmp_path / "selftest", name.replace("-", "_"), program, _PATHS, name)
    binary = compiled_selftest(source, guest.prepared.arch)
    guest.session.put(binary, "/tmp/c-test", mode=0o755)
    printed = guest.session.run(["/tmp/c-test"]).out
    guest.give_up("a program of the host's ran")
    assert printed.splitlines() == ["KTAP version 1", "1..2", "ok 1 direct", "ok 2 stack"]
