# SPDX-License-Identifier: GPL-2.0
"""The tree is formatted, linted and typed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from testbed.process import check_output, run
from testbed.settings import CHECKOUT


@pytest.mark.parametrize(
    "arguments",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)],
    ids=["ruff-check", "ruff-format", "mypy"],
)
def test_the_tree_is_clean(arguments: tuple[str, ...]) -> None:
    done = run([sys.executable, "-m", *arguments], cwd=CHECKOUT, ok=range(256))
    assert done.status == 0, done.stdout + done.stderr


def _sources() -> list[Path]:
    """All files of the project that are written in a programming language."""
    names = check_output(["git", "-C", CHECKOUT, "ls-files", "-z"]).split("\0")
    paths = [CHECKOUT / name for name in names if name]
    code = [path for path in paths if path.suffix in (".py", ".c", ".h", ".mk", ".config")]
    scripts = [path for path in paths if path.parent in (CHECKOUT / "scripts", CHECKOUT / ".ci")]
    made_up = CHECKOUT / "tests/unit/fake_kernel"
    return [path for path in {*code, *scripts} if not path.is_relative_to(made_up)]


def test_every_source_names_its_licence() -> None:
    mark = "SPDX-License-Identifier: GPL-2.0"
    without = [
        str(path.relative_to(CHECKOUT))
        for path in _sources()
        if not any(mark in line for line in path.read_text().splitlines()[:2])
    ]
    assert sorted(without) == []
