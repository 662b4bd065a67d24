# SPDX-License-Identifier: GPL-2.0
"""A Ctrl-C that Python ignored, or that an error hides."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from testbed.errors import GuestLost
from testbed.process import run
from testbed.suite.interrupts import hides_interrupt

# The callback of the weak reference meets the interrupt, as one of the standard library's may.
_TESTS = """
import weakref

class Thing:
    pass

def ends(ref):
    raise KeyboardInterrupt

def test_first():
    thing = Thing()
    test_first.kept = weakref.ref(thing, ends)

def test_second():
    pass
"""


def test_an_interrupt_that_python_ignored_is_no_failure() -> None:
    warning = pytest.PytestUnraisableExceptionWarning("Exception ignored in: _remove")
    assert not hides_interrupt(warning)
    warning.__cause__ = KeyboardInterrupt()
    assert hides_interrupt(warning)


def test_an_error_on_the_way_out_of_an_interrupt_is_no_failure() -> None:
    error = GuestLost("the VM is gone")
    error.__context__ = KeyboardInterrupt()
    assert hides_interrupt(error)
    error.__context__ = OSError()
    assert not hides_interrupt(error)


def test_an_interrupt_in_a_callback_ends_the_session(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(_TESTS)
    words = ["-q", "-W", "error", "-c", "/dev/null", "test_it.py"]
    python = [sys.executable, "-m", "pytest", *words]
    done = run(python, cwd=tmp_path, ok=range(6))
    assert done.status == pytest.ExitCode.INTERRUPTED, done.stdout
    assert "KeyboardInterrupt" in done.stdout
    assert "failed" not in done.stdout
