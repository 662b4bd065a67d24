# SPDX-License-Identifier: GPL-2.0
"""Series of patches, and the work directories that they are applied in."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from diffs import mail
from tree_parts import Unused

from testbed.errors import PatchError, SetupError
from testbed.kernel.series import Series, load_series
from testbed.kernel.source import Source, SourceTree
from testbed.kernel.worktree import Worktree, prepare_worktree
from testbed.settings import KERNEL_CONFIG

LONG_AGO = 1_000_000_000


def diff(name: str, old: str, new: str) -> str:
    return f"{header(name)}--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@\n-{old}\n+{new}\n"


def header(name: str, other: str = "") -> str:
    return f"diff --git a/{name} b/{other or name}\n"


CREATE = f"""{header("mm/new.c")}new file mode 100644
--- /dev/null
+++ b/mm/new.c
@@ -0,0 +1 @@
+int new;
"""

DELETE = f"""{header("mm/vma.c")}deleted file mode 100644
--- a/mm/vma.c
+++ /dev/null
@@ -1 +0,0 @@
-int vma;
"""

RENAME = f"""{header("mm/a.c", "mm/b.c")}similarity index 100%
rename from mm/a.c
rename to mm/b.c
"""


@dataclass
class Desk:
    """A pristine tree, a work directory, and a folder for patches."""

    top: Path

    @property
    def pristine(self) -> Path:
        return self.top / "pristine"

    @property
    def root(self) -> Path:
        return self.top / "work"

    def patch(self, name: str, text: str) -> Path:
        path = self.top / name
        path.write_text(text)
        return path

    def prepare(self, *patches: Path, identity: str = "one", in_place: bool = False) -> Worktree:
        source = Source(identity, "7.3.0", "a test's text", Unused())
        tree = SourceTree(path=self.pristine, source=source, in_place=in_place)
        return prepare_worktree(self.root, tree, Series.of(*patches))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.root.mkdir()
    (desk.pristine / "mm").mkdir(parents=True)
    for name, text in (("Makefile", "all:"), ("mm/util.c", "int util;"), ("mm/vma.c", "int vma;")):
        (desk.pristine / name).write_text(f"{text}\n")
        os.utime(desk.pristine / name, (LONG_AGO, LONG_AGO))
    (desk.pristine / "link").symlink_to("Makefile")
    return desk


def content(tree: Path) -> dict[str, str]:
    files = (path for path in tree.rglob("*") if path.is_file())
    return {str(path.relative_to(tree)): path.read_text() for path in files}


def is_new(path: Path) -> bool:
    return path.stat().st_mtime > LONG_AGO


def test_the_identity_of_a_series_depends_on_content_and_order(desk: Desk) -> None:
    one = desk.patch("0001-a.patch", diff("mm/util.c", "int util;", "int a;"))
    other = desk.patch("0002-b.patch", diff("mm/vma.c", "int vma;", "int b;"))
    renamed = desk.patch("renamed.patch", one.read_text())
    assert Series.of(one, other).names == ("0001-a.patch", "0002-b.patch")
    assert Series.of(one).identity == Series.of(renamed).identity
    assert Series.of(one, other).identity != Series.of(other, one).identity
    assert Series().identity == ""


def test_the_files_of_a_series_include_created_deleted_and_renamed_ones(desk: Desk) -> None:
    texts = (CREATE, DELETE, RENAME)
    patches = [desk.patch(str(number), text) for number, text in enumerate(texts)]
    assert Series.of(*patches).files == ("mm/a.c", "mm/b.c", "mm/new.c", "mm/vma.c")


def test_all_files_but_c_files_may_affect_the_configuration(desk: Desk) -> None:
    code = desk.patch("code", diff("mm/util.c", "a", "b"))
    kconfig = desk.patch("kconfig", diff("mm/Kconfig", "a", "b"))
    script = desk.patch("script", diff("scripts/kconfig/conf.c", "a", "b"))
    assert not Series.of(code).shapes_configuration
    assert Series.of(code, kconfig).shapes_configuration
    assert Series.of(script).shapes_configuration


@pytest.mark.parametrize("text", [None, "hello\n"])
def test_a_missing_or_invalid_patch_is_the_callers_fault(desk: Desk, text: str | None) -> None:
    path = desk.top / "x.patch" if text is None else desk.patch("x.patch", text)
    with pytest.raises(SetupError, match=r"x\.patch"):
        desk.prepare(path)


def test_a_work_tree_consists_of_hard_links_to_the_pristine_text(desk: Desk) -> None:
    src = desk.prepare().src
    assert content(src) == content(desk.pristine)
    assert (src / "mm/util.c").samefile(desk.pristine / "mm/util.c")
    assert (src / "link").readlink() == Path("Makefile")


def test_a_patch_never_reaches_the_pristine_text_through_a_link(desk: Desk) -> None:
    before = content(desk.pristine)
    src = desk.prepare(desk.patch("p", diff("mm/util.c", "int util;", "int patched;"))).src
    assert (src / "mm/util.c").read_text() == "int patched;\n"
    assert content(desk.pristine) == before


def test_a_repository_around_the_cache_has_no_effect(desk: Desk) -> None:
    subprocess.run(["git", "init", "--quiet", desk.top], check=True)
    src = desk.prepare(desk.patch("p", diff("mm/util.c", "int util;", "int patched;"))).src
    assert (src / "mm/util.c").read_text() == "int patched;\n"


def test_only_files_that_a_series_changes_are_new_to_make(desk: Desk) -> None:
    src = desk.prepare(desk.patch("p", diff("mm/util.c", "int util;", "int patched;"))).src
    assert is_new(src / "mm/util.c")
    assert not is_new(src / "mm/vma.c")


def test_a_restored_file_is_new_to_make(desk: Desk) -> None:
    desk.prepare(desk.patch("p", diff("mm/util.c", "int util;", "int patched;")))
    src = desk.prepare().src
    assert content(src) == content(desk.pristine)
    assert is_new(src / "mm/util.c")


def test_a_file_with_equal_content_in_two_series_keeps_its_time(desk: Desk) -> None:
    first = desk.patch("1", diff("mm/util.c", "int util;", "int patched;"))
    second = desk.patch("2", diff("mm/vma.c", "int vma;", "int more;"))
    src = desk.prepare(first).src
    os.utime(src / "mm/util.c", (LONG_AGO, LONG_AGO))
    desk.prepare(first, second)
    assert not is_new(src / "mm/util.c")
    assert (src / "mm/vma.c").read_text() == "int more;\n"


def test_files_that_a_series_creates_and_deletes_come_and_go_with_it(desk: Desk) -> None:
    src = desk.prepare(desk.patch("c", CREATE), desk.patch("d", DELETE)).src
    assert (src / "mm/new.c").read_text() == "int new;\n"
    assert not (src / "mm/vma.c").exists()
    assert content(desk.prepare().src) == content(desk.pristine)


def test_patches_build_upon_each_other(desk: Desk) -> None:
    first = desk.patch("1", diff("mm/util.c", "int util;", "int a;"))
    second = desk.patch("2", diff("mm/util.c", "int a;", "int b;"))
    assert (desk.prepare(first, second).src / "mm/util.c").read_text() == "int b;\n"


def test_a_patch_that_does_not_apply_is_named_with_file_and_hunk(desk: Desk) -> None:
    good = desk.patch("good.patch", diff("mm/vma.c", "int vma;", "int b;"))
    bad = desk.patch("bad.patch", diff("mm/util.c", "int other;", "int a;"))
    src = desk.prepare().src
    with pytest.raises(
        PatchError, match=r"bad\.patch does not apply: mm/util\.c, hunk 1 at line 1"
    ):
        desk.prepare(good, bad)
    assert content(src) == content(desk.pristine)


def test_a_patch_for_a_missing_file_is_named(desk: Desk) -> None:
    bad = desk.patch("bad.patch", diff("mm/none.c", "a", "b"))
    with pytest.raises(PatchError, match=r"bad\.patch does not apply: mm/none\.c"):
        desk.prepare(bad)


def test_an_interrupted_switch_is_repaired(desk: Desk) -> None:
    patch = desk.patch("p", diff("mm/util.c", "int util;", "int patched;"))
    src = desk.prepare(patch).src
    state = (desk.root / "state.json").read_text()
    (desk.root / "state.json").write_text(state.replace(Series.of(patch).identity, "under way"))
    (src / "mm/util.c").unlink()
    assert content(desk.prepare().src) == content(desk.pristine)


def test_a_damaged_record_costs_only_a_comparison(desk: Desk) -> None:
    src = desk.prepare(desk.patch("p", diff("mm/util.c", "int util;", "int patched;"))).src
    (desk.root / "obj" / "vmlinux").touch()
    (desk.root / "state.json").write_text("{")
    desk.prepare()
    assert content(src) == content(desk.pristine)
    assert is_new(src / "mm/util.c")
    assert not is_new(src / "mm/vma.c")


def test_new_text_of_the_same_family_replaces_only_what_differs(desk: Desk) -> None:
    desk.prepare()
    (desk.root / "obj" / "vmlinux").touch()
    (desk.pristine / "mm/util.c").unlink()
    (desk.pristine / "mm/util.c").write_text("int next;\n")
    os.utime(desk.pristine / "mm/util.c", (LONG_AGO, LONG_AGO))
    (desk.pristine / "mm/vma.c").unlink()
    src = desk.prepare(identity="two").src
    assert content(src) == content(desk.pristine)
    assert is_new(src / "mm/util.c")
    assert not is_new(src / "Makefile")


def test_a_users_clean_tree_is_built_without_a_copy(desk: Desk) -> None:
    assert desk.prepare(in_place=True).src == desk.pristine


def test_a_users_tree_with_a_series_is_copied_without_links(desk: Desk) -> None:
    patch = desk.patch("p", diff("mm/util.c", "int util;", "int patched;"))
    src = desk.prepare(patch, in_place=True).src
    assert src == desk.root / "src"
    assert not (src / "mm/vma.c").samefile(desk.pristine / "mm/vma.c")


@pytest.mark.parametrize(
    ("link", "target"),
    [("mm", "../outside"), ("mm/util.c", "../../outside/util.c")],
    ids=["folder", "file"],
)
def test_a_link_in_the_tree_cannot_lead_a_patch_outside(desk: Desk, link: str, target: str) -> None:
    shutil.move(desk.pristine / "mm", desk.top / "outside")
    (desk.pristine / link).parent.mkdir(exist_ok=True)
    (desk.pristine / link).symlink_to(target)
    patch = desk.patch("p", diff("mm/util.c", "int util;", "int patched;"))
    with pytest.raises(SetupError, match=f"leads through the symbolic link {link}"):
        desk.prepare(patch)
    assert (desk.top / "outside/util.c").read_text() == "int util;\n"


@pytest.mark.parametrize(
    ("name", "why"), [("mm", "is a directory"), ("mm/vma.c/x", r"is below mm/vma\.c")]
)
def test_a_file_that_the_tree_cannot_have_is_refused(desk: Desk, name: str, why: str) -> None:
    create = f"--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+x\n"
    with pytest.raises(SetupError, match=why):
        desk.prepare(desk.patch("p", create))


def test_files_of_a_merged_patch_stay_untouched(desk: Desk) -> None:
    merged = desk.patch("1", diff("mm/util.c", "int other;", "int util;"))
    more = desk.patch("2", diff("mm/vma.c", "int vma;", "int more;"))
    src = desk.prepare(merged, more).src
    assert (src / "mm/util.c").samefile(desk.pristine / "mm/util.c")
    assert (src / "mm/vma.c").read_text() == "int more;\n"


# Loading of series.


def test_an_empty_name_is_the_empty_series() -> None:
    assert load_series("") == Series()


def test_a_quilt_folder_gives_the_order_and_the_options(desk: Desk) -> None:
    desk.patch("a.patch", diff("mm/util.c", "int a;", "int b;"))
    desk.patch("b.diff", diff("mm/util.c", "int util;", "int a;"))
    desk.patch("series", "# first things first\nb.diff -p1\n\na.patch # then this\n")
    assert load_series(str(desk.top)).names == ("b.diff", "a.patch")
    desk.patch("series", "b.diff -R\n")
    with pytest.raises(SetupError, match=r"b\.diff has the option -R"):
        load_series(str(desk.top))


def test_a_folder_without_a_series_file_is_sorted(desk: Desk) -> None:
    for name in ("0002-b.patch", "0001-a.patch"):
        desk.patch(name, diff("mm/util.c", "int util;", "int a;"))
    desk.patch("README", "not a patch")
    assert load_series(str(desk.top)).names == ("0001-a.patch", "0002-b.patch")


def test_a_folder_without_a_patch_is_refused(desk: Desk) -> None:
    with pytest.raises(SetupError, match="neither a `series` file nor any"):
        load_series(str(desk.top))


def test_the_base_of_a_plain_patch_is_its_trailer(desk: Desk) -> None:
    text = diff("mm/util.c", "int util;", "int a;") + f"-- \n2.39\n\nbase-commit: {'1f' * 20}\n"
    assert load_series(str(desk.patch("p", text))).base == "1f" * 20


@pytest.mark.parametrize("wanted", ["nowhere.patch", "v7.3..topic"])
def test_a_missing_series_is_reported_with_the_possible_forms(wanted: str) -> None:
    with pytest.raises(SetupError, match=f"no folder of patches at {wanted}") as raised:
        load_series(wanted, "debian:7.3")
    assert "message-id" in raised.value.hint


@pytest.mark.parametrize("wanted", ["../nowhere", "./..", "fixes/../nowhere"])
def test_a_path_with_dots_is_not_a_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    with pytest.raises(SetupError, match=r"no folder of patches at|neither a"):
        load_series(wanted, "tree:/nonexistent")


@pytest.mark.parametrize("name", ["monolithic", "no-layer"])
def test_the_shipped_series_can_be_read(name: str) -> None:
    series = load_series(str(KERNEL_CONFIG / "series" / name))
    assert {"mm/util.c", "drivers/uio/uio.c", "drivers/hv/vmbus_drv.c"} < set(series.files)


QUILT = {"r1.diff": "int util;", "sub/r2": "int a;", "r3.patch.gz": "int b;"}


def quilt_patches(desk: Desk) -> None:
    (desk.top / "sub").mkdir()
    after = ["int a;", "int b;", "int c;"]
    for (name, before), new in zip(QUILT.items(), after, strict=True):
        text = diff("mm/util.c", before, new).encode()
        packed = gzip.compress(text) if name.endswith(".gz") else text
        (desk.top / name).write_bytes(packed)


def test_a_quilt_folder_has_the_names_of_its_list_whatever_they_are(desk: Desk) -> None:
    quilt_patches(desk)
    text = "# Änderungen\n\n\tr1.diff -p 1 # first\nsub/r2 -pab\nr3.patch.gz\n"
    (desk.top / "series").write_bytes(text.encode("latin-1"))
    assert load_series(str(desk.top)).names == tuple(QUILT)


def test_entries_of_a_series_conf_with_a_guard_are_left_out(desk: Desk) -> None:
    quilt_patches(desk)
    (desk.top / "series.conf").write_text("\tr1.diff\n+anna\tsub/r2\n\t-!x86 r3.patch.gz\n")
    found = load_series(str(desk.top))
    assert found.names == ("r1.diff",)
    assert [(each.subject, each.reason) for each in found.left_out] == [
        ("sub/r2", "guard +anna"),
        ("r3.patch.gz", "guard -!x86"),
    ]


def test_a_quilt_patch_may_have_no_prefix(desk: Desk) -> None:
    text = diff("mm/util.c", "int util;", "int a;").replace("a/mm", "mm").replace("b/mm", "mm")
    desk.patch("all.diff", text)
    desk.patch("series", "all.diff -p0\n")
    (patch,) = load_series(str(desk.top)).patches
    assert (patch.strip, patch.notes) == (0, ())
    assert (desk.prepare(desk.top / "all.diff").src / "mm/util.c").read_text() == "int a;\n"


def test_a_folder_of_diffs_or_mails_is_a_series(desk: Desk) -> None:
    for name in ("2.diff", "1.diff"):
        desk.patch(name, diff("mm/util.c", "int util;", "int a;"))
    desk.patch("README", "not a patch")
    assert load_series(str(desk.top)).names == ("1.diff", "2.diff")


def test_a_folder_of_numbered_mails_must_be_complete(desk: Desk) -> None:
    text = diff("mm/util.c", "int util;", "int a;")
    for number in (1, 3):
        desk.patch(f"000{number}-x.patch", mail(f"[PATCH {number}/3] x", f"---\n{text}"))
    with pytest.raises(SetupError, match="patch 2 of 3 is missing"):
        load_series(str(desk.top))
    # Patches that somebody picked from two series have no common numbers.
    desk.patch("0003-x.patch", mail("[PATCH 5/9] x", f"---\n{text}"))
    assert load_series(str(desk.top)).names == ("0001-x.patch", "0003-x.patch")


def test_a_series_has_the_hash_that_kcidb_defines(tmp_path: Path) -> None:
    for name in ("1.patch", "2.patch"):
        (tmp_path / name).write_text(diff("mm/vma.c", "a", name))
    recipe = "sha256sum *.patch | cut -c-64 | sha256sum | cut -c-64"
    done = subprocess.run(recipe, shell=True, cwd=tmp_path, capture_output=True, check=True)
    assert load_series(str(tmp_path)).patchset_hash == done.stdout.decode().strip()
    assert Series().patchset_hash == ""
