# SPDX-License-Identifier: GPL-2.0
"""--json: stdout holds one JSON document, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import result_parts
from diffs import diff
from test_cli import Testbed, testbed

from testbed.results.model import Case, Run, Status
from testbed.results.store import write_run

__all__ = ["testbed"]

FAKE_KERNEL = Path(__file__).parent / "fake_kernel"


def content(stdout: str) -> Any:
    return json.loads(stdout)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    folder = tmp_path / "series"
    folder.mkdir()
    text = (FAKE_KERNEL / "mm/vma.c").read_text().splitlines()[0]
    (folder / "1.patch").write_text(diff("mm/vma.c", f"{text}\n", f"{text}\nint more;\n"))
    return folder


def test_series(testbed: Testbed, series: Path) -> None:
    done = testbed("series", "--json", "--kernel", f"tree:{FAKE_KERNEL}", "--series", str(series))
    assert done.status == 0, done.stderr
    assert content(done.stdout)["fits"] == [{"name": "1.patch", "fit": "applies", "details": []}]


def test_a_series_that_conflicts_is_on_stdout_and_the_error_on_stderr(
    testbed: Testbed, series: Path
) -> None:
    (series / "2.patch").write_text(diff("mm/vma.c", "int none;\n", "int more;\n"))
    done = testbed("series", "--json", "--kernel", f"tree:{FAKE_KERNEL}", "--series", str(series))
    assert done.status == 1
    assert [fit["fit"] for fit in content(done.stdout)["fits"]] == ["applies", "conflicts"]
    assert "2.patch does not apply" in done.stderr


def test_doctor(testbed: Testbed) -> None:
    done = testbed("doctor", "--json", "--arch", "x86_64")
    found = content(done.stdout)
    assert found["settings"]["arch"] == ["x86_64"]
    wanted = 0 if all(each["good"] for each in found["findings"]) else 2
    assert done.status == wanted


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:s3cret@host/db", "postgresql://ann:***@host/db"),
        ("postgresql://host/db?password=s3cret&x=1", "postgresql://host/db?password=***&x=1"),
        ("sqlite:////srv/a.sqlite", "sqlite:////srv/a.sqlite"),
    ],
)
def test_doctor_shows_no_password(testbed: Testbed, tmp_path: Path, url: str, shown: str) -> None:
    file = tmp_path / "history.toml"
    file.write_text(f'history = "{url}"\nmirror = "http://mirror.example:8080/debian"\n')
    words = ("doctor", "--arch", "x86_64", "--settings", str(file))
    found = content(testbed(*words, "--json").stdout)["settings"]
    assert (found["history"], found["mirror"]) == (shown, "http://mirror.example:8080/debian")
    assert f"  history = {shown}\n" in testbed(*words).stdout


def test_cache_list(testbed: Testbed) -> None:
    done = testbed("cache", "list", "--json")
    assert (done.status, content(done.stdout)["entries"]) == (0, [])


def test_mutants_that_are_listed(testbed: Testbed) -> None:
    done = testbed("mutants", "--list", "--json", "-k", "util-desc-pgoff-zero")
    (mutation,) = content(done.stdout)
    assert (done.status, mutation["files"]) == (0, ["mm/util.c"])


def test_compare(testbed: Testbed, tmp_path: Path) -> None:
    for name, status in (("good", Status.PASS), ("bad", Status.FAIL)):
        case = Case(test="tests/vm/contract/test_a.py::test_b", arch="x86_64", status=status)
        (tmp_path / name).mkdir()
        write_run(
            tmp_path / name,
            Run(
                name=name,
                command="testbed run",
                started="",
                environments=(result_parts.environment(),),
                cases=(case,),
            ),
        )
    done = testbed("compare", "--json", "--results", str(tmp_path), "good", "bad")
    assert done.status == 1, done.stderr
    assert [each["kind"] for each in content(done.stdout)["changes"]] == ["broken"]
