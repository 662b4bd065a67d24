# SPDX-License-Identifier: GPL-2.0
"""`testbed cache`: kernels, images and object files that are kept between runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click
from rich.table import Table

from testbed.cache import CacheEntry
from testbed.cli.invocation import Invocation, opened
from testbed.cli.options import json_option, settings_option


@click.group()
def cache() -> None:
    """List or remove what is kept between runs."""


@cache.command("list")
@settings_option
@json_option
def cache_list(**options: Any) -> None:
    """List the entries and their sizes, least recently used first.

    \b
    Example:
      testbed cache list
    """
    with opened(options) as invocation:
        store = invocation.ctx.cache
        entries, objects = store.entries(), store.ccache_size()
        content = {
            "entries": [dataclasses.asdict(entry) for entry in entries],
            "ccache": objects,
            "limit": store.limit,
        }
        if not invocation.as_json:
            invocation.console.print(_table(entries, objects))
        invocation.report(_total(invocation, entries, objects), content)


@cache.command("prune")
@click.option(
    "--limit", type=float, metavar="GB",
    help="Keep at most GB gigabytes. Default: the setting cache_limit.",
)  # fmt: skip
@settings_option
def cache_prune(limit: float | None, **options: Any) -> None:
    """Remove the least recently used entries.

    Entries that a running command uses are kept.

    \b
    Example:
      testbed cache prune --limit 5
    """
    with opened(options) as invocation:
        store = invocation.ctx.cache
        removed = store.prune(store.limit if limit is None else int(limit * 1e9))
        invocation.show(f"removed {entry.kind}/{entry.key}" for entry in removed)


def _table(entries: list[CacheEntry], objects: int) -> Table:
    table = Table("kind", "key", "MB", "last used", box=None)
    for entry in entries:
        used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
        table.add_row(entry.kind, entry.key, f"{entry.size / 1e6:.0f}", used)
    table.add_row("ccache", "", f"{objects / 1e6:.0f}", "")
    return table


def _total(invocation: Invocation, entries: list[CacheEntry], objects: int) -> Iterator[str]:
    total = (sum(entry.size for entry in entries) + objects) / 1e9
    yield f"{total:.1f} GB of {invocation.ctx.cache.limit / 1e9:.0f} GB"
