# SPDX-License-Identifier: GPL-2.0
"""The pages of comparisons and of checks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import page_parts
from test_pages import text_of

from testbed.check.result import Checked, Conversion, TrialResult
from testbed.pages.checkpage import write_check_site
from testbed.pages.comparepage import write_compare_site
from testbed.report.diff import Side, compare
from testbed.results.model import Case, Run, Status

SCRIPT = {"digest": {"1 map.errno": "0", "2 maps.vmas[0].offset": "1p"}}
OTHER = {"digest": {"1 map.errno": "0", "2 maps.vmas[0].offset": "<0p>"}}


def side(name: str, status: Status, facts: dict[str, dict[str, str]]) -> Side:
    cases = (
        Case(test="tests/a.py::test_a[x86_64-stack]", arch="x86_64", path="stack", status=status),
        Case(test="tests/a.py::test_b[x86_64-stack]", arch="x86_64", path="stack"),
    )
    cases = (cases[0], dataclasses.replace(cases[1], status=Status.PASS, reason=""))
    run = Run(name=f"run-{name}", command="c", started="t", cases=cases)
    return Side(name, run, {cases[1].test: facts})


def test_a_comparison_shows_both_observations(tmp_path: Path) -> None:
    base, new = side("base", Status.PASS, SCRIPT), side("new", Status.FAIL, OTHER)
    page = write_compare_site(tmp_path, compare(base, new))
    text = text_of(page)
    assert "1 broken, 1 changed facts Tests that were good on the base fail" in text
    assert "PASS → FAIL" in text
    assert "2 maps.vmas[0].offset 1p <0p>" in text
    assert "&lt;0p&gt;" in page.read_text()


def test_equal_sides_need_nothing(tmp_path: Path) -> None:
    same = side("base", Status.PASS, SCRIPT)
    text = text_of(write_compare_site(tmp_path, compare(same, same)))
    assert "No differences There is nothing to do: no program can see a difference." in text


def test_a_comparison_leads_to_the_pages_of_its_runs(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    broken = page_parts.broken_run(folder)
    good = dataclasses.replace(
        broken,
        name="elsewhere",
        cases=tuple(dataclasses.replace(case, status=Status.PASS) for case in broken.cases),
    )
    page = write_compare_site(tmp_path, compare(Side("base", good), Side("new", broken)))
    assert 'href="new/run/index.html"' in page.read_text()
    (failure,) = folder.glob("pages/*x86_64-pgoff-stack*")
    assert f'href="{failure.relative_to(tmp_path)}"' in page.read_text()


def checked(driver: str, *outcomes: TrialResult) -> Checked:
    return Checked(
        arch="x86_64",
        kernel="7.3.4",
        driver=driver,
        node="/dev/foo",
        base_mappings=("4 pages",),
        outcomes=outcomes,
    )


HOLDS = TrialResult(trial="mprotect", path="direct", facts={"1 map m FILE:.pgoff": "0x1"})
FAILS = TrialResult(
    trial="fork", path="stack", complaints=("close() was not called\nonce",), evidence="1 fork"
)
SKIPPED = TrialResult(trial="ksm", path="direct", skipped="the kernel has no KSM")


def test_a_check_shows_what_does_not_hold(tmp_path: Path) -> None:
    text = text_of(write_check_site(tmp_path, [checked("foo", HOLDS, FAILS, SKIPPED)]))
    assert "1 trial fails An invariant does not hold" in text
    assert "close() was not called fork on stack once evidence of the first 1 fork" in text
    assert "direct 1 0 1 stack 0 1 0" in text
    assert "the kernel has no KSM: ksm" in text


def test_a_conversion_shows_every_difference(tmp_path: Path) -> None:
    after = dataclasses.replace(HOLDS, facts={"1 map m FILE:.pgoff": "0x2"})
    found = [Conversion(checked("old", HOLDS), checked("new", after))]
    text = text_of(write_check_site(tmp_path, found))
    assert "1 difference Programs can see a difference between both versions" in text
    assert "1 map m FILE:.pgoff before 0x1 after 0x2 mprotect on direct" in text
    equal = [Conversion(checked("old", HOLDS), checked("new", HOLDS))]
    text = text_of(write_check_site(tmp_path, equal))
    assert "Everything holds There is nothing to do: no program can see a difference." in text
