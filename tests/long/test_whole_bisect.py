# SPDX-License-Identifier: GPL-2.0
"""A complete bisection of a planted defect, through the command line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from testbed.kernel.source import unpack
from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.mutants.mutation import MUTANTS
from testbed.process import run

Command = Callable[..., list[str]]

DEFECT = MUTANTS / "U8.patch"

# Each changes one C file. A comment does not change the kernel; the sixth does not build.
CHANGES = (
    ("mm/vma.c", "/* harmless */"),
    ("mm/util.c", "/* harmless as well */"),
    ("mm/memory.c", "/* harmless, too */"),
    ("mm/vma.c", "/* not less harmless */"),
    ("", ""),  # the defect
    ("mm/vma.c", "#error no kernel"),
    ("mm/vma.c", ""),
    ("mm/memory.c", "const int testbed_harmless = 1;"),
)


def write_series(folder: Path, tree: Path) -> None:
    """Write a series of patches, of which the fifth is the defect."""
    folder.mkdir()
    for number, text in enumerate(patch_texts(tree), start=1):
        (folder / f"{number:04}-change.patch").write_text(text)


def patch_texts(tree: Path) -> Iterator[str]:
    """Yield the patches. A change appends its line to a file; an empty line removes the last."""
    files = {name: (tree / name).read_text().splitlines(True) for name, _ in CHANGES if name}
    for name, line in CHANGES:
        if not name:
            yield DEFECT.read_text()
            continue
        old = files[name]
        files[name] = [*old, f"{line}\n"] if line else old[:-1]
        yield "".join(difflib.unified_diff(old, files[name], f"a/{name}", f"b/{name}"))


def test_bisect_finds_the_planted_patch_among_harmless_ones(
    command: Command, lab: Lab, prepared: PreparedKernel, tmp_path: Path
) -> None:
    tree = unpack(prepared.source, lab.ctx).path
    write_series(tmp_path / "series", tree)
    words = command("bisect", "--series", str(tmp_path / "series"), "test_descriptor and stack")
    done = run(words, env={"XDG_STATE_HOME": str(tmp_path / "state")})
    assert "first bad: patch 5: 0005-change.patch" in done.stdout
    [written] = tmp_path.glob("results/*/bisect.json")
    steps = {step["title"]: step for step in json.loads(written.read_text())["steps"]}
    verdicts = {title[:4]: step["verdict"] for title, step in steps.items()}
    assert verdicts["0008"] == verdicts["0005"] == "present"
    assert verdicts["no p"] == verdicts["0004"] == "absent"
    assert verdicts["0006"] == "untestable"
    # Four comments leave the kernel unchanged, so it was built but not run.
    assert steps["0004-change.patch"]["same_as"] == steps["no patch"]["commit"]
    assert "#error no kernel" in steps["0006-change.patch"]["evidence"]

    again = run(words, env={"XDG_STATE_HOME": str(tmp_path / "state")})
    assert "first bad: patch 5: 0005-change.patch" in again.stdout
    assert "boot" not in again.stdout
