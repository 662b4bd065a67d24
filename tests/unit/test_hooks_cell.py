# SPDX-License-Identifier: GPL-2.0
"""Cells that list the hooks of a kernel's text, and the pages that show what became of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import night_parts
import pytest
from history_parts import Nights
from inventory_parts import tree
from sham_cells import sham
from test_pages import text_of

from testbed.context import Context
from testbed.history.queries import path_counts
from testbed.history.records import Lane
from testbed.inventory.burndown import Change
from testbed.nightly.cell import RUN_FOLDER, Cell
from testbed.nightly.hooks_cell import AGAINST, run_hooks
from testbed.nightly.night import Night, NightCell
from testbed.nightly.table import State
from testbed.pages.burnpage import NIGHT_PATH, PATH, line_points
from testbed.pages.nightpages import write_night_site
from testbed.pages.nightsite import read_night
from testbed.report.burned import read_burn_down
from testbed.results.model import Run, Status
from testbed.results.store import read_facts, read_run

OLD = "struct file_operations %s = {\n\t.mmap = f_mmap,\n};\n"
NEW = "struct file_operations %s = {\n\t.mmap_prepare = f_prepare,\n};\n"
BOTH = "struct file_operations both = {\n\t.mmap = f_mmap,\n\t.mmap_prepare = f_prepare,\n};\n"

LANE = Lane(matrix="shams", stream="newest", arch="x86_64", kind="hooks")


def cell(kernel: Path, **params: str) -> Cell:
    kind = {"kind": "hooks", "stream": "newest", "kernel": f"tree:{kernel}", "params": params}
    return dataclasses.replace(sham(1), **kind, content=kernel.name)  # type: ignore[arg-type]


@pytest.fixture
def before(tmp_path: Path) -> Path:
    files = {"drivers/a.c": OLD % "a", "drivers/b.c": NEW % "b", "drivers/c.c": OLD % "c"}
    return tree(tmp_path / "before", files).path


@pytest.fixture
def after(tmp_path: Path) -> Path:
    files = {"drivers/a.c": NEW % "a", "drivers/b.c": OLD % "b", "drivers/d.c": OLD % "d"}
    return tree(tmp_path / "after", files).path


def ran(wanted: Cell, ctx: Context, out: Path) -> Run:
    out.mkdir(parents=True)
    assert run_hooks(wanted, ctx, out).run == read_run(out / RUN_FOLDER)
    return read_run(out / RUN_FOLDER)


def test_a_cell_has_a_case_for_each_hook_and_each_rule(
    tmp_path: Path, ctx: Context, before: Path, after: Path
) -> None:
    run = ran(cell(after, **{AGAINST: f"tree:{before}"}), ctx, tmp_path / "out")
    found = {case.test.removeprefix("hooks::"): case.path for case in run.cases}
    assert found == {
        "drivers/a.c:file_operations:a": "converted",
        "drivers/b.c:file_operations:b": "not converted",
        "drivers/d.c:file_operations:d": "not converted",
        "null-call": "rules",
        "both-members": "rules",
        "caller-behind": "rules",
    }
    assert {case.status for case in run.cases} == {Status.PASS}
    facts = read_facts(tmp_path / "out" / RUN_FOLDER)
    assert facts["hooks::drivers/a.c:file_operations:a"] == {"hook": {"converted": "True"}}
    burned = read_burn_down(tmp_path / "out" / RUN_FOLDER)
    assert burned is not None
    assert [burned.count(change) for change in Change] == [1, 1, 1, 1]
    assert burned.progress[0].after == (1, 3)


def test_without_another_kernel_the_series_is_what_changed(
    tmp_path: Path, ctx: Context, before: Path
) -> None:
    ran(cell(before), ctx, tmp_path / "out")
    burned = read_burn_down(tmp_path / "out" / RUN_FOLDER)
    assert burned is not None
    assert (burned.changed, burned.progress[0].before) == ((), (1, 3))


def test_a_rule_that_is_broken_fails_with_its_places(tmp_path: Path, ctx: Context) -> None:
    path = tree(tmp_path / "linux", {"drivers/a.c": BOTH}).path
    run = ran(cell(path), ctx, tmp_path / "out")
    [bad] = [case for case in run.cases if case.status is Status.FAIL]
    assert bad.test == "hooks::both-members"
    assert bad.reason == (
        "drivers/a.c:2: error: both has both mmap and mmap_prepare (line 3) (both-members)"
    )


def test_a_file_that_is_no_burn_down_is_none(tmp_path: Path) -> None:
    assert read_burn_down(tmp_path) is None
    (tmp_path / "burn-down.json").write_text('{"before": 3}')
    assert read_burn_down(tmp_path) is None


def test_the_pages_of_a_night_show_the_burn_down(
    tmp_path: Path, ctx: Context, before: Path, after: Path
) -> None:
    folder = tmp_path / "nightly/2026-11-30"
    first = ran(cell(before), ctx, tmp_path / "earlier")
    wanted = cell(after, **{AGAINST: f"tree:{before}"})
    second = ran(wanted, ctx, folder / "cells/a")
    with night_parts.a_history(tmp_path) as history:
        nights = Nights(history, LANE)
        nights.add(*first.cases)
        nights.add(*second.cases, content=wanted.content)
        night = Night(
            name="night-2",
            folder=folder,
            matrix="shams",
            started="2026-11-30T01:00:00+00:00",
            seconds=60.0,
            cells=(NightCell(cell=wanted, state=State.DONE, folder=folder / "cells/a"),),
        )
        with history.read() as db:
            counts = [each.counts["not converted"] for each in path_counts(db, 1)]
        write_night_site(read_night(history, night))
    assert counts == [2, 2]
    words = text_of(folder / NIGHT_PATH)
    assert "newest x86_64 base batch" in words
    assert f"../cells/a/run/{PATH}" in (folder / NIGHT_PATH).read_text()
    page = text_of(folder / "cells/a/run" / PATH)
    assert "1 converted, 1 unconverted, 1 new, 1 gone" in page
    assert "f_mmap → f_prepare" in page
    assert NIGHT_PATH in (folder / "index.html").read_text()


def test_a_line_ends_at_the_right_between_its_ends() -> None:
    assert line_points([60, 60, 62]) == "0.0,57.0 155.0,57.0 310.0,3.0"
    assert line_points([60]) == "0.0,57.0"
