# SPDX-License-Identifier: GPL-2.0
"""Private interfaces of pytest. No other module uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import pytest
from _pytest.capture import CaptureManager
from _pytest.mark.expression import Expression
from _pytest.runner import runtestprotocol


def uncaptured(config: pytest.Config) -> AbstractContextManager[None]:
    """Return a context that suspends pytest's capturing, so that output reaches the terminal."""
    capture = config.pluginmanager.getplugin("capturemanager")
    assert isinstance(capture, CaptureManager)
    return capture.global_and_fixture_disabled()


def run_phases(item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
    """Run set-up, call and tear-down of a test. Return their reports, which nobody else gets.

    Fixtures that `nextitem` does not share are torn down.
    """
    return runtestprotocol(item, log=False, nextitem=nextitem)


def run_again(item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
    """Do as `run_phases`, for a test out of turn."""
    item.session._setupstate.teardown_exact(item)
    return run_phases(item, nextitem)


def compile_expression(text: str) -> Callable[[Iterable[str]], bool]:
    """Compile a `pytest -k` expression into a function that matches it against names.

    Raises:
        ValueError: `text` is not an expression.
    """
    try:
        expression = Expression.compile(text)
    except SyntaxError as exc:
        raise ValueError(str(exc)) from exc

    def matches(names: Iterable[str]) -> bool:
        known = [name.lower() for name in names]
        # pytest also passes keyword arguments of marks; a name has none.
        return expression.evaluate(lambda word, /, **_: any(word.lower() in each for each in known))

    return matches
