"""The command line: help that shows examples, errors that name cause and cure."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from diffs import diff

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


@pytest.mark.parametrize("command", ["run", "build", "series", "boot", "shell", "doctor"])
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
        (("rnu",), "rnu"),
        (("build", "-j", "many"), "many"),
    ],
    ids=[
        "arch",
        "kernel",
        "tree",
        "series",
        "no-series",
        "settings",
        "command",
        "jobs",
    ],
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


def test_a_series_is_shown_as_it_fits(testbed: Testbed, tmp_path: Path) -> None:
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
