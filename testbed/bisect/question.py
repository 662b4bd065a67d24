# SPDX-License-Identifier: GPL-2.0
"""The question that a bisection asks of each kernel, and the history that it searches."""

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
from testbed.files import user_path
from testbed.kernel.configure import read_fragment
from testbed.kernel.revision import commit_of
from testbed.kernel.series import Series
from testbed.kernel.source import resolve
from testbed.settings import KERNEL_CONFIG, option_words
from testbed.suite.identity import suite_identity
from testbed.suite.pytest_internals import compile_expression

# A checkout of a kernel takes 1.8 GB.
_ROOM = 2_000_000_000  # bytes


@dataclass(frozen=True)
class Question:
    """The question for each kernel: does it show the symptom?"""

    tests: str  # as pytest -k
    pattern: str  # of the symptom
    repeat: int
    find_fix: bool

    @classmethod
    def of(cls, tests: Sequence[str], pattern: str, repeat: int, *, find_fix: bool) -> Question:
        """Make a question from the user's options.

        Raises:
            SetupError: the pattern is not a regular expression, or a test not a test expression.
        """
        try:
            re.compile(pattern)
        except re.error as exc:
            raise SetupError(f"--symptom {pattern!r} is not a regular expression: {exc}") from exc
        return cls(expression_of(tests), pattern, repeat, find_fix)

    def key(self, subject: Subject) -> str:
        """Return a digest that is equal for searches that must have the same answer."""
        settings = subject.ctx.settings
        fragments = [file.read_text() for file in sorted(KERNEL_CONFIG.glob("*.config"))]
        fragments += [read_fragment(file) for file in settings.config]
        # Only the contents of the fragments count, not their names.
        fragments += option_words((), settings.cmdline, settings.qemu)
        words = (subject.history.old, subject.history.new, subject.identity, *fragments)
        how = (settings.flavour, settings.toolchain, settings.accel, settings.isolation)
        asked = (settings.arch[0], *map(str, dataclasses.astuple(self)))
        return digest(*words, *how, *asked, suite_identity())


def expression_of(tests: Sequence[str]) -> str:
    """Return a pytest -k expression for tests: expressions, or names as a report shows them.

    Raises:
        SetupError: a test is not an expression.
    """
    expression = " or ".join(f"({_words(test)})" for test in tests)
    try:
        compile_expression(expression)
    except ValueError as exc:
        raise SetupError(f"{' '.join(tests)!r} is not a test expression: {exc}") from exc
    return expression


def _words(test: str) -> str:
    """Return `tests/vm/contract/test_a.py::test_b[x]` as a conjunction of names."""
    if "::" not in test:
        return test
    file, *names = test.split("::")
    return " and ".join([file.rpartition("/")[2], *names])


@dataclass(frozen=True)
class Subject:
    """The history to search, and the oracle for its commits."""

    history: History
    oracle: Callable[[KernelTester], Oracle]
    ctx: Context  # the user's; its kernel is the one to build
    identity: str = ""  # of the kernel below a series


@contextmanager
def patches(series: Series, ctx: Context) -> Iterator[Subject]:
    """Yield the patches of a series, on the kernel of the settings.

    Raises:
        SetupError: the kernel does not exist.
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
    """Yield the commits of a user's tree between two of them.

    Raises:
        SetupError: `tree` is not a repository, or lacks the commits.
        InfraError: the disk has no space for a checkout.
    """
    path = user_path(str(tree)).resolve()
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
