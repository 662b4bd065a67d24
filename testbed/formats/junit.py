# SPDX-License-Identifier: GPL-2.0
"""JUnit XML as GitLab, GitHub's report actions and Jenkins read it.

GitLab reads 30 MB of a file, refuses a job with more than 250,000 XML objects, and shows only the
first of several tests with one class name and name: the class name begins with the lane.
"""

from __future__ import annotations

import xml.etree.ElementTree as xml
from collections.abc import Iterable, Sequence
from pathlib import Path

from testbed.files import write_whole
from testbed.formats.section import Section, dotted, files_of, shortened
from testbed.results.model import Case, Run, Status
from testbed.results.store import JUNIT_FILE

# The element that a case of each status has, and its type; an expected one has none.
_ELEMENTS = {
    Status.FAIL: ("failure", "failure"),
    Status.ERROR: ("error", "error"),
    Status.MISS: ("error", "miss"),
    Status.SKIP: ("skipped", "pytest.skip"),
    Status.XFAIL: ("skipped", "pytest.xfail"),
}

_COUNTS = {"failures": "failure", "errors": "error", "skipped": "skipped"}

# Characters of the evidence of one case, and of all cases of a file.
_EVIDENCE = 40_000
_EVIDENCE_OF_FILE = 15_000_000


def junit_text(sections: Sequence[Section]) -> str:
    """Return a file with a test suite for each section."""
    suites = xml.Element("testsuites")
    limit = min(_EVIDENCE, _EVIDENCE_OF_FILE // max(1, _unexpected(sections)))
    suites.extend([_suite(section, limit) for section in sections])
    return xml.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def write_junit(folder: Path, run: Run) -> None:
    """Write the file into the folder of a run."""
    write_whole(folder / JUNIT_FILE, junit_text([Section(run)]))


def _unexpected(sections: Iterable[Section]) -> int:
    return sum(not case.status.as_expected for each in sections for case in each.run.cases)


def _suite(section: Section, limit: int) -> xml.Element:
    run = section.run
    suite = xml.Element("testsuite", name=section.lane or "mmap-testbed", timestamp=run.started)
    suite.set("time", str(run.seconds))
    suite.set("tests", str(len(run.cases)))
    for attribute, element in _COUNTS.items():
        tags = (_ELEMENTS.get(case.status, ("", ""))[0] for case in run.cases)
        suite.set(attribute, str(sum(tag == element for tag in tags)))
    suite.extend([_element(section, case, limit) for case in run.cases])
    return suite


def _element(section: Section, case: Case, limit: int) -> xml.Element:
    file, _, name = case.test.partition("::")
    classname = f"{section.lane}.{dotted(file)}".removeprefix(".")
    found = xml.Element("testcase", classname=classname, name=name, file=file)
    found.set("time", str(case.seconds))
    if case.status in _ELEMENTS:
        tag, kind = _ELEMENTS[case.status]
        outcome = xml.SubElement(found, tag, message=_legal(case.reason), type=kind)
        outcome.text = _legal(shortened(case.evidence, limit))
    if links := [f"[[ATTACHMENT|{_relative(path)}]]" for path in files_of(case)]:
        xml.SubElement(found, "system-out").text = "\n".join(links)
    return found


def _relative(path: str) -> str:
    """Return a path as GitLab wants it: below the folder of the job, which is the current one."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _legal(text: str) -> str:
    """Replace characters that XML 1.0 cannot have, such as those of a console's colours."""
    return "".join(each if each.isprintable() or each in "\n\t" else "\ufffd" for each in text)
