# SPDX-License-Identifier: GPL-2.0
"""A Ctrl-C that arrives where Python cannot raise it ends the run, and fails no test.

Python ignores an exception in a callback of a weak reference. Pytest makes a warning of it, which
fails the test. These hooks stand outside those of pytest that raise it.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest


def hides_interrupt(error: BaseException) -> bool:
    """Whether an error stands for a KeyboardInterrupt, or was raised on the way out of one."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _raises_interrupts() -> Generator[None, object, object]:
    try:
        return (yield)
    except Exception as error:
        if hides_interrupt(error):
            raise KeyboardInterrupt from error
        raise


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    return (yield from _raises_interrupts())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    return (yield from _raises_interrupts())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    return (yield from _raises_interrupts())
