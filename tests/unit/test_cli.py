"""The command line: help that shows examples, errors that name cause and cure."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from testbed.cli import main


@dataclass(frozen=True)
class Ended:
    status: int
    stdout: str
    stderr: str


class Testbed:
    """Runs the command line in this process, in a folder and with settings of its own."""

    __test__ = False

    def __init__(self, patch: pytest.MonkeyPatch, output: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._output = output

    def __call__(self, *words: str) -> Ended:
        self._patch.setattr(sys, "argv", ["testbed", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = self._output.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, shown.out, shown.err)


@pytest.fixture
def testbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Testbed]:
    for name in ("CONFIG", "CACHE", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)
    yield Testbed(monkeypatch, capsys)
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize("command", ["run", "build", "boot", "shell", "doctor"])
def test_help_shows_an_example(testbed: Testbed, command: str) -> None:
    done = testbed(command, "--help")
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
    testbed: Testbed, words: tuple[str, ...], complaint: str
) -> None:
    done = testbed(*words)
    assert (done.status, complaint in done.stderr) == (2, True), done.stderr


def test_an_empty_cache_is_listed_as_empty(testbed: Testbed) -> None:
    done = testbed("cache", "list")
    assert done.status == 0
    assert "0.0 GB of 20 GB" in done.stdout
