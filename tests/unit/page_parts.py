# SPDX-License-Identifier: GPL-2.0
"""A made-up run with unexpected results, as the recorder leaves one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import result_parts

from testbed.inventory.hook import Hook, Shape
from testbed.mmap.guarantees import GUARANTEES
from testbed.mmap.path import HookPath, open_path
from testbed.mmap.plan import Plan
from testbed.mmap.script import Script
from testbed.report.hooks import HOOKS_FILE
from testbed.results.model import Case, Run, Status
from testbed.results.store import write_run
from testbed.suite.repro import repro_folder

ARCHES = ("x86_64", "arm64")
FILE = "tests/vm/contract/test_oracle.py"
START = 0x7F00_0000_0000

HOOK = Hook(
    struct="file_operations",
    member="mmap_prepare",
    name="zero_fops",
    function="mmap_zero_prepare",
    file="drivers/char/mem.c",
    line=7,
    shape=Shape.INITIALISER,
    converted=True,
)

CONSOLE = """\
[    1.000000] Linux version 7.3.4
[    7.100000] ------------[ cut here ]------------
[    7.100001] WARNING: CPU: 0 PID: 77 at mm/vma.c:2528 __mmap_region+0x12/0x30
[    7.100002] CPU: 0 UID: 0 PID: 77 Comm: probe Not tainted 7.3.4 #1
[    7.100003] RIP: 0010:__mmap_region+0x12/0x30
[    7.100004] ---[ end trace 0000000000000000 ]---
[    8.000000] afterwards <b>bold</b>
"""

EVIDENCE = """\
    def test_scenario(guest, stack):
>       check(execution, reference)
E       AssertionError: pgoff on {path}: desc.pgoff on entry is 0x0, not 0x1
E       desc.pgoff on entry: expected 0x1, seen 0x0 (guarantee 12)
E         guarantee 12: pgoff is the offset in pages (mm/vma.c set_desc_from_map())
E                                  direct | {path}
E       1 hooklog.0 prepare.pgoff  1p | 0p
E       hook log on {path}:
E         9 mmap node=mmap_stack#15 pgoff=0x1
E         10 prepare file=mmap_direct#14 pgoff=0x0
E       hook log on direct:
E         1 prepare file=mmap_direct#2 pgoff=0x1

tests/vm/contract/test_oracle.py:70: AssertionError
console: {folder}/vm-{arch}-1/console.log
rerun: scripts/test '{test}' --arch {arch} --kernel debian:7.3 --flavour base
repro: {repro}/run.sh"""


def observed(path: HookPath, first: int) -> tuple[str, str]:
    """A script that maps four pages, and its facts. It starts at page `first` of the pool."""
    script = Script()
    script.step("env")
    script.step("map", "early", "anon", len="2p", addr=hex(START))
    open_path(script, path, Plan(pgoff=20))
    outer = [f"9 pid=7 mmap node=mmap_stack#15 start={START:#x} pgoff=0x1"]
    lines = [
        *(outer if path is not HookPath.DIRECT else []),
        f"10 pid=7 prepare file=mmap_direct#14 start={START:#x} pgoff={first:#x} vm_ops=dummy",
        "11 pid=7 prepare_done pgoff=0x14 err=0",
    ]
    vma: dict[str, object] = {"start": hex(START), "end": hex(START + 0x4000)}
    vma |= {"perms": "rw-s", "offset": "0x14000"}
    vma |= {"path": "/dev/mmap_direct", "vmflags": ["rd", "wr"], "smaps": {"Size": 16}}
    pages = [{"page": n, "result": "ok", "content": f"pool:{first + n}"} for n in range(3)]
    pages += [{"page": 3, "result": "ok", "content": "zero"} if first else {"page": 3}]
    pages[3].setdefault("result", "SIGBUS")
    facts = [
        {"step": 1, "op": "env", "page_size": 4096, "pool_pfn": "0x1000"},
        {"step": 2, "op": "map", "name": "early", "addr": hex(START), "len": 0x2000},
        {"step": script.map("m", "top", offset=1), "op": "map", "name": "m", "errno": 0},
        {"step": script.hooklog(), "op": "hooklog", "lines": lines, "lost": 0},
        {"step": script.maps("m"), "op": "maps", "vmas": [vma]},
        {"step": script.read("m"), "op": "read", "pages": pages},
    ]
    facts[2] |= {"addr": hex(START), "len": 0x4000}
    text = "".join(f"{json.dumps(fact)}\n" for fact in facts)
    return script.text, f'{text}{{"done":true}}\n'


def broken_run(folder: Path, *, failing: bool = True) -> Run:
    """Write the folder of a run: one promise is broken on a stack, and one test did not run."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = tuple(case for arch in ARCHES for case in _cases(folder, arch, failing=failing))
    environments = tuple(
        dataclasses.replace(result_parts.environment(arch), kernel_key="0123456789abcdef")
        for arch in ARCHES
    )
    run = Run(
        name=folder.name,
        command="testbed run -k 'stack' --kernel debian:7.3",
        started="2026-11-30T09:31:00+00:00",
        seconds=612.3,
        environments=environments,
        cases=cases,
        seed=17,
    )
    write_run(folder, run)
    (folder / HOOKS_FILE).write_text(json.dumps([dataclasses.asdict(HOOK)]))
    return run


def _cases(folder: Path, arch: str, *, failing: bool) -> Iterator[Case]:
    _write_vm(folder / f"vm-{arch}-1")
    for path in HookPath:
        for guarantee in GUARANTEES[::3]:
            test = f"{FILE}::test_scenario[{arch}-g{guarantee.number}-{path}]"
            case = Case(test=test, arch=arch, path=str(path), guarantees=(guarantee.number,))
            yield dataclasses.replace(case, status=Status.PASS, seconds=0.1)
    for path in HookPath.STACK, HookPath.THREE_LEVEL:
        if failing:
            yield _failure(folder, arch, path)
    about = f"tests/vm/contract/test_other.py::test_it[{arch}-"
    yield Case(test=f"{about}a]", arch=arch, status=Status.XFAIL, reason="KD7: no close()")
    yield Case(test=f"{about}b]", arch=arch, status=Status.SKIP, reason="needs flavour debug")
    if failing:
        yield Case(test=f"{about}c]", arch=arch, status=Status.MISS, reason="QEMU <ended>")
        yield Case(test=f"{about}d]", arch=arch, status=Status.FIXED, reason="KD9: fixed in 7.4")
    reaches = tuple(f"{HOOK.tree_name} by {way}" for way in ("direct", "overlayfs"))
    yield Case(test=f"{about}e]", arch=arch, status=Status.PASS, reaches=reaches)


def _failure(folder: Path, arch: str, path: HookPath) -> Case:
    test = f"{FILE}::test_scenario[{arch}-pgoff-{path}]"
    repro = repro_folder(folder, test)
    for name in ("scripts", "facts"):
        (repro / name).mkdir(parents=True)
    for number, (side, first) in enumerate(((HookPath.DIRECT, 1), (path, 0)), 1):
        script, facts = observed(side, first)
        (repro / "scripts" / str(number)).write_text(script)
        (repro / "facts" / str(number)).write_text(facts)
    (repro / "run.sh").write_text("#!/bin/sh\n")
    evidence = EVIDENCE.format(path=path, arch=arch, folder=folder, test=test, repro=repro)
    return Case(
        test=test,
        arch=arch,
        path=str(path),
        guarantees=(12,),
        status=Status.FAIL,
        reason=f"pgoff on {path}: desc.pgoff on entry is 0x0, not 0x1",
        evidence=evidence,
    )


def _write_vm(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "console.log").write_text(CONSOLE)
    (folder / "qemu.sh").write_text("#!/bin/sh\nqemu-system-x86_64 -append 'console=ttyS0'\n")
