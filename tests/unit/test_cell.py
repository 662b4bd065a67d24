# SPDX-License-Identifier: GPL-2.0
"""Cells, their files, and `testbed run-cell` as a real process."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sham_cells import KIND, SHAM_ENV, alive, sham
from waiting import wait_for_line, wait_until

from testbed.deadline import Deadline
from testbed.errors import CommandError, SetupError
from testbed.nightly.cell import (
    CELL_RESULT_FILE,
    Cell,
    PatchFile,
    TextFile,
    cell_text,
    has_result,
    parse_cell,
    read_cell_result,
    write_cell,
)
from testbed.nightly.child import LOG_FILE, cell_process
from testbed.nightly.kinds import KINDS
from testbed.process import Process, run, spawn
from testbed.settings import Settings

# Seconds for a process of the testbed to start, or to end, on a busy host.
_PATIENCE = 300

# A program for a cell: it shows its folder for temporary files, and stays.
_SHOW_TMPDIR = ("-c", "import os, time; print(os.environ['TMPDIR'], flush=True); time.sleep(600)")

PATCH = b"""\
--- a/mm/util.c
+++ b/mm/util.c
@@ -1 +1 @@
-a \xe4
+b \xe4
"""


def argv(cell: Cell, out: Path) -> list[str]:
    """Return the command that runs a sham cell."""
    out.mkdir(exist_ok=True)
    file = write_cell(out, cell)
    return [sys.executable, "-P", "-m", "sham_cells", str(file), "--out", str(out)]


@contextmanager
def started(cell: Cell, out: Path, log: Path) -> Iterator[Process]:
    """Run a cell in a process that its parent does not end with the block by itself."""
    with spawn(argv(cell, out), log=log, env=SHAM_ENV) as process:
        yield process


def wait_for_start(diary: Path) -> tuple[int, int]:
    """Return the process of the first cell in a diary, and its child."""
    words = wait_for_line(diary).split()
    return int(words[2]), int(words[3])


def wait_for_program(pid: int) -> None:
    """Wait until a process shows what it runs: in the middle of execve(2) it shows nothing."""
    wait_until(lambda: alive(pid), f"the program of process {pid}")


def full_cell() -> Cell:
    return dataclasses.replace(
        sham(1, ms="5"),
        patches=(PatchFile(**dataclasses.asdict(TextFile.of("a.patch", PATCH)), strip=1),),
        config=(TextFile("x.config", "CONFIG_X=y\n"),),
        qemu=("-smp", "2"),
        only=("a", "b"),
        part=0.5,
    )


def test_a_cell_survives_its_file() -> None:
    cell = full_cell()
    assert parse_cell(cell_text(cell), "here") == cell


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 99}, "has format 99"),
        ({"colour": "red"}, "is not a cell"),
        ({"part": 0}, "part is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"patches": [{"name": "x"}]}, "is not a cell"),
    ],
)
def test_a_file_that_is_not_a_cell_is_refused(change: dict[str, object], words: str) -> None:
    text = json.dumps(json.loads(cell_text(full_cell())) | change)
    with pytest.raises(SetupError, match=words):
        parse_cell(text, "here")


def test_a_cell_carries_its_series_and_fragments_byte_by_byte(
    tmp_path: Path, settings: Settings
) -> None:
    cell = parse_cell(cell_text(full_cell()), "here")
    [patch] = cell.load_series(tmp_path / "series").patches
    assert patch.text == PATCH
    assert (tmp_path / "series/a.patch").read_bytes() == PATCH
    [fragment] = cell.settings(settings, tmp_path).config
    assert fragment.read_text() == "CONFIG_X=y\n"


def test_the_settings_of_a_cell_override_those_of_the_host(
    tmp_path: Path, settings: Settings
) -> None:
    cell = dataclasses.replace(full_cell(), flavour="debug", arch="arm64", workers=3)
    found = cell.settings(settings, tmp_path)
    assert (found.flavour, found.arch, found.workers) == ("debug", ("arm64",), 3)
    assert found.cache_dir == settings.cache_dir


def test_run_cell_leaves_a_result(tmp_path: Path) -> None:
    done = run(argv(sham(1), tmp_path / "out"), env=SHAM_ENV)
    assert "5 PASS" in done.stdout
    found = read_cell_result(tmp_path / "out")
    assert found is not None
    assert (found.cell, len(found.run.cases)) == (sham(1), 5)


def test_a_cell_with_a_result_does_not_run_again(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    for _ in range(2):
        run(argv(sham(1, diary=str(diary)), tmp_path / "out"), env=SHAM_ENV)
    assert len(diary.read_text().splitlines()) == 2  # one start, one end


def test_the_folder_of_another_cell_is_refused(tmp_path: Path) -> None:
    run(argv(sham(1), tmp_path / "out"), env=SHAM_ENV)
    with pytest.raises(CommandError, match="result of another cell") as raised:
        run(argv(sham(2), tmp_path / "out"), env=SHAM_ENV)
    assert raised.value.status == 2


@pytest.mark.parametrize(("error", "status"), [("InfraError", 3), ("SetupError", 2)])
def test_an_error_is_no_result(tmp_path: Path, error: str, status: int) -> None:
    with pytest.raises(CommandError, match="as asked") as raised:
        run(argv(sham(1, raises=error), tmp_path / "out"), env=SHAM_ENV)
    assert raised.value.status == status
    assert not has_result(tmp_path / "out")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_vms_of_a_cell_end_with_it(tmp_path: Path, number: signal.Signals) -> None:
    diary = tmp_path / "diary"
    cell = sham(1, ms="600000", diary=str(diary))
    with started(cell, tmp_path / "out", tmp_path / "log"):
        own, child = wait_for_start(diary)
        wait_for_program(own)
        wait_for_program(child)
        os.kill(own, number)
        wait_until(lambda: not alive(child), f"the end of {child}")
    assert not (tmp_path / "out" / CELL_RESULT_FILE).exists()


def test_a_second_process_of_one_cell_waits_and_takes_the_result(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    cell = sham(1, ms="500", diary=str(diary))
    with started(cell, tmp_path / "out", tmp_path / "log") as first:
        wait_for_start(diary)
        run(argv(cell, tmp_path / "out"), env=SHAM_ENV)
        assert first.wait(Deadline.after(_PATIENCE)) == 0
    assert [line.split()[0] for line in diary.read_text().splitlines()] == ["start", "end"]


def test_a_cell_that_runs_twice_at_a_time_has_temporary_files_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of one run once took them from the other."""
    monkeypatch.setitem(KINDS, KIND, dataclasses.replace(KINDS["tests"], program=_SHOW_TMPDIR))
    with ExitStack() as first, ExitStack() as second:
        one, two = (
            _scratch_of(stack, tmp_path / name)
            for stack, name in ((first, "first"), (second, "second"))
        )
        second.close()
        assert (one.is_dir(), two.exists()) == (True, False)
    assert not one.exists()


def _scratch_of(stack: ExitStack, folder: Path) -> Path:
    """Run the same cell in a folder, and return its folder for temporary files."""
    stack.enter_context(cell_process(sham(1), folder))
    return Path(wait_for_line(folder / LOG_FILE).strip())


def test_an_unknown_kind_is_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    cell = dataclasses.replace(sham(1), kind="test")
    with pytest.raises(CommandError, match="did you mean tests"):
        run(argv(cell, tmp_path / "out"), env=SHAM_ENV)
