# SPDX-License-Identifier: GPL-2.0
"""scripts/history, on two small trees."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from testbed.process import Completed, run
from testbed.settings import CHECKOUT

DEFECT = "--- a/mm/util.c\n+++ b/mm/util.c\n@@ -1 +1 @@\n-int end;\n+int short_end;\n"


@pytest.fixture
def trees(tmp_path: Path) -> list[Path]:
    return [make_tree(tmp_path / f"linux-7.{minor}", minor) for minor in (2, 3)]


def make_tree(path: Path, minor: int) -> Path:
    files = {
        "Makefile": f"VERSION = 7\nPATCHLEVEL = {minor}\nSUBLEVEL = 4\n",
        "Kconfig": "config MMU\n",
        ".gitignore": "*.o\n",
        "mm/kept.o": "part of the text\n",
        "mm/util.c": "int end;\n",
        "mm/vma.c": "int vma;\n",
        "mm/memory.c": "int memory;\n",
    }
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def make_history(top: Path, trees: list[Path], name: str = "made") -> Completed:
    (top / "defect.patch").write_text(DEFECT)
    # fmt: off
    argv = [
        sys.executable, str(CHECKOUT / "scripts/history.py"), str(top / name),
        "--kernels", ",".join(f"tree:{tree}" for tree in trees),
        "--defect", str(top / "defect.patch"),
    ]
    # fmt: on
    state = {f"XDG_{kind}_HOME": str(top / kind) for kind in ("CONFIG", "CACHE", "STATE")}
    return run(argv, env=state, ok=range(256))


def git(path: Path, *words: str) -> list[str]:
    return run(["git", "-C", path, *words]).stdout.splitlines()


def test_small_commits_are_on_top_of_the_versions(tmp_path: Path, trees: list[Path]) -> None:
    done = make_history(tmp_path, trees)
    assert done.status == 0, done.stdout
    made = tmp_path / "made"
    titles = git(made, "log", "--reverse", "--topo-order", "--format=%s", "v7.2.4^{commit}..main")
    assert titles[0] == "Linux 7.3.4"
    assert len(titles) == 12
    assert len(git(made, "rev-list", "--merges", "main")) == 1
    assert git(made, "show", "base:mm/kept.o") == ["part of the text"]
    assert git(made, "show", "broken:mm/util.c") == ["int short_end;"]
    assert git(made, "show", "main:mm/util.c") == ["int end;"]
    assert git(made, "log", "--format=%s", "-S#error no kernel", "main") != []
    assert git(made, "status", "--porcelain") == []


def test_equal_texts_give_equal_commits(tmp_path: Path, trees: list[Path]) -> None:
    for name in ("one", "two"):
        make_history(tmp_path, trees, name)
    one, two = (git(tmp_path / name, "rev-parse", "main") for name in ("one", "two"))
    assert one == two


def test_a_failure_leaves_nothing_behind(tmp_path: Path, trees: list[Path]) -> None:
    (trees[-1] / "mm" / "util.c").write_text("int another;\n")
    done = make_history(tmp_path, trees)
    assert (done.status, "git" in done.stderr) == (3, True), done.stderr
    assert not list(tmp_path.glob("made*"))


def test_an_existing_folder_is_refused_and_left_alone(tmp_path: Path, trees: list[Path]) -> None:
    (tmp_path / "made").mkdir()
    done = make_history(tmp_path, trees)
    assert done.status == 2
    assert "exists" in done.stderr
    assert list((tmp_path / "made").iterdir()) == []
