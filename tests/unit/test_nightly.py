# SPDX-License-Identifier: GPL-2.0
"""`testbed nightly` as a real process, with sham cells on the commits of a real git tree.

This is a sample; tests/long/test_nights.py has the rest.
"""

from __future__ import annotations

import json
from email import message_from_string
from pathlib import Path

import pytest
from nightly_parts import MATRIX, Nights, new_nights
from sham_cells import SHAM_ENV
from waiting import wait_for_line

from testbed.process import spawn


@pytest.fixture
def nights(tmp_path: Path, git_alone: None) -> Nights:
    return new_nights(tmp_path)


def test_a_new_failure_is_tried_again_and_its_commit_is_found(nights: Nights) -> None:
    nights.run()
    bad = nights.tree.commit("broken\n", "mm: break it")
    nights.tree.commit("broken as well\n")
    found = nights.run(status=1)
    assert nights.classes() == {"new": ["2"]}
    assert f"first bad commit: {bad[:12]} mm: break it" in found.stdout
    mail = message_from_string((nights.folder / "mail.txt").read_text())
    assert mail["Subject"] == "[REGRESSION] mmap hooks on main: 1 new"
    assert f"first bad commit: {bad}" in mail.get_payload()


def test_list_shows_cells_their_cost_and_what_is_known(nights: Nights) -> None:
    (nights.top / "nightly.toml").write_text(f"{MATRIX}cost = 1800\n")
    lines = nights.run("--list").stdout.splitlines()
    assert lines == [
        "runs   main x86_64 base batch sham: 30 min",
        "cells: 1, 30 min one after the other; the night has 1 h 00 min",
    ]
    assert not (nights.top / "results_dir").exists()
    nights.run()
    assert nights.run("--list").stdout.startswith("known  main x86_64 base batch sham: 20")
    [cell] = json.loads(nights.run("--list", "--json").stdout)
    assert (cell["known"], cell["stream"]) == (nights.folder.name, "main")


def test_a_night_that_still_runs_is_left_to_its_process(nights: Nights) -> None:
    """Even with another history: its results are for that of its own process."""
    diary, log = nights.top / "diary", nights.top / "log"
    slow = f"ms = 60000\ndiary = '{diary}'\n"
    (nights.top / "nightly.toml").write_text(MATRIX + slow)
    other = f"sqlite:///{nights.top}/other.db"
    with spawn(nights.argv(), log=log, env=SHAM_ENV):
        wait_for_line(diary)
        refused = nights.run("--history", other, status=2).stderr
    assert "still runs in another process" in refused
    assert not (nights.folder / "outcome.json").exists()


def test_a_matrix_of_what_does_not_exist_is_refused(nights: Nights) -> None:
    (nights.top / "nightly.toml").write_text(MATRIX.replace("linux@main", "linux@absent"))
    assert "has no commit absent" in nights.run(status=2).stderr
    assert not (nights.top / "results_dir").exists()
