# SPDX-License-Identifier: GPL-2.0
"""Kernel text from a local tree, with and without git. The tree is never written."""

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
    """A small, clean kernel tree, with or without git."""
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
    """Return size, mtime and ctime of all files and directories, including .git."""
    found = {}
    for folder, folders, names in os.walk(top):
        for name in [".", *folders, *names]:
            status = os.lstat(os.path.join(folder, name))
            key = os.path.relpath(os.path.join(folder, name), top)
            found[key] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found


def have(path: Path, ctx: Context) -> SourceTree:
    """Return the tree as a build sees it, and check that the user's tree is unchanged."""
    before = snapshot(path)
    source = resolve(f"tree:{path}", ctx)
    tree = unpack(source, ctx)
    assert snapshot(path) == before
    return tree


def text_of(path: Path) -> dict[str, str]:
    files = [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_text() for file in files}


def test_a_clean_tree_is_built_without_a_copy(tree: Path, ctx: Context) -> None:
    found = have(tree, ctx)
    assert found.in_place
    assert found.path == tree
    assert found.source.version == "7.3.4"
    assert str(tree) in found.source.description


def test_a_tree_with_an_in_tree_build_is_exported_without_its_output(
    tree: Path, ctx: Context
) -> None:
    write(tree, BUILT)
    found = have(tree, ctx)
    assert not found.in_place
    assert text_of(found.path) == TEXT
    assert os.access(found.path / "scripts/run.sh", os.X_OK)
    assert "exported because it has an in-tree build" in found.source.description


@pytest.mark.parametrize("trace", [".config", "include/config", "arch/arm64/include/generated"])
def test_each_trace_that_kbuild_refuses_causes_an_export(
    tree: Path, ctx: Context, trace: str
) -> None:
    write(tree, {f"{trace}/x.h": ""} if "/" in trace else {trace: ""})
    assert not have(tree, ctx).in_place


def test_an_export_has_modified_and_new_but_no_deleted_files(tree: Path, ctx: Context) -> None:
    write(tree, BUILT | {"mm/util.c": "int changed;\n", "mm/new.c": "int new;\n"})
    (tree / "mm/vma.c").unlink()
    found = text_of(have(tree, ctx).path)
    wanted = TEXT | {"mm/util.c": "int changed;\n", "mm/new.c": "int new;\n"}
    del wanted["mm/vma.c"]
    assert found == wanted


def test_an_edit_causes_another_export_and_keeps_the_first(tree: Path, ctx: Context) -> None:
    write(tree, BUILT)
    first = have(tree, ctx)
    write(tree, {"mm/util.c": "int edited;\n"})
    second = have(tree, ctx)
    assert second.source.identity != first.source.identity
    assert text_of(first.path) == TEXT
    assert text_of(second.path) == TEXT | {"mm/util.c": "int edited;\n"}


def test_a_second_export_replaces_only_edited_files(tree: Path, ctx: Context) -> None:
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


def test_an_interrupted_export_is_repeated(tree: Path, ctx: Context) -> None:
    write(tree, BUILT)
    have(tree, ctx)
    write(tree, {"mm/util.c": "int edited;\n"})
    (root,) = ctx.cache.root.glob("work/tree-*")
    # The state after a killed run: new bytes without a record of them.
    (root / "export-under-way").touch()
    (root / "text/mm/util.c").unlink()
    (root / "text/mm/util.c").write_text("int ed")
    (root / "text/mm/stray.c").touch()
    found = have(tree, ctx)
    assert text_of(found.path) == TEXT | {"mm/util.c": "int edited;\n"}


def test_the_identity_depends_only_on_the_content(tree: Path, ctx: Context) -> None:
    first = have(tree, ctx).source.identity
    write(tree, {"mm/util.c": "int edited;\n"})
    assert have(tree, ctx).source.identity != first
    write(tree, {"mm/util.c": TEXT["mm/util.c"]})
    assert have(tree, ctx).source.identity == first
    (tree / "mm/util.c").chmod(0o755)
    assert have(tree, ctx).source.identity != first


def test_an_edit_within_one_tick_of_the_clock_is_noticed(tree: Path, ctx: Context) -> None:
    first = have(tree, ctx).source.identity
    times = (tree / "mm/util.c").stat()
    write(tree, {"mm/util.c": "int litu;\n"})
    os.utime(tree / "mm/util.c", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert have(tree, ctx).source.identity != first


@pytest.mark.parametrize("tree", ["plain"], indirect=True)
def test_digests_of_new_files_are_not_kept(tree: Path, ctx: Context) -> None:
    have(tree, ctx)
    (kept,) = ctx.cache.root.glob("work/tree-*/digests.json")
    assert kept.read_text() == "{}"


@pytest.mark.parametrize("tree", ["plain"], indirect=True)
def test_a_directory_with_a_changed_file_is_read_again(
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


def test_a_symbolic_link_to_a_tree_is_the_same_tree(
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
def test_variables_of_another_repositorys_hook_have_no_effect(
    tmp_path: Path, tree: Path, ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = have(tree, ctx).source.identity
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere/index"))
    assert have(tree, ctx).source.identity == clean


@pytest.mark.parametrize("tree", ["git"], indirect=True)
def test_a_broken_repository_is_reported(tree: Path, ctx: Context) -> None:
    shutil.rmtree(tree / ".git")
    (tree / ".git").write_text("gitdir: /nonexistent\n")
    with pytest.raises(SetupError, match="git cannot read the repository"):
        resolve(f"tree:{tree}", ctx)


@pytest.mark.parametrize("missing", ["Makefile", "Kconfig", "mm"])
def test_a_directory_that_is_not_a_kernel_tree_is_refused_with_its_missing_part(
    tmp_path: Path, ctx: Context, missing: str
) -> None:
    text = {name: text for name, text in TEXT.items() if not name.startswith(missing)}
    with pytest.raises(SetupError, match=f"is not a kernel tree: it has no {missing}"):
        resolve(f"tree:{write(tmp_path / 'x', text)}", ctx)


def test_a_makefile_without_a_version_is_refused(tmp_path: Path, ctx: Context) -> None:
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
def test_only_files_that_kconfig_may_read_affect_the_configuration(
    tree: Path, ctx: Context, name: str, text: str, shapes: bool
) -> None:
    before = have(tree, ctx).source
    write(tree, {name: text})
    after = have(tree, ctx).source
    assert after.identity != before.identity
    assert (after.configuration != before.configuration) is shapes


@pytest.mark.parametrize("tree", ["git"], indirect=True)
def test_a_clean_git_tree_has_the_configuration_of_its_commit(tree: Path, ctx: Context) -> None:
    whole = have(tree, ctx).source
    commit = have(Path(f"{tree}@HEAD"), ctx).source
    assert commit.configuration == whole.configuration
    assert (commit.commit, whole.commit) == (git(tree, "rev-parse", "HEAD").strip(), "")
