# SPDX-License-Identifier: GPL-2.0
"""The kernels of a stream tonight: each is pinned to one text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from testbed.context import Context
from testbed.errors import CommandError, SetupError
from testbed.kernel.debian import DebianText
from testbed.kernel.gitenv import FOREIGN_ENV
from testbed.kernel.revision import at_base, split_revision, tree_of
from testbed.kernel.series import Series, load_each, load_series
from testbed.kernel.source import Source, resolve
from testbed.nightly.matrix import Stream
from testbed.process import run

# The name of a series may be any subject.
_NAME_LENGTH = 60


@dataclass(frozen=True)
class StreamKernel:
    """One kernel of a stream."""

    stream: Stream
    spec: str  # always the same text, unless it is a working tree
    source: Source
    series: Series
    series_name: str = ""


def kernels_of(stream: Stream, ctx: Context) -> Iterator[StreamKernel]:
    """Yield the kernels of a stream. One that cannot be had is left out, with a note.

    Raises:
        SetupError: the stream's own kernel or series does not exist.
        InfraError: no index of the archive is available.
    """
    if stream.fetch:
        _fetch(stream, ctx)
    if stream.maildir is None:
        series = load_series(stream.series, stream.kernel)
        yield _kernel(stream, series, stream.series.rstrip("/").rpartition("/")[2], ctx)
        return
    for name, found in load_each(stream.maildir):
        try:
            if isinstance(found, SetupError):
                raise found
            yield _kernel(stream, found, _plain(name), ctx)
        except SetupError as error:
            ctx.progress.note(f"{stream.name}: left out: {name}: {error.message}")


def _kernel(stream: Stream, series: Series, name: str, ctx: Context) -> StreamKernel:
    source = resolve(at_base(stream.kernel, series.base), ctx)
    return StreamKernel(stream, pinned(stream.kernel, source), source, series, name)


def pinned(spec: str, source: Source) -> str:
    """Return the specification that yields this source for ever, where there is one."""
    if isinstance(source.text, DebianText):
        return f"debian:{source.text.package.version}"
    if source.commit:
        return f"tree:{tree_of(spec)}@{source.commit}"
    return spec


def _fetch(stream: Stream, ctx: Context) -> None:
    """Fetch a remote, as the user's own `git fetch` does: with the user's settings."""
    path, _ = split_revision(stream.kernel.removeprefix("tree:"))
    words = ["git", "-C", str(path), "fetch", "--quiet", stream.fetch]
    try:
        with ctx.progress.step(f"fetch {stream.fetch} in {path}"):
            run([*FOREIGN_ENV, "GIT_TERMINAL_PROMPT=0", *words])
    except CommandError as error:
        last = (error.evidence.splitlines() or [error.message])[-1]
        ctx.progress.note(f"{stream.name}: not fetched, so it is as before: {last}")


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.,+:-]+", "-", name).strip("-")[:_NAME_LENGTH]
