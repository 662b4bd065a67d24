# SPDX-License-Identifier: GPL-2.0
"""The kernel's own parser reads the results that the testbed writes as KTAP.

It stands here and not in tests/unit because it needs the text of the kernel under test.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from testbed.formats.ktap import ktap_text
from testbed.formats.section import Section
from testbed.kernel.source import unpack
from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.results.model import Case, Run, Status


@pytest.fixture
def kunit_parser(
    prepared: PreparedKernel, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    """tools/testing/kunit/kunit_parser.py of the kernel under test, imported from there."""
    folder = unpack(prepared.source, lab.ctx).path / "tools" / "testing" / "kunit"
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the text may be the user's tree
    try:
        yield importlib.import_module("kunit_parser")
    finally:
        for name in ("kunit_parser", "kunit_printer"):
            sys.modules.pop(name, None)


def _run(statuses: list[Status]) -> Run:
    cases = tuple(
        Case(
            test=f"tests/vm/contract/test_{file}.py::test_b[{arch}-{number}-stack #1]",
            arch=arch,
            status=status,
            reason="open #7 # SKIP is not meant: \x1b[31m",
            evidence="# Subtest: none\n1..7\n  not ok 1 of the kernel",
        )
        for arch in ("x86_64", "arm64", "")
        for file in ("a", "c")
        for number, status in enumerate(statuses)
    )
    return Run(name="r", command="c", started="t", cases=cases)


@pytest.mark.arches("x86_64")
@pytest.mark.parametrize(
    "statuses",
    [list(Status), [Status.PASS, Status.XFAIL, Status.FIXED, Status.SKIP]],
    ids=["all-statuses", "as-expected"],
)
def test_the_kernels_own_parser_reads_ktap(
    kunit_parser: ModuleType, statuses: list[Status]
) -> None:
    run = _run(statuses)
    text = ktap_text([Section(run, "lane #1"), Section(run, "lane #2")])
    printer = sys.modules["kunit_printer"].null_printer
    found = kunit_parser.parse_run_tests(text.splitlines(), printer)
    each = 2 * len(run.cases) // len(statuses)
    bad = each * sum(not status.as_expected for status in statuses)
    counts = found.counts
    assert (counts.errors, counts.crashed) == (0, 0)
    assert (counts.failed, counts.skipped) == (bad, each)
    assert counts.passed == 2 * len(run.cases) - bad - each
    assert [each.name for each in found.subtests] == ["lane :1", "lane :2"]
