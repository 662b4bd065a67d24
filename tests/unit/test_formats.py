# SPDX-License-Identifier: GPL-2.0
"""Results as other tools read them. Each format is read back by a reader that is not ours."""

from __future__ import annotations

import dataclasses
import json
import re
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
import result_parts
from kcidb_io.schema import LATEST

from testbed.errors import SetupError
from testbed.formats.fileformat import FORMATS, Format
from testbed.formats.junit import junit_text, write_junit
from testbed.formats.kcidb import faults, kcidb_content, kcidb_text
from testbed.formats.ktap import ktap_text
from testbed.formats.markdown import annotations_text, markdown_text
from testbed.formats.section import Section, shortened
from testbed.results.model import Case, Run, Status

FILE = "tests/vm/contract/test_a.py"
STATUSES = tuple(Status)


def case(
    status: Status,
    number: int = 0,
    arch: str = "x86_64",
    *,
    reason: str = "a < b\x1b[31m #9",
    evidence: str = "\x1b[31mred\0 #\n  # Subtest: x",
    error: str = "",
) -> Case:
    return Case(
        test=f"{FILE}::test_b[{arch}-n{number}-stack]",
        arch=arch,
        path="stack",
        status=status,
        guarantees=(12,),
        seconds=0.5,
        reason=reason,
        evidence=evidence,
        error=error,
    )


def a_run(*cases: Case, name: str = "2026-11-30T01-02-03") -> Run:
    environments = tuple(result_parts.environment(arch) for arch in ("x86_64", "arm64"))
    return Run(
        name=name,
        command="testbed run -k stack",
        started="2026-11-30T01:02:03+00:00",
        seconds=2.5,
        environments=environments,
        cases=cases,
    )


ALL = a_run(
    *(case(status, number) for number, status in enumerate(STATUSES)),
    *(case(status, number, "arm64") for number, status in enumerate(STATUSES)),
)
GOOD = a_run(case(Status.PASS), case(Status.SKIP, 1), case(Status.XFAIL, 2, reason="KD7: close"))


# JUnit


def test_junit_has_each_case_with_its_outcome(tmp_path: Path) -> None:
    cases = tuple(case(status, number) for number, status in enumerate(STATUSES))
    write_junit(tmp_path, a_run(*cases))
    suite = xml.parse(tmp_path / "junit.xml").getroot()[0]
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time")] == [
        *("7", "1", "2", "2", "2.5")
    ]
    found = list(suite)
    assert found[0].attrib == {
        "classname": "tests.vm.contract.test_a",
        "name": "test_b[x86_64-n0-stack]",
        "file": FILE,
        "time": "0.5",
    }
    outcomes = [(one[0].tag, one[0].get("type")) if len(one) else None for one in found]
    assert dict(zip(STATUSES, outcomes, strict=True)) == {
        Status.FAIL: ("failure", "failure"),
        Status.ERROR: ("error", "error"),
        Status.MISS: ("error", "miss"),
        Status.XFAIL: ("skipped", "pytest.xfail"),
        Status.FIXED: None,
        Status.PASS: None,
        Status.SKIP: ("skipped", "pytest.skip"),
    }
    assert found[0][0].get("message") == "a < b\ufffd[31m #9"


def test_junit_names_equal_tests_of_two_lanes_differently() -> None:
    sections = [Section(ALL, "debian-7.2"), Section(ALL, "debian-7.3")]
    cases = list(xml.fromstring(junit_text(sections)).iter("testcase"))
    names = {(each.get("classname"), each.get("name")) for each in cases}
    assert len(names) == len(cases) == 4 * len(STATUSES)
    assert ("debian-7.2.tests.vm.contract.test_a", "test_b[arm64-n0-stack]") in names


def test_junit_links_the_files_of_a_case(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    evidence = f"console: {tmp_path}/results/r/vm-1/console.log\nrepro: /elsewhere/run.sh"
    text = junit_text([Section(a_run(case(Status.FAIL, evidence=evidence)))])
    (links,) = (each.text for each in xml.fromstring(text).iter("system-out"))
    assert links == ("[[ATTACHMENT|results/r/vm-1/console.log]]\n[[ATTACHMENT|/elsewhere/run.sh]]")


def test_junit_of_a_broken_kernel_is_small_enough_for_gitlab() -> None:
    cases = [case(Status.FAIL, number, evidence="x" * 30_000) for number in range(4000)]
    text = junit_text([Section(a_run(*cases))])
    assert len(text) < 30_000_000
    assert sum(1 for _ in xml.fromstring(text).iter()) < 250_000


# KTAP


def test_a_result_of_ktap_has_its_directive_and_reason() -> None:
    lines = ktap_text([Section(ALL)]).splitlines()
    results = [line.strip() for line in lines if re.match(r" +(not )?ok \d+ test_b\[x86_64", line)]
    assert [re.sub(r" test_b\S+", "", line) for line in results] == [
        "not ok 1",
        "not ok 2 # ERROR a < b\x1b[31m :9",
        "not ok 3 # MISS a < b\x1b[31m :9",
        "ok 4 # XFAIL a < b\x1b[31m :9",
        "ok 5 # FIXED a < b\x1b[31m :9",
        "ok 6",
        "ok 7 # SKIP a < b\x1b[31m :9",
    ]


# KCIDB


@pytest.mark.parametrize("run", [ALL, GOOD, a_run()], ids=["all", "good", "empty"])
def test_kcidb_accepts_the_report(run: Run) -> None:
    content = json.loads(kcidb_text([Section(run, "one"), Section(run, "two")]))
    LATEST.validate_exactly(content)
    assert faults(content) == []
    assert len(content["tests"]) == 2 * len(run.cases)


def test_a_known_defect_is_a_failure_with_an_incident() -> None:
    content = kcidb_content([Section(GOOD)])
    (failed,) = (each for each in content["tests"] if each["status"] == "FAIL")
    (issue,), (incident,) = content["issues"], content["incidents"]
    assert failed["misc"]["status"] == "XFAIL"
    assert (issue["id"], issue["report_subject"]) == ("mmap_testbed:KD7", "KD7: close")
    assert (incident["issue_id"], incident["test_id"]) == (issue["id"], failed["id"])


def test_each_architecture_has_the_same_path_of_a_test() -> None:
    tests = kcidb_content([Section(ALL)])["tests"]
    paths = [each["path"] for each in tests]
    assert paths[:7] == paths[7:]
    assert paths[0] == "mmap_testbed.test_a.test_b.n0-stack"
    assert len({each["id"] for each in tests}) == len(tests)


def test_a_kernel_that_does_not_build_is_a_failed_build_without_tests() -> None:
    cases = (
        case(Status.FAIL, error="BuildError", reason="mm/vma.c:7: error"),
        case(Status.MISS, 1, error="BuildError"),
        case(Status.PASS, 2, "arm64"),
    )
    run = dataclasses.replace(a_run(*cases), environments=(result_parts.environment("arm64"),))
    content = kcidb_content([Section(run)])
    LATEST.validate_exactly(content)
    builds = {each["architecture"]: each for each in content["builds"]}
    assert builds["x86_64"]["status"] == "FAIL"
    assert builds["x86_64"]["comment"] == "mm/vma.c:7: error"
    assert [each["build_id"] for each in content["tests"]] == [builds["arm64"]["id"]]


def test_a_host_that_fails_says_nothing_about_the_build() -> None:
    run = dataclasses.replace(a_run(case(Status.MISS, error="InfraError")), environments=())
    content = kcidb_content([Section(run)])
    LATEST.validate_exactly(content)
    assert [each["status"] for each in (*content["builds"], *content["tests"])] == ["MISS"] * 2


def test_only_a_commit_has_a_hash() -> None:
    debian = kcidb_content([Section(GOOD)])["checkouts"][0]
    assert "git_commit_hash" not in debian
    assert (debian["git_commit_name"], debian["comment"]) == ("7.3.4", "linux-source-7.3")
    commit = dataclasses.replace(
        result_parts.environment(), commit="0123456789" * 4, series=(), patchset=""
    )
    run = dataclasses.replace(GOOD, environments=(commit,))
    content = kcidb_content([Section(run)])
    LATEST.validate_exactly(content)
    found = content["checkouts"][0]
    assert (found["git_commit_hash"], found["patchset_hash"]) == (commit.commit, "")


def test_ids_that_the_schema_does_not_check_are_checked() -> None:
    content = kcidb_content([Section(GOOD)])
    content["builds"][0]["checkout_id"] = "mmap_testbed:elsewhere"
    content["tests"].append(content["tests"][0])
    LATEST.validate_exactly(content)
    name = content["tests"][0]["id"]
    assert faults(content) == [
        f"tests: {name} stands 2 times",
        "builds: checkout_id mmap_testbed:elsewhere is not in checkouts",
    ]
    with pytest.raises(ValueError, match="stands 2 times"):
        kcidb_content([Section(GOOD), Section(GOOD)])


def test_an_origin_that_the_schema_refuses_is_an_error() -> None:
    with pytest.raises(SetupError, match="'My CI' is not the name of an origin"):
        kcidb_text([Section(GOOD)], "My CI")


# Markdown, and GitHub's lines


def test_the_summary_begins_with_the_verdict() -> None:
    assert markdown_text([Section(GOOD)]).startswith(
        "## :white_check_mark: 2026-11-30T01-02-03: all results are as expected\n"
    )
    assert markdown_text([Section(ALL, "lane")]).startswith(
        "## :x: lane: 6 unexpected results: 2 FAIL, 2 ERROR, 2 MISS\n"
    )
    assert "no test ran" in markdown_text([Section(a_run())])


def test_the_summary_shows_paths_and_the_evidence_of_each_reason() -> None:
    text = markdown_text([Section(ALL)])
    row = "**1 fail**, **1 error**, **1 miss**, 1 xfail, 1 fixed, 1 pass, 1 skip"
    assert f"| path | arm64 | x86_64 |\n| --- | --- | --- |\n| stack | {row} | {row} |" in text
    assert f"<summary>FAIL {FILE}::test_b[x86_64-n0-stack] and 1 more: a &lt; b" in text
    assert text.count("<details>") == text.count("</details>") == 3


def test_evidence_cannot_end_its_block() -> None:
    text = markdown_text([Section(a_run(case(Status.FAIL, evidence="a\n```\n# b")))])
    assert "````text\na\n```\n# b\n````\n" in text


def test_a_summary_of_many_lanes_is_small_enough_for_github() -> None:
    cases = [case(Status.FAIL, n, reason=f"r{n}", evidence="x" * 30_000) for n in range(40)]
    sections = [Section(a_run(*cases), f"lane{number}") for number in range(16)]
    assert len(markdown_text(sections)) < 1 << 20
    assert "10 more reasons are in the files of the run." in markdown_text(sections[:1])


def test_each_reason_is_an_error_of_github() -> None:
    cases = [case(Status.FAIL, n, reason=f"100% of {'ab'[n % 2]}", evidence="") for n in range(5)]
    text = annotations_text([Section(a_run(*cases), "lane")])
    assert text == (
        f"::error title=FAIL lane {FILE}%3A%3Atest_b[x86_64-n0-stack]::100%25 of a and 2 more\n"
        f"::error title=FAIL lane {FILE}%3A%3Atest_b[x86_64-n1-stack]::100%25 of b and 1 more\n"
    )
    assert annotations_text([Section(GOOD)]) == ""


# All


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_each_format_has_room_for_the_unusual(form: Format) -> None:
    form.text([Section(a_run())])
    unusual = (Case(test="::test_outside_the_checkout"), Case(test="worker"), Case(test=""))
    assert "test_outside_the_checkout" in form.text([Section(a_run(*unusual))])


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    text = "begin" + "x" * 1000 + "end"
    assert shortened(text, 100).startswith("begin")
    assert shortened(text, 100).endswith("end")
    assert len(shortened(text, 100)) <= 100
    assert shortened(text, len(text)) == text
