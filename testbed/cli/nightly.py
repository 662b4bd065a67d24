# SPDX-License-Identifier: GPL-2.0
"""`testbed nightly`."""

from __future__ import annotations

import dataclasses
import json
import shlex
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from testbed.artifacts.depot import open_depot
from testbed.claims import claimed
from testbed.cli.options import json_option, settings_option
from testbed.context import Context
from testbed.errors import CommandError, HistoryError, SetupError
from testbed.files import full_disk_blamed, make_folder, write_whole
from testbed.history.database import History, history_url, opened_history
from testbed.nightly.cell import Cell, write_cell
from testbed.nightly.cluster import require_dask
from testbed.nightly.executor import Executor
from testbed.nightly.local import LocalExecutor, host_resources
from testbed.nightly.mail import MAIL_FILE, mail_of, wants_mail
from testbed.nightly.matrix import MATRIX_KEYS, Matrix, load_matrix
from testbed.nightly.memory import Memory
from testbed.nightly.night import (
    Night,
    Order,
    begin_night,
    read_order,
    timestamp,
    unfinished,
    write_outcome,
)
from testbed.nightly.nightwork import Limits, Nightwork
from testbed.nightly.planner import Planner
from testbed.nightly.priority import by_worth, text_of
from testbed.nightly.summary import list_lines, summary_lines
from testbed.nightly.values import convert
from testbed.pages.nightpages import write_night_site
from testbed.pages.nightsite import NightSite, read_night
from testbed.process import run, user_name
from testbed.settings import Settings, load_settings
from testbed.terminal import make_progress, open_console, plain


@dataclass(frozen=True)
class _Call:
    """One call of the command."""

    file: Path
    matrix: Matrix
    ctx: Context
    console: Console
    memory: Memory
    again: bool
    as_json: bool = False

    def cells(self) -> list[Cell]:
        """Return the cells of a night that begins now."""
        seed = int(f"{datetime.now(UTC):%Y%m%d}")
        return Planner(self.matrix, self.ctx, seed).cells()


@click.command()
@click.argument("matrix", type=click.Path(path_type=Path), metavar="MATRIX")
@click.option("--list", "only_list", is_flag=True, help="List the cells, and run none.")
@click.option(
    "--again",
    is_flag=True,
    help="Run cells whose result is known too, to find flaky tests. Default: only new ones.",
)
@click.option(
    "--hours", type=float, metavar="H",
    help="Begin no cell that would end later than H hours from now. Default: as the matrix says.",
)  # fmt: skip
@click.option(
    "--export", type=click.Path(path_type=Path), metavar="DIR",
    help="Write the cells that are to be run to DIR/ID/cell.json for `testbed run-cell`, and run "
    "none.",
)  # fmt: skip
@click.option(
    "--from", "others", type=click.Path(path_type=Path, exists=True), metavar="DIR",
    help="Take the results of exported cells from DIR/ID, and run the rest.",
)  # fmt: skip
@click.option(
    "--executor", type=click.Choice(["local", "dask"]), default="local",
    help="Run cells on this host, or on the workers of `testbed cluster`. Default: local.",
)  # fmt: skip
@click.option(
    "--scheduler", metavar="ADDRESS",
    help="Use the scheduler at tls://HOST:PORT; with --executor dask.",
)  # fmt: skip
@click.option(
    "--tls", type=click.Path(path_type=Path), metavar="DIR",
    help="Use the certificates in DIR; with --executor dask.",
)  # fmt: skip
@click.option(
    "--history", metavar="URL", help="Use the history in this database. Default: see the settings."
)
@click.option(
    "--results", "results_dir", metavar="DIR",
    help="Write the night to a folder below DIR/nightly. Default: results/ in the checkout.",
)  # fmt: skip
@json_option
@settings_option
def nightly(
    matrix: Path,
    only_list: bool,
    again: bool,
    hours: float | None,
    export: Path | None,
    others: Path | None,
    executor: str,
    scheduler: str | None,
    tls: Path | None,
    as_json: bool,
    settings_file: Path | None,
    **options: Any,
) -> None:
    """Run the cells of a matrix of kernels, and say what is new since the last night.

    MATRIX is a TOML file; docs/nightly.md describes it. A cell runs if no night has its result.
    What fails for the first time is tried again, alone on a pristine kernel. With the time that is
    left, the commit that brought it is searched. A night that was killed goes on when the same
    command runs again.

    Exit status: 0 nothing is new, 1 something fails that did not, or in another way, 3 a cell has
    no result; 2 and 130 as for `testbed run`.

    \b
    Examples:
      testbed nightly nightly.toml --list
      testbed nightly nightly.toml --hours 2
      testbed nightly nightly.toml --again
    """
    loaded = load_matrix(matrix)
    if hours is not None:
        loaded = dataclasses.replace(loaded, **convert({"hours": hours}, MATRIX_KEYS, "--hours"))
    settings = load_settings(settings_file, options)
    changes = not (only_list or export)
    with _opened(matrix, loaded, settings, again=again, as_json=as_json, write=changes) as call:
        if only_list:
            _list(call)
        elif export is not None:
            _export(call, export)
        else:
            with closing(_executor(executor, scheduler, tls, settings)) as cells_run:
                status = _spend(call, cells_run, others)
            sys.exit(status)


@contextmanager
def _opened(
    file: Path, matrix: Matrix, settings: Settings, *, again: bool, as_json: bool, write: bool
) -> Iterator[_Call]:
    console = open_console(stderr=as_json)
    ctx = Context.of(settings, make_progress(console))
    with ExitStack() as stack:
        stack.enter_context(closing(ctx.cache))
        history: History = stack.enter_context(opened_history(history_url(settings), write=write))
        memory = Memory(history, open_depot(settings), ctx.progress.note)
        yield _Call(file, matrix, ctx, console, memory, again, as_json)


def _list(call: _Call) -> None:
    """Show the cells in their order, what each costs, and which are known."""
    cells = call.cells()
    known = {}
    for cell in cells if not call.again else ():
        if (stored := call.memory.known(cell)) is not None:
            known[cell.content] = stored.run_name
    ordered = by_worth(cells, {text_of(cell) for cell in cells if cell.content in known})
    seconds = {cell.content: call.memory.seconds(cell) for cell in cells}
    if call.as_json:
        content = [_listed(cell, seconds[cell.content], known) for cell in ordered]
        click.echo(json.dumps(content, indent=1))
    else:
        _show(call, list_lines(ordered, seconds, known, call.matrix.hours * 3600))


def _listed(cell: Cell, seconds: float, known: Mapping[str, str]) -> dict[str, Any]:
    names = ("kind", "stream", "kernel", "series", "arch", "flavour", "isolation", "part")
    values = {name: getattr(cell, name) for name in names}
    return {"id": cell.id, **values, "seconds": seconds, "known": known.get(cell.content, "")}


def _export(call: _Call, folder: Path) -> None:
    """Write the cells that have no result yet."""
    cells = [each for each in call.cells() if call.again or call.memory.known(each) is None]
    for cell in by_worth(cells, ()):
        write_cell(make_folder(folder / cell.id, "--export"), cell)
    _show(call, [f"{len(cells)} cells in {folder}"])


def _spend(call: _Call, executor: Executor, others: Path | None) -> int:
    """Run a night, or go on with the last one if it was killed. Return the exit status."""
    results = call.ctx.settings.results_dir
    call.memory.keep_leftovers(results)
    folder = unfinished(results, call.matrix.name, datetime.now(UTC))
    if folder is None:
        folder = begin_night(results, _order(call))
    else:
        call.ctx.progress.note(f"going on with the night {folder.name}, which was interrupted")
    limits = Limits(call.matrix.hours * 3600, call.matrix.confirm, call.matrix.bisect)
    with claimed(folder), full_disk_blamed(folder):
        work = Nightwork(
            folder, read_order(folder), limits, call.memory, executor, call.ctx.progress
        )
        if others is not None:
            work.take_results(others)
        try:
            night = work.run()
        except KeyboardInterrupt:
            call.ctx.progress.note("the same command goes on with this night")
            raise
        _write_mail(call, night)
        page = _write_pages(call, night)
        write_outcome(night)  # last: without it, the night is not over
    _show(call, [*summary_lines(night), f"page: {page}"])
    return night.exit_status


def _write_pages(call: _Call, night: Night) -> Path:
    """Write the pages of a night; without a history they show its cells alone."""
    try:
        site = read_night(call.memory.history, night)
    except HistoryError:
        site = NightSite(night)
    return write_night_site(site)


def _order(call: _Call) -> Order:
    return Order(
        matrix=call.matrix.name,
        file=str(call.file.absolute()),
        started=timestamp(datetime.now(UTC)),
        again=call.again,
        cells=tuple(call.cells()),
    )


def _executor(name: str, scheduler: str | None, tls: Path | None, settings: Settings) -> Executor:
    if name == "local":
        return LocalExecutor(host_resources(settings))
    if scheduler is None or tls is None:
        raise SetupError("--executor dask needs --scheduler and --tls", hint="see docs/nightly.md")
    require_dask()
    from testbed.nightly.dask_executor import DaskExecutor, security

    executor = DaskExecutor(scheduler, security(tls))
    executor.connect()
    return executor


def _write_mail(call: _Call, night: Night) -> None:
    """Write the mail of a night with news. Send it only if the user's settings name a command."""
    if not wants_mail(night):
        return
    sender = f"{user_name()}@{socket.gethostname()}"
    text = mail_of(night, call.matrix.mail_to, sender).as_string()
    write_whole(night.folder / MAIL_FILE, text)
    command = shlex.split(call.ctx.settings.sendmail)
    if not command:
        return
    try:
        run(command, stdin=text.encode(errors="surrogateescape"))
    except CommandError as error:
        call.ctx.progress.note(f"the mail was not sent: {error.message}: {error.evidence}")


def _show(call: _Call, lines: Iterable[str]) -> None:
    for line in lines:
        plain(call.console, line)
