"""The command line: help that shows examples, errors that name cause and cure."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from testbed.run import Completed, run

TESTBED = Path(sys.executable).with_name("testbed")


def _testbed(*words: str, cwd: Path) -> Completed:
    env = {name: str(cwd / name) for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    return run([TESTBED, *words], cwd=cwd, env=env, ok=range(256))


@pytest.mark.parametrize("command", ["run", "build", "boot", "shell", "doctor"])
def test_help_shows_an_example(tmp_path: Path, command: str) -> None:
    done = _testbed(command, "--help", cwd=tmp_path)
    assert done.status == 0
    assert f"testbed {command}" in done.stdout.partition("Usage:")[2].partition("\n")[2]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("run", "--arch", "x86_46"), "did you mean x86_64"),
        (("run", "--kernel", "debain"), "debian"),
        (("run", "--kernel", "tree:nowhere"), "nowhere"),
        (("run", "--series", "nowhere.patch"), "nowhere.patch"),
        (("run", "--settings", "nowhere.toml"), "nowhere.toml"),
        (("rnu",), "rnu"),
        (("build", "-j", "many"), "many"),
    ],
    ids=["arch", "kernel", "tree", "series", "settings", "command", "jobs"],
)
def test_bad_usage_is_named_and_ends_with_2(
    tmp_path: Path, words: tuple[str, ...], complaint: str
) -> None:
    done = _testbed(*words, cwd=tmp_path)
    assert (done.status, complaint in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_cache_is_listed_as_empty(tmp_path: Path) -> None:
    done = _testbed("cache", "list", cwd=tmp_path)
    assert done.status == 0
    assert "0.0 GB of 20 GB" in done.stdout
