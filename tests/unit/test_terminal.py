# SPDX-License-Identifier: GPL-2.0
"""Progress is plain lines on a pipe, and bars that leave one line each on a terminal."""

from __future__ import annotations

import io
import pty
import re
import termios

import pytest
from rich.console import Console

from testbed.terminal import LiveProgress, growing, make_progress, open_console


def test_a_pipe_gets_plain_lines() -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    progress = make_progress(console)
    with progress.step("compile arm64", total=10) as step:
        step.update(5)
    progress.note("sid is expired")
    text = _text(console)
    assert text.startswith("compile arm64 ...\ncompile arm64: done in ")
    assert text.endswith("note: sid is expired\n")
    assert "\x1b" not in text


def test_a_terminal_gets_a_line_for_each_ended_step() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    progress = make_progress(console)
    with progress.step("outer"), progress.step("inner", total=2) as step:
        step.update(1, note="one of two")
    ended = [line for line in _text(console).splitlines() if "✓" in line]
    assert ["inner" in line for line in ended] == [True, False]
    assert "outer" in ended[-1]


def test_a_terminal_shows_the_remaining_time_beside_the_bar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    progress = make_progress(console)
    assert isinstance(progress, LiveProgress)
    with progress.step("compile") as step:
        step.update(0, total=10, seconds=300)
        progress.bars.refresh()
        before = _text(console)
        step.update(5)
        progress.bars.refresh()
    assert "about 5 min left" in before
    assert re.search(r"about \d+ s left", _text(console)[len(before) :])
    assert "left" not in _text(console).splitlines()[-1]


def test_a_pipe_shows_the_remaining_time_once_and_then_at_intervals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    with make_progress(console).step("compile") as step:
        step.update(0, total=1000, seconds=300)
        for done in range(100):
            step.update(done, note="mm/vma.o")
        assert _text(console) == "compile ...\n... compile 0% (about 5 min left)\n"
        monkeypatch.setattr("testbed.terminal._PLAIN_INTERVAL", 0.0)
        step.update(500, note="mm/vma.o")
    line = _text(console).splitlines()[2]
    assert re.fullmatch(r"... compile 50% \(about \d+ s left\) mm/vma\.o", line)


def test_a_pipe_repeats_no_line_before_a_long_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.terminal._PLAIN_INTERVAL", 0.0)
    console = Console(file=io.StringIO(), force_terminal=False)
    with make_progress(console).step("cells") as step:
        for note in ("first", "first", "second", "first"):
            step.update(1, total=2, note=note)
        monkeypatch.setattr("testbed.terminal._SILENCE", 0.0)
        step.update(1, total=2, note="first")
    notes = [line.split()[-1] for line in _text(console).splitlines()[1:-1]]
    assert notes == ["first", "second", "first", "first"]


def test_a_note_stays_on_one_line_and_can_be_copied() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=20)
    make_progress(console).note("log in: ssh -p 2222 root@127.0.0.1")
    assert "log in: ssh -p 2222 root@127.0.0.1\n" in _text(console)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_note_may_be_shown_once_only(terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    progress = make_progress(console)
    for text in ("sid is expired", "sid is expired", "bookworm is expired"):
        progress.note(text, once=True)
    assert _text(console).count("sid is expired") == 1
    assert _text(console).count("bookworm is expired") == 1
    for _ in range(2):
        progress.note("trying once more")
    assert _text(console).count("trying once more") == 2


def test_a_step_that_fails_says_so() -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    with pytest.raises(ValueError, match="x"), make_progress(console).step("boot"):
        raise ValueError("x")
    assert "boot: failed after" in _text(console)


@pytest.mark.parametrize(
    ("terminal", "line"),
    [(True, "■ test interrupted\n"), (False, "test: interrupted after 0.0 s\n")],
)
def test_a_step_that_is_interrupted_has_a_mark_of_its_own(terminal: bool, line: str) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80, color_system=None)
    with pytest.raises(KeyboardInterrupt), make_progress(console).step("test"):
        raise KeyboardInterrupt
    assert line in _text(console)
    assert "✓" not in _text(console)


def test_a_terminal_shows_a_picture_below_the_bars_as_long_as_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")  # a dumb terminal has no bars
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    progress = make_progress(console)
    assert isinstance(progress, LiveProgress)
    with progress.step("test"):
        with growing(progress, lambda: "stack 3 pass"):
            progress.bars.refresh()
            progress.note("one")
        before = _text(console)
        progress.note("two")
    assert before.index("note:") < before.index("stack 3 pass")
    assert "stack 3 pass" not in _text(console)[len(before) :]


def test_without_a_picture_the_bars_stand_alone() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    progress = make_progress(console)
    with progress.step("test"), growing(progress, lambda: None):
        progress.note("one")
    assert "None" not in _text(console)


def test_a_pipe_gets_no_picture() -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    progress = make_progress(console)
    with progress.step("test"), growing(progress, lambda: "stack 3 pass"):
        progress.note("one")
    assert "pass" not in _text(console)


def test_a_console_reaches_its_terminal_while_pytest_captures_stdout(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    screen, terminal = pty.openpty()
    with open(screen, "rb", buffering=0) as reader, open(terminal, "w") as stdout:
        termios.tcsetwinsize(terminal, (40, 123))
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", stdout)
            console = open_console()
        console.print("a line for the user")
        assert (console.width, console.height) == (123, 40)
        console.file.close()
        assert b"a line for the user" in reader.read(1000)
    assert capfd.readouterr().out == ""


def test_a_console_without_a_file_writes_to_what_stands_for_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    open_console().print("one")
    open_console(stderr=True).print("two")
    assert capsys.readouterr() == ("one\n", "two\n")


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
