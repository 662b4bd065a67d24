# SPDX-License-Identifier: GPL-2.0
"""`testbed history`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Connection

from testbed.artifacts.depot import open_depot
from testbed.cli.invocation import Invocation, opened
from testbed.cli.options import json_option, settings_option
from testbed.errors import SetupError, TestbedError
from testbed.history import prune as retention
from testbed.history.acceptance import accept, pending
from testbed.history.database import (
    History,
    history_url,
    opened_history,
    require_history,
)
from testbed.history.importing import import_run
from testbed.history.phrases import LEGEND
from testbed.history.queries import matching_tests
from testbed.history.showing import Past
from testbed.process import user_name
from testbed.settings import load_settings

# So many tests are shown. A pattern that matches more is too wide.
_SHOWN = 20


class _HistoryGroup(click.Group):
    """A group whose first word is a command, or else the pattern of the command `show`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "show", self.commands["show"], args


def _history_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option of every command that opens a history."""
    return click.option(
        "--history",
        metavar="URL",
        help="Use the history in this database, such as postgresql://USER@HOST/DATABASE. "
        "Default: a file in ~/.local/share/mmap-testbed.",
    )(command)


def _complete(
    read: Callable[[Connection, str], Iterable[str]],
) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return a shell completion by words of the user's own history, if it can be read."""

    def complete(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
        try:
            url = history_url(load_settings())
            require_history(url)
            with opened_history(url) as history, history.read() as db:
                return list(read(db, typed))
        except TestbedError:
            return []

    return complete


@click.group(cls=_HistoryGroup, context_settings={"ignore_unknown_options": True})
def history() -> None:
    """Show the past of a test in each lane: in words, and as a strip of its last results.

    `testbed history TEST` is short for `testbed history show TEST`.

    \b
    Examples:
      testbed history "test_scenario[x86_64-pgoff-stack]"
      testbed history accept test_seals --reason "F_SEAL_EXEC is new in 7.4"
      testbed history import results/2026-11-*
      testbed history prune
    """


@history.command("show")
@click.argument(
    "pattern",
    metavar="TEST",
    shell_complete=_complete(lambda db, typed: matching_tests(db, typed)[:_SHOWN]),
)
@_history_option
@json_option
@settings_option
def show(pattern: str, **options: Any) -> None:
    """Show the past of the tests whose names contain TEST. A `*` stands for anything."""
    with _opened(options) as (invocation, history), history.read() as db:
        pasts = [Past.of(db, test) for test in _chosen(db, pattern)]
        if invocation.as_json:
            invocation.report((), [each.content for each in pasts])
            return
        for each in pasts:
            for line in each.lines(colour=invocation.console.is_terminal):
                invocation.console.print(line, soft_wrap=True, highlight=False)
        if not invocation.console.is_terminal:
            invocation.show([LEGEND])


@history.command("accept")
@click.argument("pattern", metavar="TEST")
@click.option(
    "--lane", "lane", default="", metavar="LANE",
    shell_complete=_complete(lambda db, typed: _lanes_with_changes(db, typed)),
    help="Accept in the lanes whose names contain LANE. Default: in all lanes.",
)  # fmt: skip
@click.option("--reason", required=True, metavar="TEXT", help="Why these facts are right.")
@_history_option
@settings_option
def accept_command(pattern: str, lane: str, reason: str, **options: Any) -> None:
    """Accept changed facts: from now on the tests whose names contain TEST should see them."""
    with _opened(options, write=True) as (invocation, history), history.write() as db:
        every = pending(db)
        names = set(matching_tests(db, pattern))
        found = [each for each in every if each.test in names and lane in each.lane.key]
        if not found:
            raise SetupError(
                f"no changed facts of {pattern!r} wait to be accepted",
                hint=f"{len(every)} others do" if every else "none do at all",
            )
        accept(db, found, reason=reason, who=user_name())
    invocation.show(f"accepted {each.test} in {each.lane.key}" for each in found)


@history.command("import")
@click.argument(
    "folders", nargs=-1, required=True, metavar="RUN...",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)  # fmt: skip
@click.option(
    "--matrix", default="", metavar="NAME", help="The matrix of the lanes. Default: none."
)
@_history_option
@settings_option
def import_command(folders: Sequence[Path], matrix: str, **options: Any) -> None:
    """Add the folders of runs to the history, in this order, with their files.

    What is in the history already stays as it is.
    """
    with _opened(options, write=True) as (invocation, history):
        depot = open_depot(invocation.ctx.settings)
        for folder in folders:
            for lane, recorded in import_run(history, folder, depot.put, matrix=matrix):
                what = "added" if recorded.is_new else "known"
                invocation.show([f"{what} {folder.name}: {lane.key}"])


@history.command("prune")
@click.option(
    "--green", type=click.IntRange(0), default=retention.Retention.green, metavar="DAYS",
    help="Keep the files of cells without unexpected results for DAYS. Default: 14.",
)  # fmt: skip
@click.option(
    "--bad", type=click.IntRange(0), default=retention.Retention.bad, metavar="DAYS",
    help="Keep the files of other cells for DAYS. Default: 90.",
)  # fmt: skip
@_history_option
@settings_option
def prune_command(green: int, bad: int, **options: Any) -> None:
    """Remove old files from the artifact store. Results stay for ever.

    The files of the cells in which a failure began, and in which a test was last good, stay too.
    """
    days = retention.Retention(green, bad)
    with _opened(options, write=True) as (invocation, history):
        depot = open_depot(invocation.ctx.settings)
        with history.read() as db:
            stored = retention.stored_cells(db)
        names = retention.expendable(stored, datetime.now(UTC), days)
        sizes = depot.sizes()
        for name in names:
            depot.remove(name)
            with history.write() as db:
                retention.forget(db, [name])
        depot.tidy()
        freed = sum(sizes.get(name, 0) for name in names) / 1e6
        invocation.show([f"removed the files of {len(names)} cells: {freed:.1f} MB"])


@contextmanager
def _opened(
    options: dict[str, Any], *, write: bool = False
) -> Iterator[tuple[Invocation, History]]:
    """Open the user's history. Unless it is written to, it must be there."""
    with opened(options) as invocation:
        url = history_url(invocation.ctx.settings)
        if not write:
            require_history(url)
        with opened_history(url, write=write) as history:
            yield invocation, history


def _lanes_with_changes(db: Connection, typed: str) -> list[str]:
    keys = dict.fromkeys(each.lane.key for each in pending(db))
    return [key for key in keys if key.startswith(typed)]


def _chosen(db: Connection, pattern: str) -> list[str]:
    """Return the tests to show: those that match, or the one that is named in full."""
    tests = matching_tests(db, pattern)
    if pattern in tests:
        return [pattern]
    if not tests:
        hint = "`testbed nightly` and `testbed history import` add results"
        raise SetupError(f"the history has no test {pattern!r}", hint=hint)
    if len(tests) > _SHOWN:
        some = "\n".join(tests[:_SHOWN])
        message = f"{len(tests)} tests match {pattern!r}"
        raise SetupError(message, evidence=f"{some}\n...", hint="name one of them, or fewer")
    return tests
