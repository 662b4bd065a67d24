# SPDX-License-Identifier: GPL-2.0
"""The names of pytest that it keeps private: no other module uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import pytest
from _pytest.capture import CaptureManager
from _pytest.mark.expression import Expression


def uncaptured(config: pytest.Config) -> AbstractContextManager[None]:
    """Whatever is printed in this block is seen, although pytest captures a test's output."""
    capture = config.pluginmanager.getplugin("capturemanager")
    assert isinstance(capture, CaptureManager)
    return capture.global_and_fixture_disabled()


def compile_expression(text: str) -> Callable[[Iterable[str]], bool]:
    """The language of `pytest -k`: whether an expression matches something with these names.

    Raises:
        ValueError: `text` is not an expression.
    """
    try:
        expression = Expression.compile(text)
    except SyntaxError as exc:
        raise ValueError(str(exc)) from exc

    def matches(names: Iterable[str]) -> bool:
        known = [name.lower() for name in names]
        # pytest knows keywords of a mark as well; names alone have none.
        return expression.evaluate(lambda word, /, **_: any(word.lower() in each for each in known))

    return matches
