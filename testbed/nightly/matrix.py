# SPDX-License-Identifier: GPL-2.0
"""The matrix of a night, as its TOML file has it: kernel streams, and rows of cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.arch import ARCHES, find_arch
from testbed.errors import SetupError
from testbed.files import user_path
from testbed.flavour import BASE, FLAVOURS, find_flavour
from testbed.kernel.revision import tree_of
from testbed.nightly.kinds import KINDS, TESTS
from testbed.nightly.values import Converter, convert, count, flag, hours, number, text, texts
from testbed.settings import Isolation
from testbed.suggest import suggest
from testbed.suite.pytest_internals import compile_expression
from testbed.tomlfile import read_toml


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A kernel that is followed from night to night."""

    name: str
    kernel: str  # as `testbed run --kernel`
    series: str = ""  # as --series
    fetch: str = ""  # a remote of the git tree, which is fetched first
    maildir: Path | None = None  # each series in it is a kernel of its own


@dataclass(frozen=True, kw_only=True)
class Row:
    """Cells that differ in stream, architecture, flavour and isolation only."""

    kind: str = TESTS
    streams: tuple[str, ...]
    arch: tuple[str, ...] = tuple(ARCHES)
    flavour: tuple[str, ...] = (BASE,)
    isolation: tuple[str, ...] = (Isolation.BATCH,)
    tests: str = ""  # as pytest -k
    part: float = 1.0  # the share of the tests
    seed: int | None = None  # chooses this share; None: another one each night
    workers: int = 2
    params: Mapping[str, str] = field(default_factory=dict)  # of the kind


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """All kernels and cells of a night."""

    name: str
    streams: Mapping[str, Stream]
    rows: tuple[Row, ...]
    hours: float = 8.0  # no cell is begun that would end later
    confirm: int = 20  # at most so many new failures of a cell are tried again
    bisect: bool = True  # search the commit of a new failure with what is left of the time
    mail_to: tuple[str, ...] = ()


def load_matrix(file: Path) -> Matrix:
    """Return the matrix in a TOML file.

    Raises:
        SetupError: the file cannot be read, has an unknown key, an invalid value, or no cell.
    """
    values = read_toml(file, "matrix", ("streams", "cells", *MATRIX_KEYS))
    where = str(file)
    tables = values.pop("streams", {})
    rows = values.pop("cells", [])
    _require(isinstance(tables, dict), f"{where}: streams", "a table [streams.NAME] for each")
    _require(isinstance(rows, list), f"{where}: cells", "tables [[cells]]")
    if not tables or not rows:
        missing = "[streams.NAME]" if not tables else "[[cells]]"
        raise SetupError(f"{where} has no {missing}: there is nothing to run", hint=_EXAMPLE)
    streams = {name: _stream(name, table, file) for name, table in tables.items()}
    return Matrix(
        **{"name": file.stem, **convert(values, MATRIX_KEYS, where)},
        streams=streams,
        rows=tuple(_row(row, streams, f"{where}: cells {n}") for n, row in enumerate(rows, 1)),
    )


_EXAMPLE = "docs/nightly.md has an example"


def _stream(name: str, table: Any, file: Path) -> Stream:
    where = f"{file}: streams.{name}"
    values = _known(table, _STREAM, where)
    if "kernel" not in values:
        raise SetupError(f"{where} has no kernel", hint="such as kernel = 'debian:7.3'")
    for key in ("series", "maildir"):
        if key in values:
            values[key] = _beside(file, values[key])
    stream = Stream(name=name, **{**values, "kernel": _kernel_beside(file, values["kernel"])})
    if not name or not name.isprintable():
        raise SetupError(f"{where}: {name!r} is not a name for a stream")
    if stream.fetch.startswith("-"):
        raise SetupError(f"{where}: fetch: {stream.fetch!r} is not the name of a remote")
    if stream.fetch and tree_of(stream.kernel) is None:
        raise SetupError(f"{where}: fetch needs a git tree", hint="kernel = 'tree:PATH@BRANCH'")
    if stream.maildir is not None and stream.series:
        raise SetupError(f"{where} has both series and maildir", hint="make two streams of it")
    if stream.maildir is not None:
        stream = dataclasses.replace(stream, maildir=Path(stream.maildir))
    return stream


def _beside(file: Path, text: str) -> str:
    """Return a path that is relative to the file's folder; a series may be no path at all."""
    path = file.parent / user_path(text)
    return str(path.absolute()) if path.exists() else text


def _kernel_beside(file: Path, spec: str) -> str:
    kind, colon, rest = spec.partition(":")
    if kind not in ("tree", "tarball") or not colon:
        return spec
    return f"{kind}:{file.parent.resolve() / user_path(rest)}"


def _row(table: Any, streams: Mapping[str, Stream], where: str) -> Row:
    _require(isinstance(table, dict), where, "a table")
    kind = table.get("kind", TESTS)
    if not isinstance(kind, str) or kind not in KINDS or not KINDS[kind].in_matrix:
        known = [name for name, each in KINDS.items() if each.in_matrix]
        raise SetupError(f"{where}: unknown kind {kind!r}", hint=suggest(str(kind), known))
    own = KINDS[kind].keys
    values = _known(table, {**_ROW, **own}, where)
    params = {key: str(values.pop(key)) for key in own if key in values}
    values.setdefault("streams", tuple(streams))
    _require_known(values["streams"], streams, f"{where}: stream")
    for key in KINDS[kind].stream_keys:
        _require_one_kernel(params.get(key), streams, f"{where}: {key}")
    row = Row(**values, params=params)
    _require_possible(row, where)
    return row


def _require_one_kernel(name: str | None, streams: Mapping[str, Stream], where: str) -> None:
    if name is None:
        return
    _require_known([name], streams, f"{where}: stream")
    if streams[name].maildir is not None:
        hint = "name a stream without a maildir"
        raise SetupError(f"{where}: {name!r} has many kernels", hint=hint)


def _require_possible(row: Row, where: str) -> None:
    for arch in row.arch:
        find_arch(arch)
    _require_known(row.flavour, FLAVOURS, f"{where}: flavour")
    _require_known(row.isolation, list(Isolation), f"{where}: isolation")
    for flavour in row.flavour:
        find_flavour(flavour)
        if not set(row.arch) & set(FLAVOURS[flavour].arches):
            hint = f"it is for {', '.join(FLAVOURS[flavour].arches)}"
            raise SetupError(f"{where}: no architecture has the flavour {flavour}", hint=hint)
    try:
        compile_expression(row.tests or "any")
    except ValueError as exc:
        raise SetupError(f"{where}: tests: {row.tests!r}: {exc}") from exc
    if not 0 < row.part <= 1:
        raise SetupError(f"{where}: part is {row.part}", hint="a share, such as part = 0.1")
    if row.workers < 1:
        raise SetupError(f"{where}: workers is {row.workers}", hint="set it to 1 or more")


def _known(table: Any, keys: Mapping[str, Converter], where: str) -> dict[str, Any]:
    """Return the converted values of a table whose keys must be known."""
    _require(isinstance(table, dict), where, "a table")
    for key in table:
        if key not in keys:
            raise SetupError(f"{where}: unknown key {key!r}", hint=suggest(key, keys))
    return convert(table, keys, where)


def _require(condition: bool, where: str, expected: str) -> None:
    if not condition:
        raise SetupError(f"{where} is invalid", hint=f"it must be {expected}")


def _require_known(words: Collection[str], known: Collection[str], what: str) -> None:
    for word in words:
        if word not in known:
            raise SetupError(f"{what} {word!r} does not exist", hint=suggest(word, known))


# The keys of the file, and how their values are converted.
MATRIX_KEYS: Mapping[str, Converter] = {
    "name": text,
    "hours": hours,
    "confirm": count,
    "bisect": flag,
    "mail_to": texts,
}
_STREAM: Mapping[str, Converter] = {
    "kernel": text,
    "series": text,
    "fetch": text,
    "maildir": text,
}
_ROW: Mapping[str, Converter] = {
    "kind": text,
    "streams": texts,
    "arch": texts,
    "flavour": texts,
    "isolation": texts,
    "tests": text,
    "part": number,
    "seed": count,
    "workers": count,
}
