# SPDX-License-Identifier: GPL-2.0
"""Commits of the user's git tree: as kernel text, as a series, and as the base of a series."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from testbed.context import Context
from testbed.errors import InfraError, SetupError
from testbed.kernel.fit import Fit, examine
from testbed.kernel.revision import at_base, base_note, split_revision
from testbed.kernel.series import Series, load_series
from testbed.kernel.source import SourceTree, resolve, unpack
from testbed.process import run

MAKEFILE = "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\n"


@dataclass
class Linux:
    """A small kernel tree with the commits first, second and third, which is checked out."""

    path: Path
    ctx: Context

    @property
    def kernel(self) -> str:
        return f"tree:{self.path}"

    def git(self, *words: str) -> str:
        return run(["git", "-C", self.path, *words]).stdout.strip()

    def commit(self, title: str, **files: str) -> str:
        for name, text in files.items():
            (self.path / name.replace("__", "/")).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", title)
        self.git("tag", title.split()[0].rstrip(":"))
        return self.git("rev-parse", "HEAD")

    def snapshot(self) -> dict[str, tuple[int, int]]:
        """Return size and ctime of all files in .git and the working tree."""
        found = {}
        for folder, _, names in os.walk(self.path):
            for name in names:
                status = os.lstat(os.path.join(folder, name))
                found[os.path.join(folder, name)] = (status.st_size, status.st_ctime_ns)
        return found

    def unpack(self, kernel: str) -> SourceTree:
        return unpack(resolve(kernel, self.ctx), self.ctx)


@pytest.fixture
def linux(tmp_path: Path, ctx: Context, git_alone: None) -> Linux:
    path = tmp_path / "linux"
    (path / "mm").mkdir(parents=True)
    made = Linux(path, ctx)
    made.git("init", "--quiet", "--initial-branch=main")
    made.commit("first text", Makefile=MAKEFILE, Kconfig="", mm__util="", mm__a="int a;\n")
    made.commit("second: b is right", mm__a="int b;\n")
    made.commit("third: \xe4 and c", mm__a="int c; /* \xe4 */\n")
    return made


def test_the_text_of_a_commit_ignores_edits_of_the_working_tree(linux: Linux) -> None:
    (linux.path / "mm/a").write_text("int edited;\n")
    before = linux.snapshot()
    tree = linux.unpack(f"{linux.kernel}@first")
    assert (tree.path / "mm/a").read_text() == "int a;\n"
    assert not tree.in_place
    assert linux.git("rev-parse", "first") in tree.source.description
    assert linux.snapshot() == before


def test_commits_with_equal_text_have_equal_identities(linux: Linux) -> None:
    linux.commit("fourth: back again", mm__a="int b;\n")
    second, third, fourth = (
        linux.unpack(f"{linux.kernel}@{name}").source.identity
        for name in ("second", "third", "fourth")
    )
    assert second == fourth != third


@pytest.mark.parametrize("partial", ["blob:none", "tree:0"])
def test_a_commit_of_a_partial_clone_is_fetched(linux: Linux, tmp_path: Path, partial: str) -> None:
    linux.git("config", "uploadpack.allowFilter", "true")
    linux.git("config", "uploadpack.allowAnySHA1InWant", "true")
    clone = Linux(tmp_path / "clone", linux.ctx)
    words = ["git", "clone", "--quiet", f"--filter={partial}", f"file://{linux.path}"]
    run([*words, str(clone.path)])
    before = clone.snapshot()
    tree = clone.unpack(f"{clone.kernel}@HEAD~1")
    assert (tree.path / "mm/a").read_text() == "int b;\n"
    # git itself fetches the trees that it reads in the clone.
    assert clone.snapshot() == before or partial == "tree:0"


def test_a_partial_clone_whose_remote_is_gone_is_an_error_with_a_hint(
    linux: Linux, tmp_path: Path
) -> None:
    linux.git("config", "uploadpack.allowFilter", "true")
    clone = Linux(tmp_path / "clone", linux.ctx)
    run(["git", "clone", "--quiet", "--filter=blob:none", f"file://{linux.path}", clone.path])
    linux.path.rename(tmp_path / "moved")
    # Makefile is the same in all commits, so only the export needs the remote.
    with pytest.raises(InfraError, match="cannot export") as caught:
        clone.unpack(f"{clone.kernel}@HEAD~1")
    assert caught.value.hint == "it is a partial clone: check that its remote can be reached"


def test_a_directory_with_an_at_sign_in_its_name_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "linux@home").mkdir()
    assert split_revision(f"{tmp_path}/linux@home") == (tmp_path / "linux@home", "")
    assert split_revision(f"{tmp_path}/linux@home@v7") == (tmp_path / "linux@home", "v7")


def test_a_revision_is_not_empty(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="names no revision"):
        split_revision(f"{tmp_path}/linux@")


@pytest.mark.parametrize(
    ("revision", "why"), [("nowhere", "has no commit nowhere"), ("void", "has no Makefile")]
)
def test_a_revision_without_a_kernel_is_refused(linux: Linux, revision: str, why: str) -> None:
    linux.git("rm", "--quiet", "Makefile")
    linux.commit("void")
    with pytest.raises(SetupError, match=why):
        linux.unpack(f"{linux.kernel}@{revision}")


def test_a_tree_without_git_has_no_commits(tmp_path: Path, linux: Linux) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(SetupError, match="it has no revisions"):
        linux.unpack(f"tree:{tmp_path}/plain@HEAD")


def test_a_range_is_a_series(linux: Linux) -> None:
    before = linux.snapshot()
    series = load_series("first..third", linux.kernel)
    assert series.names == ("0001-second-b-is-right.patch", "0002-third-and-c.patch")
    assert "\xe4".encode() in series.patches[1].text
    tree = linux.unpack(f"{linux.kernel}@first")
    assert [fit.fit for fit in examine(series, tree.path)] == [Fit.APPLIES, Fit.APPLIES]
    assert linux.snapshot() == before


def test_a_range_may_leave_out_an_end(linux: Linux) -> None:
    whole = load_series("first..third", linux.kernel)
    assert load_series("first..", linux.kernel) == whole
    assert load_series("first..third", f"{linux.kernel}@first") == whole


def test_the_users_settings_for_diffs_have_no_effect(
    linux: Linux, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_series("first..third", linux.kernel).identity
    for key in ("diff.noprefix", "diff.mnemonicPrefix", "color.ui"):
        linux.git("config", key, "always" if key == "color.ui" else "true")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    assert load_series("first..third", linux.kernel).identity == whole


def test_a_commit_that_changes_nothing_is_left_out(linux: Linux) -> None:
    linux.commit("empty")
    assert len(load_series("first..empty", linux.kernel).patches) == 2


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("third..third", "there is no patch in"),
        ("nowhere..third", "has no commit nowhere"),
        ("first...third", "is not a range of commits"),
    ],
)
def test_an_invalid_range_is_refused(linux: Linux, wanted: str, why: str) -> None:
    with pytest.raises(SetupError, match=why):
        load_series(wanted, linux.kernel)


def test_a_range_with_a_merge_is_refused(linux: Linux) -> None:
    linux.git("checkout", "--quiet", "-b", "side", "first")
    linux.commit("side", mm__b="int side;\n")
    linux.git("checkout", "--quiet", "main")
    linux.git("merge", "--quiet", "--no-edit", "side")
    with pytest.raises(SetupError, match="has 1 merges") as raised:
        load_series("first..main", linux.kernel)
    assert f"--kernel tree:{linux.path}@main" in raised.value.hint


def test_base_is_replaced_by_the_commit_that_the_series_names(linux: Linux) -> None:
    first = linux.git("rev-parse", "first")
    assert at_base(f"{linux.kernel}@base", first) == f"{linux.kernel}@{first}"
    assert at_base(linux.kernel, first) == linux.kernel
    assert at_base("debian:7.3", first) == "debian:7.3"
    with pytest.raises(SetupError, match="names no base-commit"):
        at_base(f"{linux.kernel}@base", "")


def test_a_note_warns_if_the_tree_is_not_at_the_base_commit(linux: Linux) -> None:
    first, third = (linux.git("rev-parse", name) for name in ("first", "third"))
    linux.git("checkout", "--quiet", "-b", "side", "first")
    side = linux.commit("side", mm__b="int side;\n")
    linux.git("checkout", "--quiet", "main")
    before = linux.snapshot()
    assert base_note(linux.kernel, third) == ""
    assert base_note(f"{linux.kernel}@first", first) == ""
    assert base_note(linux.kernel, "") == ""
    assert "the tree is 2 commits ahead" in base_note(linux.kernel, first)
    assert "is not in the tree's history" in base_note(linux.kernel, side)
    assert f"which {linux.path} lacks" in base_note(linux.kernel, "0" * 40)
    assert "this source has no history" in base_note("debian:7.3", first)
    assert linux.snapshot() == before


def test_the_empty_series_has_no_base() -> None:
    assert Series().base == ""
