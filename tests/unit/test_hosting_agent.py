# SPDX-License-Identifier: GPL-2.0
"""The agent in a host of scripts/hosts, and the disk that brings it."""

from __future__ import annotations

import io
import json
from pathlib import Path

from hosting.hosttable import HOSTS
from hosting.inside import agent
from hosting.roundimage import make_round_image
from hosting.seeds import Seed
from waiting import wait_for_end

from testbed.process import check_output


def run(script: str, seconds: float = 30.0) -> tuple[int, list[str]]:
    """Return the status and the lines of a script that the agent runs."""
    port = io.BytesIO()
    status = agent.run(port, {"script": script, "user": "root", "seconds": seconds})
    return status, [json.loads(line)["line"] for line in port.getvalue().splitlines()]


def test_a_script_shows_its_lines_and_its_status() -> None:
    assert run("echo one; printf two >&2; exit 7") == (7, ["one", "two"])


def test_a_script_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    status, lines = run(f"echo begun; sleep 60 & echo $! >{tmp_path}/pid; sleep 60", 10.0)
    assert (status, lines) == (124, ["begun"])
    wait_for_end(int((tmp_path / "pid").read_text()))


def test_a_process_left_in_the_background_does_not_hold_the_agent(tmp_path: Path) -> None:
    status, lines = run(f"sleep 60 & echo $! >{tmp_path}/pid; echo done", 20.0)
    assert (status, lines) == (0, ["done"])
    check_output(["kill", (tmp_path / "pid").read_text().strip()])


def test_a_round_brings_the_checkout_and_the_seeds(tmp_path: Path) -> None:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel" / "bzImage").write_text("x")
    (tmp_path / "kernel" / "bzImage").chmod(0o600)
    (tmp_path / "made").mkdir()
    seed = Seed(paths={"x86_64/kernel": tmp_path / "kernel"})
    disk = make_round_image(HOSTS["debian12-amd64"], [seed], tmp_path / "made")
    shown = check_output(["unsquashfs", "-lln", disk])
    modes = {line.rpartition("/")[2]: line.split()[0] for line in shown.splitlines() if line}
    assert modes["bzImage"] == "-rw-r--r--"
    names = {line.partition("squashfs-root")[2] for line in shown.splitlines()}
    assert {"/checkout/scripts/setup", "/inside/begin.sh", "/seed/x86_64/kernel/bzImage"} <= names
    assert "/checkout/.git" not in names
    assert list((tmp_path / "made").iterdir()) == [disk]
