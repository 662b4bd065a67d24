# SPDX-License-Identifier: GPL-2.0
"""The first page of a run: what is to be done, the table of paths, and what is not green."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from testbed.pages.runsite import RunSite
from testbed.pages.site import INDEX, Page
from testbed.report.run import Tally, headline, summary
from testbed.results.model import Case, Run, Status

_TODO = {
    Status.FAIL: "The kernel misbehaved. The page of a failure shows what to do next.",
    Status.ERROR: "A test itself broke, which says nothing about the kernel. Report it.",
    Status.MISS: "The host or the testbed kept tests from running. Mend the cause, and continue.",
}
_NO_TEST = "No test ran. The terminal, or the log of the job, shows why."
_NOTHING = "There is nothing to do."
_FIXED = "A recorded defect did not show: it may be fixed in this kernel."


@dataclass(frozen=True)
class Alike:
    """Results that are no news: those of one recorded defect, or of one reason to skip."""

    name: str
    cases: tuple[Case, ...]

    @property
    def places(self) -> str:
        """Architectures and paths, with the number of cases."""
        counts = Counter(f"{case.arch} {case.path}".strip() or case.row for case in self.cases)
        return ", ".join(f"{place} ({count})" for place, count in counts.items())


def pages(site: RunSite) -> Iterator[Page]:
    run, tally = site.run, Tally.of(site.run.cases)
    values = {
        "run": run,
        "failures": site.failures,
        "good": bool(run.cases) and not site.failures.reasons,
        "headline": headline(run.cases),
        "todo": list(todo(run)),
        "again": f"testbed run --continue {run.name}",
        "summary": summary(run),
        "tally": tally,
        "arches": sorted(tally.arches),
        "statuses": list(Status),
        "defects": _by_name(run.cases, Status.XFAIL),
        "fixed": _by_name(run.cases, Status.FIXED),
        "skips": _alike((case.reason, case) for case in run.cases if case.status is Status.SKIP),
        "files": [path.name for path in sorted(site.folder.iterdir()) if path.is_file()],
    }
    yield Page(INDEX, "run.html", f"{run.name}: {headline(run.cases)}", values)


def todo(run: Run) -> Iterator[str]:
    """Yield what a person should do, the most urgent first."""
    found = {case.status for case in run.cases}
    if not run.cases:
        yield _NO_TEST
    yield from (text for status, text in _TODO.items() if status in found)
    if Status.FIXED in found:
        yield _FIXED
    elif found and not found & _TODO.keys():
        yield _NOTHING


def _by_name(cases: Iterable[Case], status: Status) -> list[Alike]:
    """Return the cases of each recorded defect."""
    return _alike((case.reason.partition(":")[0], case) for case in cases if case.status is status)


def _alike(named: Iterable[tuple[str, Case]]) -> list[Alike]:
    groups: dict[str, list[Case]] = {}
    for name, case in named:
        groups.setdefault(name or "no reason", []).append(case)
    found = [Alike(name, tuple(cases)) for name, cases in groups.items()]
    return sorted(found, key=lambda each: len(each.cases), reverse=True)
