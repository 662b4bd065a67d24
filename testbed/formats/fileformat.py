# SPDX-License-Identifier: GPL-2.0
"""The table of formats. A new format is one more entry; `testbed report` has an option for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from testbed.formats.junit import junit_text
from testbed.formats.kcidb import kcidb_text
from testbed.formats.ktap import ktap_text
from testbed.formats.markdown import annotations_text, markdown_text
from testbed.formats.section import Section


@dataclass(frozen=True)
class Format:
    """A file format for the results of runs."""

    name: str  # of the option
    about: str  # ends "Write ..."
    text: Callable[[Sequence[Section]], str]


FORMATS = (
    Format("junit", "JUnit XML, for GitLab and Jenkins", junit_text),
    Format("ktap", "KTAP, as the kernel's own tests print", ktap_text),
    Format("kcidb", "a KCIDB 5.3 report, for KernelCI", kcidb_text),
    Format("markdown", "a summary in Markdown, for $GITHUB_STEP_SUMMARY", markdown_text),
    Format("annotations", "`::error` lines, for GitHub's log of a job", annotations_text),
)
