# SPDX-License-Identifier: GPL-2.0
"""`testbed fuzz` on a real kernel: a known defect that it is to forget is found anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

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


def test_the_kernels_own_files_show_the_same_on_all_ways(command: Command, tmp_path: Path) -> None:
    words = ["--programs", "20", "--seed", "4", "--corpus", str(tmp_path / "corpus")]
    found = json.loads(run([*command("fuzz"), *words, "--on", "shm,ramfs", "--json"]).stdout)
    (campaign,) = found["campaigns"]
    assert campaign["unserved"] == []
    assert campaign["refused"] == {}
    assert set(campaign["on_files"]) == {"shm", "ramfs"}
    assert min(campaign["on_files"].values()) > 10
