# SPDX-License-Identifier: GPL-2.0
"""`testbed report`."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
import result_parts
from test_cli import Testbed, testbed

from testbed.formats.fileformat import FORMATS
from testbed.results.model import Case, Run, Status
from testbed.results.store import new_run_dir, write_run

__all__ = ["testbed"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    case = Case(test="tests/a.py::test_b[x86_64]", arch="x86_64", status=Status.FAIL, reason="why")
    environments = (result_parts.environment(),)
    folder = new_run_dir(tmp_path / "results")
    run = Run(name="r", command="c", started="2026-11-30T01:02:03+00:00", cases=(case,))
    write_run(folder, dataclasses.replace(run, environments=environments))
    return folder


def test_each_format_is_written_to_its_file(testbed: Testbed, folder: Path, tmp_path: Path) -> None:
    names = [form.name for form in FORMATS]
    options = [word for name in names for word in (f"--{name}", str(tmp_path / name))]
    done = testbed("report", str(folder), *options, "--lane", "night", "--kcidb-origin", "me")
    assert (done.status, done.stdout) == (0, ""), done.stderr
    assert xml.parse(tmp_path / "junit").getroot()[0].get("name") == "night"
    assert (tmp_path / "ktap").read_text().startswith("KTAP version 1\n1..1\n")
    assert json.loads((tmp_path / "kcidb").read_text())["tests"][0]["origin"] == "me"
    assert "night: 1 unexpected result: 1 FAIL" in (tmp_path / "markdown").read_text()
    assert (tmp_path / "annotations").read_text().startswith("::error title=FAIL night ")


def test_a_format_may_go_to_standard_output(testbed: Testbed, folder: Path) -> None:
    done = testbed("report", str(folder), "--annotations", "-")
    assert done.stdout == "::error title=FAIL tests/a.py%3A%3Atest_b[x86_64]::why\n"


def test_a_folder_without_a_run_is_named(testbed: Testbed, tmp_path: Path) -> None:
    done = testbed("report", str(tmp_path / "nowhere"), "--ktap", "-")
    assert done.status == 2
    assert f"there is no run {tmp_path}/nowhere in" in done.stderr


def test_a_file_that_cannot_be_written_is_named(testbed: Testbed, folder: Path) -> None:
    done = testbed("report", str(folder), "--ktap", "/nonexistent/a.ktap")
    assert done.status == 3
    assert "cannot write /nonexistent/a.ktap: No such file or directory" in done.stderr


def test_without_a_format_the_pages_are_made_anew(testbed: Testbed, folder: Path) -> None:
    done = testbed("report", str(folder))
    assert done.stdout == f"page: {folder}/index.html\n"
    assert "1 unexpected result: 1 FAIL" in (folder / "index.html").read_text()
