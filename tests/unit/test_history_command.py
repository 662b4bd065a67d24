# SPDX-License-Identifier: GPL-2.0
"""`testbed history`: the past of a test, accepted facts, runs that are added, files that go."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from history_parts import FAIL, LANE, PASS, XFAIL, Nights, case
from result_parts import environment

from testbed.cli import cli
from testbed.errors import SetupError
from testbed.history import cells
from testbed.history.database import history_url, opened_history
from testbed.history.importing import content_of, is_partial, lane_of
from testbed.results.model import Run, Status
from testbed.results.store import append_facts, write_run
from testbed.settings import Settings

TEST = "tests/vm/contract/test_oracle.py::test_scenario[x86_64-pgoff-stack]"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data directory, which is empty."""
    for name in ("CONFIG", "CACHE", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    return tmp_path / "DATA/mmap-testbed"


@pytest.fixture
def nights(data: Path) -> Iterator[Nights]:
    """Nights of the user's own history, which commands may hold meanwhile."""
    with opened_history(history_url(Settings(data_dir=data))) as history:
        yield Nights(history)


def command(*words: str) -> Result:
    return CliRunner().invoke(cli, ["history", *words], catch_exceptions=True)


def shown(*words: str) -> str:
    done = command(*words)
    assert done.exception is None, done.exception
    return done.output


def refused(*words: str) -> SetupError:
    error = command(*words).exception
    assert isinstance(error, SetupError)
    return error


def test_the_past_of_a_test_is_shown_in_words_and_letters(nights: Nights) -> None:
    nights.add_statuses({TEST: PASS}, {TEST: XFAIL}, {"other": PASS}, {TEST: FAIL}, {TEST: FAIL})
    assert shown("pgoff-stack").splitlines() == [
        TEST,
        f"  {LANE.key}",
        "  .x-FF",
        "  bad since night-4 (7.3.4), last good in night-2 (7.3.2)",
        "  bad in 2 of the last 4 (15% to 85%)",
        "  pgoff is X, not X",
        ". pass, F fail, E error, x known defect, f fixed defect, M missing result, s skip, "
        "B both outcomes, - not run",
    ]


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        ([PASS, PASS], "never bad in 2 results, the last in night-2 (7.3.2)"),
        ([FAIL], "bad since night-1 (7.3.1)"),
        (
            [PASS, FAIL, FAIL, PASS, PASS],
            "good since night-4 (7.3.4), bad from night-2 (7.3.2) on, last good in night-1 (7.3.1)",
        ),
    ],
)
def test_the_words_say_since_when(nights: Nights, statuses: list[Status], words: str) -> None:
    nights.add_statuses(*({"a": status} for status in statuses))
    assert f"  {words}\n" in shown("a")


def test_a_flaky_test_is_called_so(nights: Nights) -> None:
    nights.add_statuses({"a": PASS}, {"a": FAIL}, {"a": PASS}, {"a": FAIL})
    assert "bad in 2 of the last 4 (15% to 85%), flaky" in shown("a")


def test_the_past_is_shown_as_json(nights: Nights) -> None:
    nights.add_statuses({"a": PASS}, {"a": FAIL})
    (past,) = json.loads(shown("show", "a", "--json"))
    assert past["test"] == "a"
    assert past["lanes"][0]["lane"] == LANE.key
    assert [each["status"] for each in past["lanes"][0]["results"]] == ["PASS", "FAIL"]
    assert past["lanes"][0]["results"][1]["kernel"] == "7.3.2"
    assert json.loads(shown("--json", "a")) == [past]


def test_one_that_is_named_in_full_is_shown_alone(nights: Nights) -> None:
    nights.add_statuses({"test_a": PASS, "test_a_too": PASS})
    assert "test_a_too" not in shown("test_a")
    assert "test_a_too" in shown("test_")


def test_an_unknown_test_is_refused(nights: Nights) -> None:
    nights.add_statuses({"a": PASS})
    assert "no test 'b'" in refused("b").message


def test_a_pattern_that_is_too_wide_is_refused(nights: Nights) -> None:
    nights.add_statuses({f"a{number}": PASS for number in range(21)})
    error = refused("a")
    assert error.message == "21 tests match 'a'"
    assert error.evidence.startswith("a0\na1\na10\n")


def test_a_history_that_is_absent_is_not_made(data: Path) -> None:
    assert "there is no history in" in refused("a").message
    assert not (data / "history.sqlite").exists()


def complete(*words: str) -> list[str]:
    found = ShellComplete(cli, {}, "testbed", "_TESTBED_COMPLETE")
    return [item.value for item in found.get_completions(["history", *words[:-1]], words[-1])]


def test_tests_and_lanes_are_completed(nights: Nights) -> None:
    nights.add(case("a"), facts={"a": {"s": {"x": "1"}}})
    nights.add(case("a"), facts={"a": {"s": {"x": "2"}}})
    assert complete("show", "") == ["a"]
    assert complete("accept", "a", "--lane", "night") == [LANE.key]
    assert complete("accept", "a", "--lane", "other") == []


def test_nothing_is_completed_without_a_history(data: Path) -> None:
    assert complete("show", "") == []
    assert not (data / "history.sqlite").exists()


def test_changed_facts_are_accepted_with_a_reason(nights: Nights) -> None:
    other = dataclasses.replace(LANE, stream="debian:7.2")
    for value in ("1", "2"):
        nights.add(case("a"), case("b"), facts={name: {"s": {"x": value}} for name in "ab"})
        nights.add(case("a"), facts={"a": {"s": {"x": value}}}, lane=other, same_night=True)
    assert refused("accept", "c", "--reason", "r").hint == "3 others do"
    assert shown("accept", "a", "--lane", "7.2", "--reason", "r") == f"accepted a in {other.key}\n"
    assert {(found.test, found.lane) for found in nights.findings()} == {("a", LANE), ("b", LANE)}
    assert shown("accept", "*", "--reason", "r").count("accepted") == 2
    assert nights.findings() == []
    assert refused("accept", "a", "--reason", "r").hint == "none do at all"


def test_a_reason_is_required(nights: Nights) -> None:
    assert command("accept", "a").exit_code == 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a run on two architectures."""
    folder = tmp_path / "2026-11-30T01-02-03"
    folder.mkdir()
    arm = dataclasses.replace(case("b", FAIL), arch="arm64")
    run = Run(
        name=folder.name,
        command="testbed run --kernel debian:7.3",
        started="2020-01-01T00:00:00+00:00",
        environments=(environment("x86_64"), environment("arm64")),
        cases=(case("a"), arm),
    )
    write_run(folder, run)
    append_facts(folder, "a", {"s": {"x": "1"}})
    return folder


def test_a_run_is_added_once_with_its_files(data: Path, folder: Path) -> None:
    lines = shown("import", str(folder)).splitlines()
    assert lines == [
        f"added {folder.name}: debian:7.3 a.patch x86_64 base clone tcg",
        f"added {folder.name}: debian:7.3 a.patch arm64 base clone tcg",
    ]
    again = shown("import", str(folder)).splitlines()
    assert again == [line.replace("added", "known") for line in lines]
    with opened_history(history_url(Settings(data_dir=data))) as history, history.read() as db:
        first, second = cells.newest_cells(db)
    assert first.artifact == second.artifact
    assert len(list((data / "artifacts").rglob("*.tar.zst"))) == 1
    assert "never bad in 1 results" in shown("a")


def test_a_folder_without_a_run_is_refused(data: Path, tmp_path: Path) -> None:
    assert "there is no run in" in refused("import", str(tmp_path)).message


RUN = Run(name="r", command="testbed run", started="s", environments=(environment(),))


@pytest.mark.parametrize(
    ("words", "partial"),
    [
        ("testbed run", False),
        ("testbed run -k stack", True),
        ("testbed run --quick", True),
        ("testbed run --kernel '", False),
    ],
)
def test_a_run_of_some_tests_is_partial(words: str, partial: bool) -> None:
    assert is_partial(dataclasses.replace(RUN, command=words)) is partial


def test_a_run_that_left_tests_out_is_partial() -> None:
    assert is_partial(dataclasses.replace(RUN, left_out="12 tests"))


@pytest.mark.parametrize(
    ("words", "stream"),
    [
        ("testbed run --kernel debian:7.2 -k a", "debian:7.2"),
        ("testbed run --kernel=debian:7.2", "debian:7.2"),
        ("testbed run", "linux-source-7.3"),
    ],
)
def test_the_stream_of_a_run_is_the_kernel_that_was_asked_for(words: str, stream: str) -> None:
    assert lane_of(dataclasses.replace(RUN, command=words), environment()).stream == stream


def test_equal_experiments_have_equal_contents() -> None:
    same = dataclasses.replace(environment(), build_seconds=1.0)
    assert content_of(RUN, environment()) == content_of(RUN, same)
    other = dataclasses.replace(environment(), qemu="11.0")
    assert content_of(RUN, environment()) != content_of(RUN, other)
    more = dataclasses.replace(RUN, cases=(case("a"),))
    assert content_of(RUN, environment()) != content_of(more, environment())


def test_old_files_are_removed_and_results_stay(data: Path, folder: Path, tmp_path: Path) -> None:
    shown("import", str(folder))
    for number in range(3):
        later = tmp_path / f"later-{number}"
        later.mkdir()
        run = Run(
            name=later.name,
            command="testbed run --kernel debian:7.3",
            started="2020-01-01T00:00:00+00:00",
            environments=(environment("x86_64"),),
            cases=(case("a"),),
        )
        write_run(later, run)
        shown("import", str(later))
    assert shown("prune").startswith("removed the files of 1 cells: 0.0 MB")
    assert shown("prune", "--green", "5000").startswith("removed the files of 0 cells")
    assert len(list((data / "artifacts").rglob("*.tar.zst"))) == 3
    assert "never bad in 4 results" in shown("a")
