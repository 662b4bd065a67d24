# SPDX-License-Identifier: GPL-2.0
"""The exit status of a run, its folder and its files."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path

import pytest
import result_parts
from host_parts import largest_file

from testbed.check.reached import reached_recipes
from testbed.coverage.ranby import hunks_of_tests
from testbed.errors import InfraError, SetupError
from testbed.nightly.night import ORDER_FILE, read_order
from testbed.report.burned import read_burn_down
from testbed.report.hooks import read_hooks
from testbed.results.model import Case, Run, Status, exit_status, worst
from testbed.results.store import (
    CASES_FILE,
    FACTS_FILE,
    IDENTITY_FILE,
    RESULT_FILE,
    append_case,
    append_facts,
    environment_from,
    mend,
    new_run_dir,
    read_cases,
    read_facts,
    read_run,
    remove_run_dir,
    write_run,
)
from testbed.suite.continued import read_identity


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ([Status.PASS, Status.XFAIL, Status.FIXED, Status.SKIP], 0),
        ([Status.PASS, Status.FAIL, Status.MISS], 1),
        ([Status.PASS, Status.MISS], 3),
        ([Status.PASS, Status.ERROR], 3),
        ([], 3),
        ([Status.SKIP], 3),
    ],
    ids=["as-expected", "kernel-misbehaved", "host-broke", "test-broke", "no-test", "all-skipped"],
)
def test_the_exit_status_says_who_is_to_blame(statuses: list[Status], status: int) -> None:
    cases = [Case(test=f"t{n}", status=one) for n, one in enumerate(statuses)]
    assert exit_status(cases) == status


def test_a_case_without_evidence_does_not_pass() -> None:
    assert not Case(test="t").status.as_expected


def test_the_worst_status_stands_for_several() -> None:
    assert worst([Status.PASS, Status.XFAIL, Status.ERROR]) is Status.ERROR


def test_each_run_gets_its_own_folder_and_latest_is_the_newest(tmp_path: Path) -> None:
    first, second = new_run_dir(tmp_path), new_run_dir(tmp_path)
    assert first != second
    assert (tmp_path / "latest").resolve() == second


def test_a_run_is_written_whole(tmp_path: Path) -> None:
    case = Case(test="tests/vm/test_a.py::test_b[arm64-stack]", status=Status.PASS, arch="arm64")
    write_run(tmp_path, Run(name="r", command="testbed run", started="now", cases=(case,)))
    content = json.loads((tmp_path / "result.json").read_text())
    assert content["cases"][0]["status"] == "PASS"
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert case.name == "test_b"


def test_the_users_options_are_part_of_a_result(tmp_path: Path) -> None:
    environment = dataclasses.replace(
        result_parts.environment(),
        config=("/a.config",),
        cmdline="nokaslr",
        qemu_argv=("-device", "edu"),
    )
    write_run(tmp_path, Run(name="r", command="c", started="t", environments=(environment,)))
    assert read_run(tmp_path).environments == (environment,)


def test_an_older_result_has_no_options() -> None:
    values = dataclasses.asdict(result_parts.environment())
    for name in ("config", "cmdline", "qemu_argv"):
        del values[name]
    assert environment_from(values).options == ""


def some_case(number: int) -> Case:
    return Case(test=f"t{number}", guarantees=(3,), reaches=("a by b",), status=Status.PASS)


def some_facts(number: int) -> dict[str, dict[str, str]]:
    return {"script": {f"{number} place {each}": f"value {each}" for each in range(50)}}


def filled(folder: Path, count: int = 3) -> Path:
    for number in range(count):
        append_case(folder, some_case(number))
        append_facts(folder, f"t{number}", some_facts(number))
    return folder


def test_cases_and_facts_are_read_as_they_were_appended(tmp_path: Path) -> None:
    filled(tmp_path)
    assert read_cases(tmp_path) == [some_case(number) for number in range(3)]
    assert read_facts(tmp_path) == {f"t{number}": some_facts(number) for number in range(3)}


def test_a_folder_without_cases_has_none(tmp_path: Path) -> None:
    assert read_cases(tmp_path) == []
    mend(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [CASES_FILE, FACTS_FILE])
def test_a_run_killed_at_any_byte_keeps_all_entries_before_it(tmp_path: Path, name: str) -> None:
    filled(tmp_path, 2)
    file = tmp_path / name
    two = file.stat().st_size
    filled(tmp_path, 1)
    whole = file.read_bytes()
    for size in range(two, len(whole)):
        file.write_bytes(whole[:size])
        mend(tmp_path)
        assert file.stat().st_size == two, size
    file.write_bytes(whole)
    mend(tmp_path)
    assert file.read_bytes() == whole


def test_a_torn_entry_does_not_spoil_what_is_appended_later(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    for name in (CASES_FILE, FACTS_FILE):
        with (tmp_path / name).open("ab") as file:
            file.write((tmp_path / name).read_bytes()[:-9])
    assert [case.test for case in read_cases(tmp_path)] == ["t0"]
    mend(tmp_path)
    append_case(tmp_path, some_case(7))
    append_facts(tmp_path, "t7", some_facts(7))
    assert [case.test for case in read_cases(tmp_path)] == ["t0", "t7"]
    assert list(read_facts(tmp_path)) == ["t0", "t7"]


def test_facts_that_are_longer_than_a_chunk_are_kept(tmp_path: Path) -> None:
    noise = {"s": {str(each): str(hash((each, "x"))) for each in range(20_000)}}
    append_facts(tmp_path, "t", noise)
    append_facts(tmp_path, "u", noise)
    size = (tmp_path / FACTS_FILE).stat().st_size
    assert size > 2 * (1 << 16)
    mend(tmp_path)
    assert (tmp_path / FACTS_FILE).stat().st_size == size


def test_facts_of_earlier_versions_can_be_mended(tmp_path: Path) -> None:
    with gzip.open(tmp_path / FACTS_FILE, "at") as file:
        file.write(json.dumps({"test": "t", "facts": {}}) + "\n")
    mend(tmp_path)
    assert read_facts(tmp_path) == {"t": {}}


def test_cases_that_are_no_cases_are_an_error(tmp_path: Path) -> None:
    for text in ('{"test": "t"}\n', "[]\n", "\n", '{"test"\n'):
        (tmp_path / CASES_FILE).write_text(text)
        with pytest.raises(SetupError, match=r"cases\.jsonl cannot be read"):
            read_cases(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "5", "null", '"x"', "[null]", "[" * 100_000])
def test_files_of_another_kind_are_an_error(tmp_path: Path, text: str) -> None:
    for name in (RESULT_FILE, IDENTITY_FILE, ORDER_FILE, "coverage.json", "check.json"):
        (tmp_path / name).write_text(text)
    (tmp_path / FACTS_FILE).write_bytes(gzip.compress(f"{text}\n".encode()))
    for read in (read_run, read_identity, read_order, hunks_of_tests, read_facts):
        with pytest.raises(SetupError):
            read(tmp_path)
    with pytest.raises(SetupError, match="is not the result of a check"):
        reached_recipes(tmp_path / "check.json")
    assert read_burn_down(tmp_path) is None
    assert read_hooks(tmp_path) == ()


def test_facts_that_are_damaged_are_an_error(tmp_path: Path) -> None:
    filled(tmp_path)
    content = bytearray((tmp_path / FACTS_FILE).read_bytes())
    content[12:20] = b"\xff" * 8
    (tmp_path / FACTS_FILE).write_bytes(content)
    with pytest.raises(SetupError, match=r"facts\.jsonl\.gz cannot be read"):
        read_facts(tmp_path)


def test_on_a_full_disk_nothing_that_was_kept_is_lost(tmp_path: Path) -> None:
    filled(tmp_path)
    sizes = [(tmp_path / name).stat().st_size for name in (CASES_FILE, FACTS_FILE)]
    with largest_file(min(sizes) + 10):
        with pytest.raises(InfraError, match=r"cannot write .*cases\.jsonl: File too large"):
            append_case(tmp_path, some_case(3))
        with pytest.raises(InfraError, match=r"cannot write .*facts\.jsonl\.gz: File too large"):
            append_facts(tmp_path, "t3", some_facts(3))
    assert len(read_cases(tmp_path)) == 3
    assert len(read_facts(tmp_path)) == 3


def test_a_folder_without_results_goes_with_the_link_to_it(tmp_path: Path) -> None:
    folder = new_run_dir(tmp_path)
    (folder / IDENTITY_FILE).write_text("{}")
    remove_run_dir(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_a_case_stays_with_its_identity(tmp_path: Path) -> None:
    folder = new_run_dir(tmp_path)
    (folder / IDENTITY_FILE).write_text("{}")
    append_case(folder, some_case(1))
    remove_run_dir(folder)
    assert {path.name for path in folder.iterdir()} == {IDENTITY_FILE, CASES_FILE}
