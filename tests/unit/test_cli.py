# SPDX-License-Identifier: GPL-2.0
"""The command line: help with examples, errors with a cause and a hint."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from diffs import diff

from testbed.bisect.symptom import Presence, Reading
from testbed.cli import main


@dataclass(frozen=True)
class Ended:
    status: int
    stdout: str
    stderr: str


class Testbed:
    """Runs the command line in this process, in an empty folder and without the user's settings."""

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
    own = tmp_path / "CONFIG/mmap-testbed"
    own.mkdir(parents=True)
    (own / "testbed.toml").write_text(f'results_dir = "{tmp_path}/results"\n')
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield Testbed(monkeypatch, capsys)
    for number, handler in handlers.items():
        signal.signal(number, handler)


COMMANDS = ["run", "build", "series", "boot", "shell", "doctor"]
COMMANDS += ["compare", "bisect", "bisect-step", "check", "report"]


@pytest.mark.parametrize("command", COMMANDS)
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
        (("series",), "--series"),
        (("run", "--settings", "nowhere.toml"), "nowhere.toml"),
        (("run", "--continue"), "there is no run to continue in"),
        (("run", "--continue", "nowhere"), "there is no run nowhere in"),
        (("rnu",), "rnu"),
        (("build", "-j", "many"), "many"),
        (("bisect", "a"), "--good and --bad, or --series"),
        (("bisect", "--good", "a", "--bad", "b", "a"), "not the top of a git tree"),
        (("bisect", "--good", "a", "--bad", "b", "--kernel", "debian", "a"), "--kernel"),
        (("bisect", "--symptom", "(", "a"), "is not a regular expression"),
        (("bisect", "a and"), "is not a test expression"),
        (("check", "--node", "/dev/foo"), "give --module, or --before and --after"),
        (("check", "--node", "/dev/foo", "--before", "."), "give --module, or --before and"),
        (("check", "--node", "foo", "--module", "."), "foo is not an absolute path"),
        (("check", "--node", "/dev/foo", "--module", "nowhere"), "nowhere"),
        (("check", "--node", "/dev/foo", "--module", ".", "--plan", "nowhere"), "the plan nowhere"),
    ],
    ids=[
        "arch",
        "kernel",
        "tree",
        "series",
        "no-series",
        "settings",
        "no-run",
        "no-such-run",
        "command",
        "jobs",
        "bisect-ends",
        "bisect-tree",
        "bisect-kernel",
        "bisect-symptom",
        "bisect-tests",
        "check-nothing",
        "check-half",
        "check-node",
        "check-module",
        "check-plan",
    ],
)
def test_wrong_usage_is_reported_and_exits_with_2(
    testbed: Testbed, words: tuple[str, ...], complaint: str
) -> None:
    done = testbed(*words)
    assert (done.status, complaint in done.stderr) == (2, True), done.stderr


def test_bisecting_a_series_takes_no_ends(testbed: Testbed, tmp_path: Path) -> None:
    (tmp_path / "1.patch").write_text(diff("mm/vma.c", "int vma;\n", "int more;\n"))
    done = testbed("bisect", "--series", "1.patch", "--good", "a", "test")
    assert (done.status, "leave out --good and --bad" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    "words",
    [(), ("--repeat", "none", "a"), ("--kernel", "debain", "a"), ("a and",), ("a",)],
    ids=["no-test", "option", "kernel", "tests", "no-tree"],
)
def test_bisect_step_ends_git_bisect_run_after_wrong_usage(
    testbed: Testbed, words: tuple[str, ...]
) -> None:
    done = testbed("bisect-step", *words)
    assert (done.status, done.stderr != "") == (255, True)


def test_bisect_step_ends_git_bisect_run_after_a_bug_in_the_testbed(
    testbed: Testbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.cli.bisect_step.judge", lambda *_: 1 / 0)
    done = testbed("bisect-step", "--kernel", "tree:x", "a")
    assert (done.status, "ZeroDivisionError" in done.stderr) == (255, True)


@pytest.mark.parametrize(
    ("verdict", "words", "status"),
    [
        (Presence.ABSENT, (), 0),
        (Presence.PRESENT, (), 1),
        (Presence.UNKNOWN, (), 125),
        (Presence.ABSENT, ("--find-fix",), 1),
        (Presence.PRESENT, ("--find-fix",), 0),
        (Presence.UNKNOWN, ("--find-fix",), 125),
    ],
)
def test_bisect_step_exits_as_git_bisect_run_expects(
    testbed: Testbed,
    monkeypatch: pytest.MonkeyPatch,
    verdict: Presence,
    words: tuple[str, ...],
    status: int,
) -> None:
    reading = Reading(verdict=verdict, reason="why")
    monkeypatch.setattr("testbed.cli.bisect_step.judge", lambda *_: reading)
    done = testbed("bisect-step", "--kernel", "tree:x", *words, "a")
    assert (done.status, f"{verdict}: why" in done.stdout) == (status, True), done.stderr
    assert not any(Path("results").iterdir()), "a command that leaves nothing leaves no folder"


def test_an_empty_cache_is_listed_as_empty(testbed: Testbed) -> None:
    done = testbed("cache", "list")
    assert done.status == 0
    assert "0.0 GB of 20 GB" in done.stdout


def test_series_shows_how_each_patch_applies(testbed: Testbed, tmp_path: Path) -> None:
    kernel = f"tree:{Path(__file__).parent / 'fake_kernel'}"
    (text,) = (Path(kernel.removeprefix("tree:")) / "mm/vma.c").read_text().splitlines()
    series = tmp_path / "series"
    series.mkdir()
    (series / "1.patch").write_text(diff("mm/vma.c", f"{text}\n", f"{text}\nint more;\n"))
    shown = testbed("series", "--kernel", kernel, "--series", str(series))
    assert (shown.status, "1.patch  applies\n" in shown.stdout) == (0, True), shown.stderr
    (series / "2.patch").write_text(diff("mm/vma.c", "int none;\n", "int more;\n"))
    shown = testbed("series", "--kernel", kernel, "--series", str(series))
    assert (shown.status, "2.patch  conflicts\n" in shown.stdout) == (1, True), shown.stderr
    assert "2.patch does not apply: mm/vma.c, hunk 1" in shown.stderr


def test_an_unknown_command_is_an_error_that_names_the_nearest_one(testbed: Testbed) -> None:
    ended = testbed("rnu")
    assert ended.status == 2
    assert "there is no command 'rnu': did you mean run?" in ended.stderr


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("fuzz", "--seconds", "nan"), "--seconds"),
        (("fuzz", "--seconds", "inf"), "--seconds"),
        (("coverage", "--fuzz", "nan"), "--fuzz"),
    ],
)
def test_a_number_is_finite(testbed: Testbed, words: tuple[str, ...], option: str) -> None:
    done = testbed(*words)
    assert done.status == 2
    assert f"Invalid value for '{option}'" in done.stderr
    assert "is not a finite number" in done.stderr
