# SPDX-License-Identifier: GPL-2.0
"""A folder is held by one process, and a killed one leaves neither a claim nor temporary files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.claims import claimed, is_claimed, scratch_folder
from testbed.errors import SetupError
from testbed.settings import CHECKOUT

# It prints a folder that it holds, and waits for its end.
CLAIMANT = "with claimed(Path(argument)): print(argument, flush=True); input()"
SCRATCH = "with scratch_folder(argument) as folder: print(folder, flush=True); input()"


Child = subprocess.Popen[str]


@contextmanager
def process(code: str, argument: Path | str, tmp_path: Path) -> Iterator[tuple[Child, Path]]:
    """Run code in a process, and provide it with the folder that it holds."""
    lines = [
        "import sys",
        "from pathlib import Path",
        "from testbed.claims import claimed, scratch_folder",
        "argument = sys.argv[1]",
        code,
    ]
    words = [sys.executable, "-c", "\n".join(lines), str(argument)]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as child:
        try:
            assert child.stdout is not None
            yield child, Path(child.stdout.readline().strip())
        finally:
            child.kill()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_held_by_one_process(tmp_path: Path) -> None:
    with claimed(tmp_path):
        assert is_claimed(tmp_path)
        with pytest.raises(SetupError, match="still runs in another process"), claimed(tmp_path):
            pass
    assert not is_claimed(tmp_path)


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    with process(CLAIMANT, tmp_path, tmp_path) as (child, folder):
        assert is_claimed(folder)
        child.send_signal(signal.SIGKILL)
        with claimed(folder, wait=True):
            assert is_claimed(folder)


def test_a_folder_for_temporary_files_is_gone_after_the_block(temporary: Path) -> None:
    with scratch_folder("test") as folder:
        (folder / "file").touch()
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(temporary.iterdir()) == []


def test_temporary_files_of_a_killed_process_are_removed_and_those_of_a_running_one_stay(
    temporary: Path,
) -> None:
    with (
        process(SCRATCH, "test", temporary) as (killed, left),
        process(SCRATCH, "test", temporary) as (_, used),
        process(SCRATCH, "other", temporary) as (_, other),
    ):
        killed.kill()
        killed.wait()
        assert left.is_dir()
        with scratch_folder("test") as own:
            assert sorted(temporary.iterdir()) == sorted([used, other, own])


def test_a_folder_that_is_removed_before_it_is_claimed_is_made_anew(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may take it for one that is left."""
    make, made = tempfile.mkdtemp, []

    def mkdtemp(prefix: str) -> str:
        made.append(make(prefix=prefix))
        if len(made) == 1:
            Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    with scratch_folder("test") as folder:
        assert str(folder) == made[1]
