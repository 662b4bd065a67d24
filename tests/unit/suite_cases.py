# SPDX-License-Identifier: GPL-2.0
"""The tests that `testbed run` collects, as the order of the tests sees them.

The functions below are a pytest plugin too: a child process collects, and runs nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

from testbed.process import run
from testbed.settings import CHECKOUT
from testbed.suite.batch import state_of
from testbed.suite.order import Candidate, candidate

_TARGET = "COLLECTED"


def pytest_collection_finish(session: pytest.Session) -> None:
    found = [dataclasses.asdict(candidate(item, state_of(item))) for item in session.items]
    Path(os.environ[_TARGET]).write_text(json.dumps(found))


@functools.cache
def collected() -> tuple[Candidate, ...]:
    """Return all tests of the kernel, for both architectures, in the order of the files."""
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "cases.json"
        folders = os.pathsep.join([str(Path(__file__).parent), str(CHECKOUT)])
        # fmt: off
        run(
            [sys.executable, "-m", "pytest", "--collect-only", "-q", "-o", "addopts=",
             "-p", "no:cacheprovider", "-p", Path(__file__).stem, "tests/vm/contract"],
            cwd=CHECKOUT,
            env={_TARGET: str(target), "PYTHONPATH": folders},
        )
        # fmt: on
        values = json.loads(target.read_text())
    return tuple(
        Candidate(**{**value, "guarantees": tuple(value["guarantees"])}) for value in values
    )
