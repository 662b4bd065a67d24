# SPDX-License-Identifier: GPL-2.0
"""A summary in Markdown, as $GITHUB_STEP_SUMMARY wants it, and GitHub's `::error` lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from testbed.formats.section import Section, shortened
from testbed.report.run import Tally, alike, headline, summary
from testbed.report.text import table_head, table_row
from testbed.results.model import Case, Run, Status

# GitHub shows a summary of at most 1 MiB: so many characters of evidence, and reasons of one run.
_EVIDENCE = 400_000
_REASONS = 30

_ERRORS = 10  # GitHub shows no more of a step


def markdown_text(sections: Sequence[Section]) -> str:
    """Return the verdict, the table of paths, and the unexpected results with their evidence."""
    return "\n".join(line for each in sections for line in _section(each, len(sections))) + "\n"


def annotations_text(sections: Sequence[Section]) -> str:
    """Return an `::error` line for each reason of unexpected results, for GitHub's runner."""
    groups = [(each.lane, group) for each in sections for group in alike(each.run.cases)]
    return "".join(f"{_error(lane, group)}\n" for lane, group in groups[:_ERRORS])


def _section(section: Section, sections: int) -> Iterator[str]:
    run = section.run
    yield f"## {_mark(run)} {section.name}: {headline(run.cases)}"
    yield ""
    for env in run.environments:
        source = " + ".join((env.source, *env.series))
        yield f"- {env.arch}: `{env.kernel}`, {env.flavour}, {env.accel}, {_escaped(source)}"
    yield ""
    yield from _table(run)
    yield ""
    yield from _reasons(run, sections)
    yield f"{summary(run)}; repeat: `{run.command}`"
    yield ""


def _mark(run: Run) -> str:
    good = run.cases and all(case.status.as_expected for case in run.cases)
    return ":white_check_mark:" if good else ":x:"


def _table(run: Run) -> Iterator[str]:
    tally = Tally.of(run.cases)
    arches = sorted(tally.arches)
    yield from table_head("path", *(arch or "any" for arch in arches))
    for row in (*tally.paths, *tally.others):
        cells = (_counts(tally.counts.get((row, arch), Counter())) for arch in arches)
        yield table_row([row, *cells])


def _counts(counts: Counter[Status]) -> str:
    return ", ".join(
        f"{counts[status]} {status.lower()}"
        if status.as_expected
        else f"**{counts[status]} {status.lower()}**"
        for status in Status
        if counts[status]
    )


def _reasons(run: Run, sections: int) -> Iterator[str]:
    """Yield each reason with the evidence of its first case, those with most cases first."""
    shown = max(3, _REASONS // sections)
    limit = _EVIDENCE // (shown * sections)
    groups = sorted(alike(run.cases), key=len, reverse=True)
    for group in groups[:shown]:
        case = group[0]
        head = f"{case.status} {case.test}{_and_more(group)}: {case.reason}"
        yield f"<details><summary>{_html(head)}</summary>"
        yield from ("", *_fenced(shortened(case.evidence or case.reason, limit)), "")
        yield from ("</details>", "")
    if len(groups) > shown:
        yield from (f"{len(groups) - shown} more reasons are in the files of the run.", "")


def _and_more(group: Sequence[Case]) -> str:
    return f" and {len(group) - 1} more" if len(group) > 1 else ""


def _fenced(text: str) -> tuple[str, str, str]:
    """Return a block of code whose fence is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text", text, fence


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _escaped(text: str) -> str:
    """Return text in which no character is Markdown."""
    return "".join(f"\\{each}" if each in "\\`*_[]<>|" else each for each in text)


def _error(lane: str, group: Sequence[Case]) -> str:
    case = group[0]
    title = " ".join(filter(None, (case.status, lane, case.test)))
    return f"::error title={_property(title)}::{_data(case.reason + _and_more(group))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
