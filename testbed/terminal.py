# SPDX-License-Identifier: GPL-2.0
"""Progress for people: live bars on a terminal, plain lines on a pipe."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, ConsoleDimensions, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as RichBars
from rich.text import Text

from testbed.progress import Progress, Step
from testbed.remaining import Remaining

# Seconds between two plain lines of a long step.
_PLAIN_INTERVAL = 15.0

# A line is repeated after so many seconds, because some CI systems end a job that is silent.
_SILENCE = 300.0

# Pictures of bars and table a second. Each costs some milliseconds, which the tests could use.
_REFRESHES = 4


def open_console(*, stderr: bool = False) -> Console:
    """Return a console on its own copy of stdout or stderr.

    While a test runs in this process, pytest captures everything that is written to the others.
    """
    stream = sys.stderr if stderr else sys.stdout
    try:
        copy = os.dup(stream.fileno())
    except OSError:  # in a unit test the stream is not a file
        return Console(stderr=stderr)
    return _OwnConsole(file=os.fdopen(copy, "w", encoding=stream.encoding, errors=stream.errors))


class _OwnConsole(Console):
    """A console whose size is that of its own file; rich asks the files that pytest replaces."""

    @property
    def size(self) -> ConsoleDimensions:
        if {"COLUMNS", "LINES"} & os.environ.keys():  # the user's word counts
            return super().size
        try:
            return ConsoleDimensions(*os.get_terminal_size(self.file.fileno()))
        except OSError:
            return super().size

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        raise AttributeError("the size of a terminal cannot be set")


def make_progress(console: Console) -> Progress:
    """Return a progress with bars if `console` is a terminal, with plain lines otherwise."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


# A function that returns what is to be shown now, or None.
Picture = Callable[[], RenderableType | None]


@contextmanager
def growing(progress: Progress, picture: Picture) -> Iterator[None]:
    """Show a picture below the bars as long as the block runs; on a pipe, do not."""
    if not isinstance(progress, LiveProgress):
        yield
        return
    progress.bars.picture = picture
    try:
        yield
    finally:
        progress.bars.picture = None
        progress.bars.refresh()


class _Bars(RichBars):
    """Bars, and a picture below them. If the terminal is too low, the picture is cut, not a bar."""

    picture: Picture | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.picture is not None and (picture := self.picture()) is not None:
            yield picture


class _RemainingColumn(ProgressColumn):
    """The remaining time. It counts down between two reports of a step."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields["remaining"]), style="dim")


@dataclass
class _LiveStep:
    bars: _Bars
    task: TaskID
    total: float | None
    remaining: Remaining

    def update(
        self,
        done: float,
        *,
        total: float | None = None,
        note: str = "",
        seconds: float | None = None,
    ) -> None:
        self.total = total if total is not None else self.total
        self.remaining.update(done, self.total, seconds)
        self.bars.update(self.task, completed=done, total=self.total, note=escape(note))


class LiveProgress:
    """One bar for each step in progress, and a line for each that has ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._depth = 0
        self._noted: set[str] = set()
        self.bars = _Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            _RemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
            transient=True,
            refresh_per_second=_REFRESHES,
        )

    @contextmanager
    def step(self, title: str, total: float | None = None) -> Iterator[Step]:
        started = time.monotonic()
        self._enter()
        remaining = Remaining()
        task = self.bars.add_task(escape(title), total=total, note="", remaining=remaining)
        try:
            yield _LiveStep(self.bars, task, total, remaining)
        except KeyboardInterrupt:
            self._console.print(f"[yellow]■[/] {escape(title)} interrupted", highlight=False)
            raise
        except BaseException:
            self._console.print(f"[red]✗[/] {escape(title)}", highlight=False)
            raise
        else:
            seconds = time.monotonic() - started
            self._console.print(
                f"[green]✓[/] {escape(title)} [dim]{seconds:.1f} s[/]", highlight=False
            )
        finally:
            self.bars.remove_task(task)
            self._leave()

    def note(self, text: str, *, once: bool = False) -> None:
        if once and text in self._noted:
            return
        self._noted.add(text)
        self._console.print(f"[yellow]note:[/] {escape(text)}", highlight=False, soft_wrap=True)

    def _enter(self) -> None:
        with self._lock:
            if self._depth == 0:
                self.bars.start()
            self._depth += 1

    def _leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self.bars.stop()


@dataclass
class _PlainStep:
    console: Console
    title: str
    total: float | None
    printed: float = field(default_factory=time.monotonic)
    remaining: Remaining = field(default_factory=Remaining)
    shown: str = ""  # the last line

    def update(
        self,
        done: float,
        *,
        total: float | None = None,
        note: str = "",
        seconds: float | None = None,
    ) -> None:
        self.total = total if total is not None else self.total
        self.remaining.update(done, self.total, seconds)
        share = f" {100 * done / self.total:.0f}%" if self.total else ""
        left = f" ({self.remaining})" if str(self.remaining) else ""
        line = f"... {self.title}{share}{left} {note}".rstrip()
        silence = _SILENCE if line == self.shown else _PLAIN_INTERVAL
        # The first expectation is shown at once.
        if seconds is None and time.monotonic() - self.printed < silence:
            return
        self.printed, self.shown = time.monotonic(), line
        plain(self.console, line)


class PlainProgress:
    """A line when a step begins, a line when it ends, and a few in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._noted: set[str] = set()

    @contextmanager
    def step(self, title: str, total: float | None = None) -> Iterator[Step]:
        started = time.monotonic()
        plain(self._console, f"{title} ...")
        try:
            yield _PlainStep(self._console, title, total)
        except BaseException as error:
            how = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            plain(self._console, f"{title}: {how} after {time.monotonic() - started:.1f} s")
            raise
        plain(self._console, f"{title}: done in {time.monotonic() - started:.1f} s")

    def note(self, text: str, *, once: bool = False) -> None:
        if once and text in self._noted:
            return
        self._noted.add(text)
        plain(self._console, f"note: {text}")


def plain(console: Console, text: str) -> None:
    """Print a line without markup, and without line breaks, so that a user can copy it."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
