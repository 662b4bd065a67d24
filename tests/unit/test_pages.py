# SPDX-License-Identifier: GPL-2.0
"""The pages of a run: what they say, and what they are made from."""

from __future__ import annotations

import dataclasses
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import page_parts
import pytest

from testbed.mmap.observation import Observation, parse_observation
from testbed.mmap.path import HookPath
from testbed.mmap.script import Script
from testbed.pages.consolelog import read_console
from testbed.pages.failurepage import bisect_command, complaint, hook_logs
from testbed.pages.heatmap import table
from testbed.pages.overview import todo
from testbed.pages.runpages import write_run_site
from testbed.pages.sidebyside import label, side_by_side
from testbed.pages.unexpected import Failures, page_path
from testbed.pages.vmalayout import layout_of
from testbed.results.model import Case, Run, Status


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that failed, with its pages."""
    folder = tmp_path_factory.mktemp("results") / "2026-11-30T09-31-00"
    page_parts.broken_run(folder)
    assert write_run_site(folder) == folder / "index.html"
    return folder


class _Words(HTMLParser):
    """The text of a page, without its scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._silent = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent = tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._silent = False

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words += data.split()


def text_of(page: Path) -> str:
    parser = _Words()
    parser.feed(page.read_text())
    return " ".join(parser.words)


def failing(run: Run) -> Case:
    test = f"{page_parts.FILE}::test_scenario[x86_64-pgoff-stack]"
    return next(case for case in run.cases if case.test == test)


def seen(path: HookPath, first: int) -> Observation:
    script, facts = page_parts.observed(path, first)
    return parse_observation(Script(script.splitlines()), facts, "ended")


BOTH = [seen(HookPath.DIRECT, 1), seen(HookPath.STACK, 0)]


def test_the_first_words_say_what_is_to_be_done(site: Path) -> None:
    text = text_of(site / "index.html")
    assert "Results Guarantees Hooks 6 unexpected results: 4 FAIL, 2 MISS" in text
    assert "The kernel misbehaved." in text
    assert "testbed run --continue 2026-11-30T09-31-00" in text


def test_a_run_as_expected_says_that_there_is_nothing_to_do(tmp_path: Path) -> None:
    page_parts.broken_run(tmp_path, failing=False)
    text = text_of(write_run_site(tmp_path))
    assert "All results are as expected There is nothing to do." in text
    assert not list(tmp_path.glob("pages/*test_scenario*"))


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        ([], ["No test ran."]),
        ([Status.PASS], ["There is nothing to do."]),
        ([Status.PASS, Status.FIXED], ["A recorded defect did not show:"]),
        ([Status.MISS, Status.FAIL], ["The kernel misbehaved.", "The host or the testbed"]),
        ([Status.ERROR, Status.FIXED], ["A test itself broke,", "A recorded defect did not show:"]),
    ],
)
def test_what_is_to_be_done_depends_on_the_results(
    statuses: list[Status], words: list[str]
) -> None:
    cases = tuple(Case(test=f"t{n}", status=status) for n, status in enumerate(statuses))
    lines = list(todo(Run(name="r", command="c", started="t", cases=cases)))
    assert len(lines) == len(words)
    assert all(line.startswith(word) for line, word in zip(lines, words, strict=True))


def test_only_what_is_not_as_expected_has_a_page(site: Path) -> None:
    names = [path.name for path in (site / "pages").glob("*test_*")]
    assert len(names) == 6
    assert all("pgoff" in name or "-c-" in name for name in names)


def test_text_of_a_kernel_is_not_markup(site: Path) -> None:
    assert "QEMU &lt;ended&gt;" in (site / "index.html").read_text()
    console = (site / "pages" / "console-vm-arm64-1.html").read_text()
    assert "afterwards &lt;b&gt;bold" in console


def test_the_page_of_a_failure_has_all_that_helps(site: Path) -> None:
    text = text_of(site / page_path(f"{page_parts.FILE}::test_scenario[x86_64-pgoff-stack]"))
    for part in (
        "FAIL test_scenario[x86_64-pgoff-stack]",
        "desc.pgoff on entry: expected 0x1, seen 0x0 (guarantee 12)",
        "guarantee 12: pgoff is the offset in pages",
        "prepare.pgoff 1p 0p",
        "9 mmap node=mmap_stack#15 pgoff=0x1",
        "WARNING in __mmap_region",
        "scripts/test 'tests/vm/contract/test_oracle.py::test_scenario[x86_64-pgoff-stack]'",
        "testbed bisect --arch x86_64 --flavour base --tree TREE --good GOOD --bad BAD",
        "lines 2 to 6 of the console",
        "1 other tests failed for the same reason",
    ):
        assert part in text, part


def test_a_run_that_was_moved_still_finds_its_files(site: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(site, tmp_path / "moved")
    text = text_of(write_run_site(moved).parent / _page())
    assert "WARNING in __mmap_region" in text


def _page() -> str:
    return page_path(f"{page_parts.FILE}::test_scenario[x86_64-pgoff-stack]")


def test_a_page_fetches_nothing(site: Path) -> None:
    for page in site.rglob("*.html"):
        found = re.findall(
            r"(?:src|href|url\()=?[\"']?((?:https?:)?//[^\"')\s]+)", page.read_text()
        )
        assert found == [], page


def test_pages_are_small(site: Path) -> None:
    sizes = {page.name: page.stat().st_size for page in site.rglob("*.html")}
    assert max(sizes.values()) < 150_000, sizes


def test_a_broken_kernel_does_not_get_thousands_of_pages() -> None:
    cases = [Case(test=f"t{n}", status=Status.FAIL, reason=f"r{n % 5}") for n in range(4000)]
    found = Failures(cases)
    assert len(found.shown) == 300
    assert len(set(found.paths.values())) == 300
    assert found.paths["t3999"] == page_path("t4")
    assert len(found.paths) == 4000


def test_the_worst_reasons_come_first() -> None:
    cases = [
        Case(test="a", status=Status.MISS, reason="host"),
        Case(test="b", status=Status.MISS, reason="host"),
        Case(test="c", status=Status.FAIL, reason="rare"),
        Case(test="d", status=Status.FAIL, reason="often"),
        Case(test="e", status=Status.FAIL, reason="often"),
    ]
    assert [reason.text for reason in Failures(cases).reasons] == ["often", "rare", "host"]


# Both observations beside each other


def test_only_the_fields_that_differ_are_marked() -> None:
    different = {
        (step.line, row.where): row.values for step in side_by_side(BOTH) for row in step.different
    }
    assert different == {
        ("hooklog stack", "mmap"): ("\u2013", "called"),
        ("hooklog stack", "prepare.pgoff"): ("1p", "0p"),
        ("read m all", "pages[0].content"): ("pool:1", "pool:0"),
        ("read m all", "pages[1].content"): ("pool:2", "pool:1"),
        ("read m all", "pages[2].content"): ("pool:3", "pool:2"),
        ("read m all", "pages[3].content"): ("zero", "\u2013"),
        ("read m all", "pages[3].result"): ("ok", "SIGBUS"),
    }


def test_equal_observations_have_no_difference() -> None:
    steps = side_by_side([BOTH[0], BOTH[0]])
    assert steps
    assert not any(step.different for step in steps)


@pytest.mark.parametrize("path", list(HookPath))
def test_a_script_shows_its_path(path: HookPath) -> None:
    assert label(seen(path, 1), 7) == path


def test_another_script_has_a_number() -> None:
    assert label(Observation("open f /dev/zero\n", "", {}), 7) == "script 7"


# The picture of the mapping


def test_the_picture_shows_the_mapping_before_and_after() -> None:
    layout = layout_of([("direct", BOTH[0]), ("stack", BOTH[1])])
    assert layout is not None
    assert [row.name for row in layout.rows] == ["before", "direct", "stack"]
    before, direct, stack = layout.rows
    assert [(box.start, box.end, box.text) for box in before.vmas] == [(0, 2, "early")]
    assert [(box.start, box.end, box.text) for box in direct.vmas] == [(0, 4, "rw-s pgoff 0x14")]
    assert [page.content for page in stack.pages] == ["pool:0", "pool:1", "pool:2", "SIGBUS"]
    assert [page.odd for page in stack.pages] == [True] * 4
    assert [page.odd for page in direct.pages] == [False] * 4
    assert (layout.pages, layout.x(1)) == (4, 96)


def test_a_mapping_that_fails_is_a_note() -> None:
    script, facts = page_parts.observed(HookPath.DIRECT, 1)
    facts = facts.replace('"name": "m", "errno": 0, "addr": "0x7f0000000000", ', '"name": "m", ')
    facts = facts.replace('"name": "m", "len"', '"name": "m", "error": "ENXIO", "len"')
    failed = parse_observation(Script(script.splitlines()), facts, "ended")
    layout = layout_of([("direct", failed)])
    assert layout is not None
    assert layout.rows[-1].note == "mmap failed: ENXIO"


def test_without_a_mapping_there_is_no_picture() -> None:
    assert layout_of([("script 1", Observation("env\n", "", {}))]) is None


# Consoles, evidence, promises


def test_splats_are_marked_in_the_console(site: Path) -> None:
    log = read_console(site / "vm-x86_64-1" / "console.log")
    assert log is not None
    (mark,) = log.marked
    assert (mark.splat.title, mark.first, mark.last) == ("WARNING in __mmap_region", 2, 6)
    assert [line.number for line in log.shown() if line.splat] == [2, 3, 4, 5, 6]


def test_a_long_console_keeps_its_splats_and_its_end(tmp_path: Path) -> None:
    (tmp_path / "console.log").write_text(page_parts.CONSOLE + "noise\n" * 6000)
    log = read_console(tmp_path / "console.log")
    assert log is not None
    numbers = [line.number for line in log.shown()]
    assert numbers[:5] == [2, 3, 4, 5, 6]
    assert len(numbers) == 4005
    assert read_console(tmp_path / "nowhere") is None


def test_evidence_is_read_without_the_code_of_the_test(site: Path) -> None:
    case = failing(page_parts.broken_run(site.parent / "again"))
    lines = complaint(case).splitlines()
    assert lines[0] == "pgoff on stack: desc.pgoff on entry is 0x0, not 0x1"
    assert lines[-1] == "1 hooklog.0 prepare.pgoff  1p | 0p"
    assert [(log.path, len(log.lines)) for log in hook_logs(case)] == [("stack", 2), ("direct", 1)]


def test_a_kernel_that_does_not_boot_shows_its_console(tmp_path: Path) -> None:
    page_parts.broken_run(tmp_path, failing=False)
    evidence = f"BootPanic: it panicked\nlog: /elsewhere/{tmp_path.name}/vm-arm64-1/console.log"
    case = Case(test="a", status=Status.MISS, reason="it panicked", evidence=evidence)
    run = Run(name="r", command="c", started="t", cases=(case,))
    write_run_site(tmp_path, run)
    assert "WARNING in __mmap_region" in text_of(tmp_path / page_path("a"))


@pytest.mark.parametrize(
    ("options", "command"),
    [
        ("--arch arm64 --kernel debian:7.3", "--arch arm64 --tree TREE --good GOOD --bad BAD t"),
        ("--kernel tree:/linux@topic", "--tree /linux --good GOOD --bad topic t"),
        ("--kernel debian --series 'a b'", "--kernel debian --series 'a b' t"),
    ],
)
def test_the_bisect_command_names_what_is_known(options: str, command: str) -> None:
    case = Case(test="t", evidence=f"rerun: scripts/test t {options}")
    assert bisect_command(case) == f"testbed bisect {command}"


def test_a_promise_shows_its_worst_result_and_leads_to_it() -> None:
    one = Case(test="a", arch="arm64", path="stack", guarantees=(12,), status=Status.PASS)
    cases = [one, dataclasses.replace(one, test="b", status=Status.FAIL)]
    lines = {line.guarantee.number: line for line in table(cases, ["arm64"], {"b": "pages/b.html"})}
    heat = lines[12].cells[1][0]
    assert (heat.kind, heat.link) == ("fail", "pages/b.html")
    assert heat.title == "12 on stack, arm64: 1 fail, 1 pass"
    assert lines[12].worst == "fail"
    assert lines[12].cells[0][0].kind == "none"
    assert lines[12].cells[6][0].kind == "na"  # legacy
