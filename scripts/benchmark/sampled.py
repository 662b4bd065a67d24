# SPDX-License-Identifier: GPL-2.0
"""A pytest plugin that runs a sample of the collected tests, all cases of a scenario or none.

The process that starts pytest names the sample in the environment.
"""

from __future__ import annotations

import os
import re

import pytest

from testbed.cache import digest
from testbed.mmap.path import HookPath
from testbed.suite.orderdata import without_arch

SAMPLE = "TESTBED_BENCH_SAMPLE"  # ONE_IN SEED

_PATH = re.compile(rf"(?<=[\[-])(?:{'|'.join(sorted(HookPath, key=len, reverse=True))})(?=[-\]])")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    one_in, seed = os.environ[SAMPLE].split()
    items[:] = [item for item in items if is_sampled(item.nodeid, int(one_in), seed)]


def is_sampled(test: str, one_in: int, seed: str) -> bool:
    """Whether a test is in the sample. The cases of a scenario share what they cost."""
    scenario = _PATH.sub("PATH", without_arch(test))
    return int(digest(seed, scenario), 16) % one_in == 0
