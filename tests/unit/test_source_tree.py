# SPDX-License-Identifier: GPL-2.0
"""Kernel text from a local tree, with git and without: nothing is ever written into it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from testbed.context import Context
from testbed.errors import SetupError
from testbed.kernel.source import SourceTree, resolve, unpack
from testbed.process import run

MAKEFILE = """\
VERSION = 7
PATCHLEVEL = 3
SUBLEVEL = 4
EXTRAVERSION =
mrproper:
\trm -rf .config include/config include/generated arch/$(ARCH)/include/generated
\tfind . -name '*.o' -delete
"""
TEXT = {
    "Makefile": MAKEFILE,
    "Kconfig": "config MMU\n",
    "mm/util.c": "int util;\n",
    "mm/vma.c": "int vma;\n",
    "scripts/run.sh": "#!/bin/sh\n",
    ".gitignore": ".*\n!.gitignore\n*.o\n/include/config\n/include/generated\n",
}
BUILT = {".config": "CONFIG_MMU=y\n", "include/config/auto.conf": "", "mm/util.o": "object"}


pytestmark = pytest.mark.usefixtures("git_alone")


@pytest.fixture(params=["git", "plain"])
def tree(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A small kernel tree, clean, of either kind."""
    path = write(tmp_path / "linux", TEXT)
    (path / "scripts/run.sh").chmod(0o755)
    if request.param == "git":
        git(path, "init", "--quiet")
        git(path, "add", "--all")
        git(path, "commit", "--quiet", "--message", "text")
    return path


def write(top: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    return top


def git(path: Path, *words: str) -> str:
    return run(["git", "-C", path, *words]).stdout


def snapshot(top: Path) -> dict[str, tuple[int, int, int]]:
    """Names with size and both times; .git and directories as well."""
    found = {}
    for folder, folders, names in os.walk(top):
        for name in [".", *folders, *names]:
            status = os.lstat(os.path.join(folder, name))
            key = os.path.relpath(os.path.join(folder, name), top)
            found[key] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found


def have(path: Path, ctx: Context) -> SourceTree:
    """The tree as a build has it; the user's own must not have changed by it."""
    before = snapshot(path)
    source = resolve(f"tree:{path}", ctx)
    tree = unpack(source, ctx)
    assert snapshot(path) == before
    return tree


def text_of(path: Path) -> dict[str, str]:
    files = [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_text() for file in files}


def test_a_clean_tree_is_built_from_where_it_is(tree: Path, ctx: Context) -> None:
    found = have(tree, ctx)
    assert found.in_place
    assert found.path == tree
    assert found.source.version == "7.3.4"
    assert str(tree) in found.source.description


def test_a_tree_that_was_built_in_place_is_exported_without_what_was_built(
    tree: Path, ctx: Context
) -> None:
    write(tree, BUILT)
    found = have(tree, ctx)
    assert not found.in_place
    assert text_of(found.path) == TEXT
    assert os.access(found.path / "scripts/run.sh", os.X_OK)
    assert "exported because it was built in place" in found.source.description


@pytest.mark.parametrize("trace", [".config", "include/config", "arch/arm64/include/generated"])
def test_each_trace_that_kbuild_refuses_makes_an_export(
    tree: Path, ctx: Context, trace: str
) -> None:
    write(tree, {f"{trace}/x.h": ""} if "/" in trace else {trace: ""})
    assert not have(tree, ctx).in_place


def test_an_export_has_modified_new_and_no_deleted_files(tree: Path, ctx: Context) -> None:
    write(tree, BUILT | {"mm/util.c": "int changed;\n", "mm/new.c": "int new;\n"})
    (tree / "mm/vma.c").unlink()
    found = text_of(have(tree, ctx).path)
    wanted = TEXT | {"mm/util.c": "int changed;\n", "mm/new.c": "int new;\n"}
    del wanted["mm/vma.c"]
    assert found == wanted


def test_an_edit_makes_another_export_and_leaves_the_first_as_it_was(
    tree: Path, ctx: Context
) -> None:
    write(tree, BUILT)
    first = have(tree, ctx)
    write(tree, {"mm/util.c": "int edited;\n"})
    second = have(tree, ctx)
    assert second.source.identity != first.source.identity
    assert text_of(first.path) == TEXT
    assert text_of(second.path) == TEXT | {"mm/util.c": "int edited;\n"}


def test_a_second_export_touches_only_what_was_edited(tree: Path, ctx: Context) -> None:
    write(tree, BUILT)
    first = have(tree, ctx).path
    write(tree, {"mm/util.c": "int edited;\n"})
    second = have(tree, ctx).path
    same = {name for name in TEXT if (first / name).samefile(second / name)}
    assert same == set(TEXT) - {"mm/util.c"}


def test_an_export_shares_no_file_with_the_users_tree(tree: Path, ctx: Context) -> None:
    write(tree, BUILT)
    found = have(tree, ctx).path
    assert not any((found / name).samefile(tree / name) for name in TEXT)


def test_an_export_that_was_interrupted_is_made_anew(tree: Path, ctx: Context) -> None:
    write(tree, BUILT)
    have(tree, ctx)
    write(tree, {"mm/util.c": "int edited;\n"})
    (root,) = ctx.cache.root.glob("work/tree-*")
    # As a run leaves it that was killed half-way: new bytes, and no record of them.
    (root / "export-under-way").touch()
    (root / "text/mm/util.c").unlink()
    (root / "text/mm/util.c").write_text("int ed")
    (root / "text/mm/stray.c").touch()
    found = have(tree, ctx)
    assert text_of(found.path) == TEXT | {"mm/util.c": "int edited;\n"}


def test_the_identity_is_that_of_the_content(tree: Path, ctx: Context) -> None:
    first = have(tree, ctx).source.identity
    write(tree, {"mm/util.c": "int edited;\n"})
    assert have(tree, ctx).source.identity != first
    write(tree, {"mm/util.c": TEXT["mm/util.c"]})
    assert have(tree, ctx).source.identity == first
    (tree / "mm/util.c").chmod(0o755)
    assert have(tree, ctx).source.identity != first


def test_an_edit_within_one_tick_of_the_clock_is_seen(tree: Path, ctx: Context) -> None:
    first = have(tree, ctx).source.identity
    times = (tree / "mm/util.c").stat()
    write(tree, {"mm/util.c": "int litu;\n"})
    os.utime(tree / "mm/util.c", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert have(tree, ctx).source.identity != first


@pytest.mark.parametrize("tree", ["plain"], indirect=True)
def test_the_digest_of_a_file_as_young_as_this_is_not_kept(tree: Path, ctx: Context) -> None:
    have(tree, ctx)
    (kept,) = ctx.cache.root.glob("work/tree-*/digests.json")
    assert kept.read_text() == "{}"


@pytest.mark.parametrize("tree", ["plain"], indirect=True)
def test_a_directory_is_read_again_when_a_file_of_it_is_another(
    tree: Path, ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.kernel.plaintree._RACY", -60_000_000_000)
    first = have(tree, ctx).source.identity
    (kept,) = ctx.cache.root.glob("work/tree-*/digests.json")
    known = json.loads(kept.read_text())
    known["mm/"][1] = "not what is there"
    kept.write_text(json.dumps(known))
    assert have(tree, ctx).source.identity != first
    (tree / "mm/util.c").write_bytes((tree / "mm/util.c").read_bytes())
    assert have(tree, ctx).source.identity == first


def test_a_tree_whose_path_is_a_link_is_the_same_tree(
    tmp_path: Path, tree: Path, ctx: Context
) -> None:
    (tmp_path / "link").symlink_to(tree)
    source = resolve(f"tree:{tmp_path / 'link'}", ctx)
    assert source == resolve(f"tree:{tree}", ctx)


@pytest.mark.parametrize("tree", ["git"], indirect=True)
def test_a_linked_worktree_with_a_split_index_is_read_the_same_way(
    tmp_path: Path, tree: Path, ctx: Context
) -> None:
    other = tmp_path / "other"
    git(tree, "worktree", "add", "--quiet", str(other))
    git(other, "update-index", "--split-index")
    main = snapshot(tree)
    same = have(other, ctx).source.text
    assert same.identity == resolve(f"tree:{tree}", ctx).identity
    write(other, BUILT)
    assert text_of(have(other, ctx).path) == TEXT
    assert snapshot(tree) == main


@pytest.mark.parametrize("tree", ["git"], indirect=True)
def test_a_hook_of_another_repository_does_not_lead_astray(
    tmp_path: Path, tree: Path, ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = have(tree, ctx).source.identity
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere/index"))
    assert have(tree, ctx).source.identity == clean


@pytest.mark.parametrize("tree", ["git"], indirect=True)
def test_a_broken_repository_is_said(tree: Path, ctx: Context) -> None:
    shutil.rmtree(tree / ".git")
    (tree / ".git").write_text("gitdir: /nonexistent\n")
    with pytest.raises(SetupError, match="git cannot read the repository"):
        resolve(f"tree:{tree}", ctx)


@pytest.mark.parametrize("missing", ["Makefile", "Kconfig", "mm"])
def test_what_is_no_kernel_tree_is_refused_by_what_it_lacks(
    tmp_path: Path, ctx: Context, missing: str
) -> None:
    text = {name: text for name, text in TEXT.items() if not name.startswith(missing)}
    with pytest.raises(SetupError, match=f"is no kernel tree: it has no {missing}"):
        resolve(f"tree:{write(tmp_path / 'x', text)}", ctx)


def test_another_makefile_is_no_kernels(tmp_path: Path, ctx: Context) -> None:
    path = write(tmp_path / "x", TEXT | {"Makefile": "all:\n"})
    with pytest.raises(SetupError, match="its Makefile has no VERSION"):
        resolve(f"tree:{path}", ctx)


def test_a_missing_directory_is_named(tmp_path: Path, ctx: Context) -> None:
    with pytest.raises(SetupError, match=r"there is no directory .*/none"):
        resolve(f"tree:{tmp_path / 'none'}", ctx)


def test_an_old_tree_is_refused(tmp_path: Path, ctx: Context) -> None:
    path = write(tmp_path / "x", TEXT | {"Makefile": "VERSION = 6\nPATCHLEVEL = 18\n"})
    with pytest.raises(SetupError, match=r"is Linux 6\.18\.0: 7\.2 and later are supported"):
        resolve(f"tree:{path}", ctx)


@pytest.mark.parametrize(
    ("name", "text", "shapes"),
    [
        ("mm/vma.c", "int other;\n", False),
        ("mm/new.h", "int new;\n", False),
        ("Kconfig", "config MMU\n\tbool\n", True),
        ("scripts/run.sh", "#!/bin/sh\nexit 1\n", True),
        ("scripts/kconfig/new.c", "int new;\n", True),
        ("mm/Kconfig.new", "", True),
    ],
)
def test_only_what_kconfig_may_read_makes_another_configuration(
    tree: Path, ctx: Context, name: str, text: str, shapes: bool
) -> None:
    before = have(tree, ctx).source
    write(tree, {name: text})
    after = have(tree, ctx).source
    assert after.identity != before.identity
    assert (after.configuration != before.configuration) is shapes


@pytest.mark.parametrize("tree", ["git"], indirect=True)
def test_a_clean_git_tree_is_configured_as_its_commit_is(tree: Path, ctx: Context) -> None:
    whole = have(tree, ctx).source
    commit = have(Path(f"{tree}@HEAD"), ctx).source
    assert commit.configuration == whole.configuration
