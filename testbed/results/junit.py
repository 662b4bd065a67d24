# SPDX-License-Identifier: GPL-2.0
"""junit.xml of a run with several parts. pytest writes the file of a run with one part."""

from __future__ import annotations

import xml.etree.ElementTree as xml
from pathlib import Path

from testbed.files import write_whole
from testbed.results.model import Case, Run, Status
from testbed.results.store import JUNIT_FILE

# The element that a case of each status has; an expected one has none.
_ELEMENTS = {
    Status.FAIL: "failure",
    Status.ERROR: "error",
    Status.MISS: "error",
    Status.SKIP: "skipped",
    Status.XFAIL: "skipped",
}


def write_junit(folder: Path, run: Run) -> None:
    """Write the cases as pytest does: xunit2, the file and class of a test with dots."""
    suite = xml.Element("testsuite", name="pytest", timestamp=run.started, time=str(run.seconds))
    suite.set("tests", str(len(run.cases)))
    for attribute, element in (
        ("failures", "failure"),
        ("errors", "error"),
        ("skipped", "skipped"),
    ):
        counted = sum(_ELEMENTS.get(case.status) == element for case in run.cases)
        suite.set(attribute, str(counted))
    suite.extend(_element(case) for case in run.cases)
    suites = xml.Element("testsuites")
    suites.append(suite)
    text = xml.tostring(suites, encoding="unicode", xml_declaration=True)
    write_whole(folder / JUNIT_FILE, text)


def _element(case: Case) -> xml.Element:
    file, _, name = case.test.partition("::")
    classname = file.removesuffix(".py").replace("/", ".")
    found = xml.Element("testcase", classname=classname, name=name, time=str(case.seconds))
    if case.status in _ELEMENTS:
        outcome = xml.SubElement(found, _ELEMENTS[case.status], message=_legal(case.reason))
        outcome.text = _legal(case.evidence)
    return found


def _legal(text: str) -> str:
    """Replace characters that XML 1.0 cannot have, such as those of a console's colours."""
    return "".join(each if each.isprintable() or each in "\n\t" else "\ufffd" for each in text)
