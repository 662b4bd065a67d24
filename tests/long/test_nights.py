# SPDX-License-Identifier: GPL-2.0
"""Whole nights of `testbed nightly`, with sham cells on the commits of a real git tree."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path

import postgresql_parts
import pytest
from nightly_parts import MATRIX, Nights, new_nights
from postgresql_parts import end
from sham_cells import SHAM_ENV, TESTS
from sqlalchemy import URL
from tree_parts import GIT_ALONE
from waiting import wait_until

from testbed.deadline import Deadline
from testbed.history.database import history_url, opened_history
from testbed.process import run, spawn
from testbed.settings import Settings


@pytest.fixture
def nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nights:
    for name, value in GIT_ALONE.items():
        monkeypatch.setenv(name, value)
    return new_nights(tmp_path)


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[URL]:
    if reason := postgresql_parts.why_not():
        pytest.skip(reason)
    with postgresql_parts.server(tmp_path / "server.log") as url:
        yield url


def test_new_then_still_then_fixed(nights: Nights) -> None:
    first = nights.run()
    assert "4 PASS" not in first.stdout
    assert "5 PASS" in first.stdout
    assert nights.classes() == {}

    nights.tree.commit("fine too\n")
    bad = nights.tree.commit("broken\n", "mm: break it")
    nights.tree.commit("broken as well\n")
    second = nights.run(status=1)
    assert nights.classes() == {"new": ["2"]}
    assert f"first bad commit: {bad[:12]} mm: break it" in second.stdout
    [searched] = nights.outcome["bisected"]
    assert (searched["good"], searched["commit"]) == (nights.tree.commits[0], bad)
    mail = message_from_string((nights.folder / "mail.txt").read_text())
    assert mail["Subject"] == "[REGRESSION] mmap hooks on main: 1 new"
    assert f"first bad commit: {bad}" in mail.get_payload()

    nights.tree.commit("broken still\n")
    nights.run()
    assert nights.classes() == {"still": ["2"]}
    assert not (nights.folder / "mail.txt").exists()

    nights.tree.commit("fine again\n")
    nights.run()
    assert nights.classes() == {"fixed": ["2"]}
    mail = message_from_string((nights.folder / "mail.txt").read_text())
    assert mail["Subject"] == "[FIXED] mmap hooks on main: 1 fixed"


def test_what_fails_is_tried_again_and_both_outcomes_are_kept(nights: Nights) -> None:
    (nights.top / "nightly.toml").write_text(f"{MATRIX}alone = 'passes'\n")
    nights.run()
    nights.tree.commit("broken\n")
    nights.run(status=1)
    [again] = [each for each in nights.outcome["cells"] if "again" in each["cell"]["title"]]
    assert again["cell"]["title"] == "main x86_64 base boot sham again 1 tests"
    assert again["counts"] == {"PASS": 1}
    [kept] = [each for each in nights.outcome["findings"] if each["test"] == TESTS[2]]
    assert kept["status"] == "FAIL"


def test_a_cell_whose_result_is_known_does_not_run_again_unless_asked_for(nights: Nights) -> None:
    diary = nights.top / "diary"
    (nights.top / "nightly.toml").write_text(f"{MATRIX}diary = '{diary}'\n")
    nights.run()
    name = nights.folder.name
    assert f"known since {name}" in nights.run().stdout
    assert len(diary.read_text().splitlines()) == 2
    nights.run("--again")
    assert len(diary.read_text().splitlines()) == 4


def test_a_night_without_time_leaves_its_cells(nights: Nights) -> None:
    (nights.top / "nightly.toml").write_text(f"{MATRIX}cost = 7200\n")
    assert "not run: the time was used up" in nights.run().stdout


def test_a_cell_without_result_is_status_3(nights: Nights) -> None:
    (nights.top / "nightly.toml").write_text(f"{MATRIX}raises = 'InfraError'\n")
    assert "no result: its process ended with status 3: " in nights.run(status=3).stdout


def test_exported_cells_run_elsewhere_and_their_results_are_taken(nights: Nights) -> None:
    diary = nights.top / "diary"
    (nights.top / "nightly.toml").write_text(f"{MATRIX}diary = '{diary}'\n")
    nights.run("--export", str(nights.top / "cells"))
    [cell] = (nights.top / "cells").iterdir()
    out = nights.top / "out" / cell.name
    argv = [sys.executable, "-P", "-m", "sham_cells", str(cell / "cell.json"), "--out", str(out)]
    run(argv, env=SHAM_ENV)
    nights.run("--from", str(nights.top / "out"))
    assert len(diary.read_text().splitlines()) == 2
    assert nights.outcome["cells"][0]["state"] == "done"


def test_the_mail_is_sent_by_the_command_of_the_settings_only(nights: Nights) -> None:
    sent = nights.top / "sent"
    nights.run()
    nights.tree.commit("broken\n")
    nights.more = f"sendmail = 'tee {sent}'\n"
    (nights.top / "nightly.toml").write_text(f"mail_to = 'linux-mm@kvack.org'\n{MATRIX}")
    nights.run(status=1)
    assert "To: linux-mm@kvack.org" in sent.read_text()
    assert sent.read_text() == (nights.folder / "mail.txt").read_text()


def test_two_nightlies_on_one_history(nights: Nights) -> None:
    settings = Settings(data_dir=nights.top / "data_dir")
    with opened_history(history_url(settings), write=True):
        words = nights.run(status=3).stderr
    assert "another process writes to the history: pid " in words
    assert "wait until it ends" in words
    nights.run()


def test_a_full_disk(nights: Nights) -> None:
    """A real one, of half a megabyte. With more room the same command goes on."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    results, diary = nights.top / "results_dir", nights.top / "diary"
    rows = [f"[[cells]]\nkind = 'sham'\narch = 'x86_64'\nnumber = {n}\n" for n in range(8)]
    rows = [f"{row}diary = '{diary}'\n" for row in rows]
    (nights.top / "nightly.toml").write_text(f"{MATRIX.partition('[[')[0]}{''.join(rows)}")
    results.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=96k", "none", str(results)])
    try:
        words = nights.run(status=3).stderr
        assert "make room there" in words
        run(["mount", "-o", "remount,size=64m", str(results)])
        nights.run()
        assert {each["state"] for each in nights.outcome["cells"]} == {"done"}
    finally:
        run(["umount", str(results)])
    ended = [line.split()[1] for line in diary.read_text().splitlines() if line.startswith("end")]
    assert len(set(ended)) == 8


def test_a_history_that_goes_away_gets_its_results_later(nights: Nights, postgresql: URL) -> None:
    lines = [f"[[cells]]\nkind = 'sham'\narch = 'x86_64'\nnumber = {n}\nms = 500\n" for n in "123"]
    (nights.top / "nightly.toml").write_text(f"{MATRIX.partition('[[')[0]}{''.join(lines)}")
    url = postgresql.render_as_string(hide_password=False)
    log = nights.top / "log"
    with spawn(nights.argv("--history", url), log=log, env=SHAM_ENV) as nightly:
        kept = "results_dir/nightly/2*/cells/*/in-history"
        wait_until(lambda: any(nights.top.glob(kept)), "a result in the history", log.read_text)
        end(postgresql)
        assert nightly.wait(Deadline.after(400)) == 3
    taken = len(list(nights.folder.glob("cells/*/in-history")))
    assert (len(list(nights.folder.glob("cells/*/cell-result.json"))), taken < 3) == (3, True)
    assert "results are kept in files for the next night" in log.read_text()
    again = nights.run()  # with the default history, a new one
    assert f"adding {3 - taken} results of the night" in again.stdout
    assert len([each for each in nights.outcome["cells"] if each["state"] == "known"]) == 3 - taken
