# SPDX-License-Identifier: GPL-2.0
"""An interrupt leaves no VM running and loses no result."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

from waiting import runs, stat_of, wait_for_end, wait_until

from testbed.deadline import Deadline
from testbed.mmap.path import HookPath
from testbed.process import Process, run, spawn

Command = Callable[..., list[str]]

_INTERRUPTED = 130


# Seconds for a VM to boot, run its tests and end, on a busy host.
_PATIENCE = 1800


def test_an_interrupt_while_the_guest_boots_leaves_no_vm(
    arch: str, command: Command, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with spawn(command("boot"), log=log) as testbed:
        _wait_for_text(log, f"boot {arch}", testbed, log)
        vms = wait_until(lambda: _descendants(testbed.pid), "a VM", log.read_text)
        os.kill(testbed.pid, signal.SIGINT)
        assert testbed.wait(Deadline.after(_PATIENCE)) == _INTERRUPTED
        assert not any(map(runs, vms))


def test_an_interrupt_while_a_template_is_made_leaves_no_vm(
    arch: str, command: Command, tmp_path: Path
) -> None:
    log, settings = tmp_path / "log", tmp_path / "testbed.toml"
    settings.write_text(f'template_dir = "{tmp_path / "templates"}"\n')
    words = command("run", "-k", "pgoff", "--settings", str(settings))
    with spawn(words, log=log) as testbed:
        _wait_for_text(log, f"template of {arch}", testbed, log)
        vms = wait_until(lambda: _descendants(testbed.pid), "a VM", log.read_text)
        os.kill(testbed.pid, signal.SIGINT)
        assert testbed.wait(Deadline.after(_PATIENCE)) == _INTERRUPTED
        assert not any(map(runs, vms))
    assert list(tmp_path.glob("templates/template/*")) == []  # it did not wait for the VM


def test_an_interrupt_of_a_running_guest_leaves_no_vm(command: Command, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with spawn(command("boot"), log=log) as testbed:
        _wait_for_text(log, "up: ", testbed, log)
        vms = _descendants(testbed.pid)
        assert vms
        os.kill(testbed.pid, signal.SIGINT)
        assert testbed.wait(Deadline.after(_PATIENCE)) == _INTERRUPTED
        assert not any(map(runs, vms))


def test_an_interrupted_run_keeps_its_results_and_continues_to_those_of_a_whole_run(
    arch: str, command: Command, tmp_path: Path
) -> None:
    words = command("run", "-k", "test_pages_come_from_the_hooks_fault_handler")
    latest = tmp_path / "results" / "latest"
    cases = latest / "cases.jsonl"
    with spawn(words, log=tmp_path / "log") as testbed:
        _wait_for_text(cases, "\n", testbed, tmp_path / "log")
        vms = _descendants(testbed.pid)
        os.kill(testbed.pid, signal.SIGINT)
        assert testbed.wait(Deadline.after(_PATIENCE)) == _INTERRUPTED
        # A worker that does not end in time is killed, and the kernel then ends its VMs.
        wait_for_end(*vms)
    kept = cases.read_text()
    found = json.loads((latest / "result.json").read_text())["cases"]
    assert len(found) >= kept.count("\n") >= 1
    shown = (tmp_path / "log").read_text()
    assert re.search(rf"^path +{arch}", shown, re.M)
    assert re.search(rf"^{kept.count(chr(10))} tests? ended; continue: testbed run ", shown, re.M)
    assert f"--continue {latest.resolve().name}\n" in shown

    run([*words, "--continue"], deadline=Deadline.after(_PATIENCE))
    assert cases.read_text().startswith(kept)
    whole = json.loads((latest / "result.json").read_text())["cases"]
    names = [f"test_pages_come_from_the_hooks_fault_handler[{arch}-{path}]" for path in HookPath]
    assert sorted(case["test"].rpartition("::")[2] for case in whole) == sorted(names)
    assert {case["status"] for case in whole} == {"PASS"}
    assert len(list(latest.parent.iterdir())) == 2  # the folder of the run, and the link

    result = (latest / "result.json").read_bytes()
    once_more = run([*words, "--continue"], deadline=Deadline.after(_PATIENCE)).stdout
    assert "nothing is left to run" in once_more
    assert f"{len(names)} PASS" in once_more
    assert (latest / "result.json").read_bytes() == result


def test_a_killed_testbed_takes_its_vm_along(command: Command, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with spawn(command("boot"), log=log) as testbed:
        _wait_for_text(log, "up: ", testbed, log)
        vms = _descendants(testbed.pid)
        os.kill(testbed.pid, signal.SIGKILL)
        testbed.wait(Deadline.after(_PATIENCE))
        wait_for_end(*vms)


def _wait_for_text(file: Path, text: str, process: Process, log: Path) -> None:
    """Wait until a process whose output is in `log` has written a text to a file."""

    def appears() -> bool:
        status = process.returncode
        assert status is None, f"ended with {status} before {text!r}:\n{log.read_text()}"
        return file.exists() and text in file.read_text()

    wait_until(appears, f"{text!r} in {file}", log.read_text, _PATIENCE)


def _descendants(pid: int) -> list[int]:
    """The processes below `pid`, by parent.

    Each child leads its own session, so the process group does not identify them.
    """
    children = [
        int(path.name)
        for path in Path("/proc").iterdir()
        if path.name.isdigit() and stat_of(int(path.name))[1:2] == [str(pid)]
    ]
    return [*children, *(below for child in children for below in _descendants(child))]
