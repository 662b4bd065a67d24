# SPDX-License-Identifier: GPL-2.0
"""The cells of a night, as the planner makes them of kernels in small git trees."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from bisect_parts import Tree
from mailbox_parts import Mail
from nightly_parts import MAKEFILE
from notes import Notes
from sham_cells import sham

from testbed.context import Context
from testbed.errors import SetupError
from testbed.flavour import FLAVOURS
from testbed.kernel.series import Series
from testbed.kernel.source import resolve
from testbed.lab.prepared import request_kernel
from testbed.nightly.cell import Cell
from testbed.nightly.matrix import Stream, load_matrix
from testbed.nightly.planner import Planner, kernel_request
from testbed.nightly.streams import StreamKernel, kernels_of
from testbed.process import run

HOOKS = "[[cells]]\nkind = 'hooks'\nstreams = 'new'\n"

DIFF = """\
--- a/mm/util.c
+++ b/mm/util.c
@@ -1 +1 @@
-old
+{after}
"""


@pytest.fixture
def linux(tree: Tree, git_alone: None) -> Tree:
    (tree.path / "Makefile").write_text(MAKEFILE)
    tree.commit("old\n", "mm: old")
    tree.commit("new\n", "mm: new")
    return tree


def planned(folder: Path, ctx: Context, text: str, linux: Tree) -> list[Cell]:
    streams = "".join(
        f"[streams.{name}]\nkernel = 'tree:{linux.path}@{commit}'\n"
        for name, commit in zip(("old", "new"), linux.commits, strict=True)
    )
    (folder / "nightly.toml").write_text(streams + text)
    return Planner(load_matrix(folder / "nightly.toml"), ctx, seed=1).cells()


def receive(box: Path, subject: str, base: str = "", version: int = 1) -> None:
    """Put a series of one patch into a maildir."""
    for name in ("cur", "new", "tmp"):
        (box / name).mkdir(parents=True, exist_ok=True)
    diff = DIFF.format(after=f"{subject} {version}")
    body = f"Why.\n---\n{diff}-- \n2.39.5\n\n{f'base-commit: {base}' if base else ''}\n"
    name = f"{subject}-{version}"
    sent = Mail(f"[PATCH v{version}] mm: {subject}", body, message_id=f"{name}@example.org")
    (box / "cur" / f"{name}:2,S").write_bytes(sent.text(separator=""))


@pytest.mark.parametrize("machine", ["x86_64", "arm64"])
@pytest.mark.parametrize("flavour", ["base", "debug", "drivers"])
def test_a_cell_has_the_kernel_of_testbed_run(
    ctx: Context, linux: Tree, machine: str, flavour: str
) -> None:
    spec = f"tree:{linux.path}@{linux.commits[0]}"
    settings = dataclasses.replace(ctx.settings, kernel=spec, flavour=flavour)
    kernel = StreamKernel(Stream(name="a", kernel=spec), spec, resolve(spec, ctx), Series())
    cell = dataclasses.replace(sham(1), arch=machine, flavour=flavour)
    asked = kernel_request(kernel, cell, settings)
    assert asked == request_kernel(machine, Series(), Context.of(settings, Notes()))
    names = {file.name for file in asked.fragments}
    assert names.issuperset(FLAVOURS[flavour].fragments)
    assert (len(names) > 10) == (flavour == "drivers")  # those of recipes


def test_a_cell_that_reads_text_is_there_once_for_all_architectures(
    tmp_path: Path, ctx: Context, linux: Tree
) -> None:
    [cell] = planned(tmp_path, ctx, f"{HOOKS}flavour = ['base', 'debug']\n", linux)
    assert (cell.kind, cell.workers, cell.commit) == ("hooks", 1, linux.commits[1])


def test_a_parameter_that_names_a_stream_gets_its_kernel(
    tmp_path: Path, ctx: Context, linux: Tree
) -> None:
    [alone] = planned(tmp_path, ctx, HOOKS, linux)
    [cell] = planned(tmp_path, ctx, f"{HOOKS}against = 'old'\n", linux)
    assert cell.params == {"against": f"tree:{linux.path}@{linux.commits[0]}"}
    assert cell.content != alone.content


def test_a_fetched_stream_has_what_the_remote_has(
    tmp_path: Path, ctx: Context, linux: Tree, notes: Notes
) -> None:
    mine = tmp_path / "mine"
    run(["git", "clone", "-q", str(linux.path), str(mine)])
    newest = linux.commit("newest\n", "mm: newest")
    stream = Stream(name="a", kernel=f"tree:{mine}@origin/main")
    assert [each.source.commit for each in kernels_of(stream, ctx)] == [linux.commits[1]]
    fetched = dataclasses.replace(stream, fetch="origin")
    assert [each.source.commit for each in kernels_of(fetched, ctx)] == [newest]
    assert notes.texts == []


def test_a_remote_that_is_away_leaves_the_stream_as_it_is(
    ctx: Context, linux: Tree, notes: Notes
) -> None:
    stream = Stream(name="a", kernel=f"tree:{linux.path}@main", fetch="nowhere")
    assert [each.source.commit for each in kernels_of(stream, ctx)] == [linux.commits[1]]
    [note] = notes.texts
    assert note.startswith("a: not fetched, so it is as before: ")


def test_each_series_of_a_maildir_is_a_kernel_on_its_own_base(
    tmp_path: Path, ctx: Context, linux: Tree, notes: Notes
) -> None:
    box = tmp_path / "box"
    receive(box, "one", linux.commits[1])
    receive(box, "one", linux.commits[1], version=2)
    receive(box, "two", linux.commits[0])
    receive(box, "three")
    stream = Stream(name="list", kernel=f"tree:{linux.path}@base", maildir=box)
    found = list(kernels_of(stream, ctx))
    bases = [(each.series_name, each.source.commit) for each in found]
    assert len(bases) == 3
    assert {commit for _, commit in bases} == set(linux.commits)
    assert len({name for name, _ in bases}) == 3
    [note] = notes.texts
    assert note.startswith("list: left out: ")
    assert "three" in note


def test_the_cells_of_a_maildir_carry_their_series(
    tmp_path: Path, ctx: Context, linux: Tree
) -> None:
    receive(tmp_path / "box", "one", linux.commits[1])
    receive(tmp_path / "box", "two", linux.commits[0])
    text = f"[streams.list]\nkernel = 'tree:{linux.path}@base'\nmaildir = 'box'\n"
    cells = planned(tmp_path, ctx, text + HOOKS.replace("'new'", "'list'"), linux)
    assert {cell.commit for cell in cells} == set(linux.commits)
    assert len({cell.content for cell in cells}) == 2
    for cell in cells:
        [patch] = cell.patches
        assert patch.strip == 1
        [applied] = cell.load_series(tmp_path / cell.id).patches
        assert DIFF.partition("{")[0].encode() in applied.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{HOOKS}against = 'odl'\n", "did you mean old"),
        (f"[streams.list]\nkernel = 'tree:.'\nmaildir = '.'\n{HOOKS}against = 'list'\n", "many"),
        (f"{HOOKS}count = 3\n", "unknown key 'count'"),
    ],
)
def test_a_stream_to_compare_with_has_one_kernel(
    tmp_path: Path, ctx: Context, linux: Tree, text: str, words: str
) -> None:
    with pytest.raises(SetupError) as raised:
        planned(tmp_path, ctx, text, linux)
    assert words in str(raised.value)
