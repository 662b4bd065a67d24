# SPDX-License-Identifier: GPL-2.0
"""What is asked of each kernel, and what the kernels are that are asked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.bisect.history import History, borrow, commit_series
from testbed.bisect.search import Oracle
from testbed.bisect.tester import CommitOracle, KernelTester, SeriesOracle
from testbed.cache import digest
from testbed.context import Context
from testbed.errors import SetupError
from testbed.kernel.revision import commit_of
from testbed.kernel.series import Series
from testbed.kernel.source import resolve
from testbed.settings import KERNEL_CONFIG
from testbed.suite.identity import suite_identity
from testbed.suite.pytest_internals import compile_expression

# The text of a kernel, which is checked out: 1.8 GB.
_ROOM = 2_000_000_000  # bytes


@dataclass(frozen=True)
class Question:
    """What is asked of each kernel."""

    tests: str  # as pytest -k
    pattern: str  # of the symptom
    repeat: int
    find_fix: bool

    @classmethod
    def of(cls, tests: Sequence[str], pattern: str, repeat: int, *, find_fix: bool) -> Question:
        """The question in a user's words.

        Raises:
            SetupError: the pattern is no regular expression, or a test no expression.
        """
        try:
            re.compile(pattern)
        except re.error as exc:
            raise SetupError(f"--symptom {pattern!r} is no regular expression: {exc}") from exc
        return cls(expression_of(tests), pattern, repeat, find_fix)

    def key(self, subject: Subject) -> str:
        """Equal for questions that must have the same answers."""
        settings = subject.ctx.settings
        fragments = [file.read_text() for file in sorted(KERNEL_CONFIG.glob("*.config"))]
        words = (subject.history.old, subject.history.new, subject.identity, *fragments)
        how = (settings.flavour, settings.toolchain, settings.accel, settings.isolation)
        asked = (settings.arch[0], *map(str, dataclasses.astuple(self)))
        return digest(*words, *how, *asked, suite_identity())


def expression_of(tests: Sequence[str]) -> str:
    """An expression as of pytest -k for tests that are named so, or as a report names them.

    Raises:
        SetupError: it is none.
    """
    expression = " or ".join(f"({_words(test)})" for test in tests)
    try:
        compile_expression(expression)
    except ValueError as exc:
        raise SetupError(f"{' '.join(tests)!r} names no tests: {exc}") from exc
    return expression


def _words(test: str) -> str:
    """`tests/vm/contract/test_a.py::test_b[x]` as names that all have to match."""
    if "::" not in test:
        return test
    file, *names = test.split("::")
    return " and ".join([file.rpartition("/")[2], *names])


@dataclass(frozen=True)
class Subject:
    """What is searched, and how one of its commits becomes a kernel."""

    history: History
    oracle: Callable[[KernelTester], Oracle]
    ctx: Context  # the user's, with the kernel that is meant
    identity: str = ""  # of what the commits stand on


@contextmanager
def patches(series: Series, ctx: Context) -> Iterator[Subject]:
    """The patches of a series on the kernel of the settings.

    Raises:
        SetupError: there is no such kernel.
    """
    base = resolve(ctx.settings.kernel, ctx)
    key = digest(base.identity, series.identity)
    with ctx.cache.work(f"bisect-series-{ctx.settings.arch[0]}-{key}") as root:
        history = commit_series(series, root)
        yield Subject(
            history,
            lambda tester: SeriesOracle(tester, history, series),
            ctx,
            base.identity,
        )


@contextmanager
def commits(tree: Path, old: str, new: str, ctx: Context) -> Iterator[Subject]:
    """The commits of a user's tree between two of them.

    Raises:
        SetupError: it is no repository, or has no such commits.
        InfraError: the disk has no room for a copy of its text.
    """
    path = tree.expanduser().resolve()
    ends = [commit_of(path, name) for name in (old, new)]
    with ctx.cache.work(f"bisect-{ctx.settings.arch[0]}-{digest(str(path))}") as root:
        copy = root / "linux"
        if not copy.exists():
            ctx.cache.require_space(_ROOM, f"a copy of {path}")
        history = borrow(path, copy, *ends)
        settings = dataclasses.replace(ctx.settings, kernel=f"tree:{copy}")
        yield Subject(
            history,
            lambda tester: CommitOracle(tester, history),
            dataclasses.replace(ctx, settings=settings),
        )
