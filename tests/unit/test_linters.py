"""The tree is formatted, linted and typed."""

from __future__ import annotations

import sys

import pytest

from testbed.process import run
from testbed.settings import CHECKOUT


@pytest.mark.parametrize(
    "arguments",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)],
    ids=["ruff-check", "ruff-format", "mypy"],
)
def test_the_tree_is_clean(arguments: tuple[str, ...]) -> None:
    done = run([sys.executable, "-m", *arguments], cwd=CHECKOUT, ok=range(256))
    assert done.status == 0, done.stdout + done.stderr
