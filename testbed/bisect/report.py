# SPDX-License-Identifier: GPL-2.0
"""The report of a bisection, and its files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

from testbed.bisect.history import BREAKAGE, FIX, Answer
from testbed.bisect.journal import JournalEntry, confidence
from testbed.bisect.search import Bisection
from testbed.bisect.symptom import Presence
from testbed.report.text import first_lines, table_row


def report_lines(bisection: Bisection, answer: Answer, *, whole: bool = True) -> list[str]:
    """Return in Markdown the answer, the evidence before and after it, and all steps with times.

    Unless `whole`, the evidence is cut to its first lines.
    """
    lines = [*_answer(bisection, answer), ""]
    if answer.first:
        lines += _evidence(bisection, answer.first, whole=whole)
    return [*lines, *_steps(bisection), "", *_confidence(bisection)]


def write_report(folder: Path, bisection: Bisection, answer: Answer) -> None:
    """Write bisect.md with the whole report, bisect.json, and git's bisect.log."""
    (folder / "bisect.md").write_text("\n".join(report_lines(bisection, answer)) + "\n")
    (folder / "bisect.log").write_text(answer.log)
    content = {
        "first": answer.first,
        "possible": answer.possible,
        "trouble": answer.trouble,
        "symptom": str(bisection.journal.symptom or ""),
        "steps": [dataclasses.asdict(step) for step in bisection.journal.steps],
    }
    (folder / "bisect.json").write_text(json.dumps(content, indent=1) + "\n")


def _answer(bisection: Bisection, answer: Answer) -> Iterator[str]:
    history = bisection.history
    new = (FIX if bisection.find_fix else BREAKAGE).new
    if answer.trouble:
        yield f"cannot search: {answer.trouble}"
    elif answer.first:
        yield f"first {new}: {history.label(answer.first)}: {history.title(answer.first)}"
        if not history.numbers:
            yield from ("", *(f"    {line}" for line in history.summary(answer.first).splitlines()))
    else:
        yield f"the first {new} one is among these; git skipped the untestable ones:"
        for commit in answer.possible:
            yield f"- {history.label(commit)}: {history.title(commit)}"


def _evidence(bisection: Bisection, first: str, *, whole: bool) -> Iterator[str]:
    history, journal = bisection.history, bisection.journal
    before = [journal.find(parent) for parent in history.parents(first)]
    for name, seen in (*(("before", seen) for seen in before), ("after", journal.find(first))):
        if seen is None:
            continue
        label = f"{history.label(seen.commit)} ({seen.title})"
        twin = f" (seen on {history.label(seen.same_as)}, the same kernel)" if seen.same_as else ""
        yield f"{name}: {label}: {seen.verdict}: {seen.reason}{twin}"
        if seen.evidence:
            text = seen.evidence if whole else first_lines(seen.evidence)
            yield from ("", *(f"    {line}".rstrip() for line in text.splitlines()), "")
    yield ""


def _steps(bisection: Bisection) -> Iterator[str]:
    yield "| | title | verdict | build s | run s | why |"
    yield "|---|---|---|---|---|---|"
    for step in bisection.journal.steps:
        label = bisection.history.label(step.commit)
        times = f"{step.build_seconds:.0f}", f"{step.run_seconds:.0f}"
        yield table_row((label, step.title, step.verdict, *times, _why(bisection, step)))


def _why(bisection: Bisection, step: JournalEntry) -> str:
    if step.same_as:
        return f"the same kernel as {bisection.history.label(step.same_as)}"
    tried = f" ({step.shown} of {step.shown + step.clean} runs)" if step.shown else ""
    return step.reason + (tried if bisection.repeat > 1 else "")


def _confidence(bisection: Bisection) -> Iterator[str]:
    """Yield the confidence in the answer, in case the symptom is intermittent."""
    steps = bisection.journal.steps
    bad = [step for step in steps if step.verdict is Presence.PRESENT and not step.same_as]
    shown, clean = sum(step.shown for step in bad), sum(step.clean for step in bad)
    if bisection.repeat > 1:
        yield (
            f"kernels with the symptom showed it in {shown} of {shown + clean} runs; the "
            f"probability that none of them passed by chance is at least {confidence(steps):.1%}"
        )
    elif bad:
        yield "each kernel ran once: use --repeat if the symptom is intermittent"
