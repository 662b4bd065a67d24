# SPDX-License-Identifier: GPL-2.0
"""The folder of a run: `results/<run>/`. The link `results/latest` points to the newest.

Cases and facts are appended when a test ends. A run that is killed leaves them, and perhaps the
beginning of one more line; `mend` removes it before a run is continued.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from testbed.errors import SetupError
from testbed.files import DAMAGED, append_whole, make_folder, write_whole
from testbed.results.model import Attempt, Case, Environment, Facts, Run, Status, TestFacts

RESULT_FILE = "result.json"
JUNIT_FILE = "junit.xml"
CASES_FILE = "cases.jsonl"
FACTS_FILE = "facts.jsonl.gz"
IDENTITY_FILE = "identity.json"  # testbed/suite/continued.py
COLLECTED_FILE = "collected.json"  # testbed/suite/collected.py
BUILD_SETTINGS, BUILD_LOG = "build.toml", "build.log"  # testbed/lab/background.py

_CHUNK = 1 << 16  # bytes that are decompressed at a time

# These alone are not results.
_EMPTY = {IDENTITY_FILE, JUNIT_FILE, COLLECTED_FILE, BUILD_SETTINGS, BUILD_LOG}

# To be incremented when a field of result.json changes its meaning.
FORMAT_VERSION = 1


def new_run_dir(root: Path, *, latest: bool = True) -> Path:
    """Make a folder that is named after the time (UTC). With `latest`, point the link to it."""
    make_folder(root, "results_dir")
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S")
    for number in range(1000):
        path = root / (f"{stamp}.{number}" if number else stamp)
        try:
            path.mkdir()
        except FileExistsError:
            continue
        if latest:
            _point_latest(root, path.name)
        return path
    raise FileExistsError(f"too many runs named {stamp} in {root}")


def remove_run_dir(folder: Path) -> None:
    """Remove the folder of a run without results. A folder that has content stays."""
    latest = folder.parent / "latest"
    with contextlib.suppress(OSError):
        names = {path.name for path in folder.iterdir()}
        for name in names if names <= _EMPTY else ():
            (folder / name).unlink()
        folder.rmdir()
        if latest.readlink().name == folder.name:
            latest.unlink()


@contextmanager
def kept_dir(root: Path) -> Iterator[Path]:
    """Make a folder for what a command leaves beside runs; an empty one goes with the block."""
    folder = new_run_dir(root, latest=False)
    try:
        yield folder
    finally:
        remove_run_dir(folder)


def write_run(folder: Path, run: Run) -> None:
    """Write result.json atomically."""
    content = {"version": FORMAT_VERSION, **dataclasses.asdict(run)}
    write_whole(folder / RESULT_FILE, json.dumps(content, indent=1, default=str) + "\n")


def read_run(folder: Path) -> Run:
    """Return the run that a folder holds.

    Raises:
        SetupError: the folder holds no run, or one of another format.
    """
    file = folder / RESULT_FILE
    try:
        content = json.loads(file.read_text())
        version = content.pop("version")
        if version != FORMAT_VERSION:
            raise SetupError(f"{file} has format {version}, not {FORMAT_VERSION}")
        content["environments"] = tuple(environment_from(each) for each in content["environments"])
        content["cases"] = tuple(case_from(each) for each in content["cases"])
        return Run(**{**content, "retried": tuple(content["retried"])})
    except OSError as exc:
        raise SetupError(f"there is no run in {folder}: {exc}") from exc
    except DAMAGED as exc:
        raise SetupError(f"{file} cannot be read: {exc}") from exc


def append_case(folder: Path, case: Case) -> None:
    """Append a case that has ended. Raises InfraError, for example if the disk is full."""
    line = json.dumps(dataclasses.asdict(case)) + "\n"
    append_whole(folder / CASES_FILE, line.encode())


def read_cases(folder: Path) -> list[Case]:
    """Return the cases that have ended, as they were appended; a torn last line does not count.

    Raises:
        SetupError: the file cannot be read.
    """
    file = folder / CASES_FILE
    try:
        text = file.read_text() if file.exists() else ""
        return [case_from(json.loads(line)) for line in text.split("\n")[:-1]]
    except DAMAGED as exc:
        raise SetupError(f"{file} cannot be read: {exc}") from exc


def append_facts(folder: Path, test: str, facts: TestFacts) -> None:
    """Append the facts that each script of a test saw, by the script's identity.

    Raises InfraError, for example if the disk is full.
    """
    line = json.dumps({"test": test, "facts": facts}) + "\n"
    append_whole(folder / FACTS_FILE, gzip.compress(line.encode()))


def mend(folder: Path) -> None:
    """Remove what a killed run may have left at the end of its files: the beginning of an entry."""
    for name, whole in ((CASES_FILE, _whole_lines), (FACTS_FILE, _whole_members)):
        file = folder / name
        if file.exists() and (end := whole(file.read_bytes())) < file.stat().st_size:
            os.truncate(file, end)


def _whole_lines(content: bytes) -> int:
    return content.rfind(b"\n") + 1


def _whole_members(content: bytes) -> int:
    """Return the length of all gzip members that are complete. Each append writes one."""
    view, end = memoryview(content), 0
    with contextlib.suppress(zlib.error):
        while end < len(view):
            member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # a gzip header and trailer
            read = end
            while not member.eof:
                if read == len(view):
                    return end
                chunk = view[read : read + _CHUNK]
                member.decompress(chunk)
                read += len(chunk)
            end = read - len(member.unused_data)
    return end


def read_facts(folder: Path) -> Facts:
    """Return the facts that scripts saw, by test and script; empty if the folder has none.

    Raises:
        SetupError: the file cannot be read.
    """
    file = folder / FACTS_FILE
    if not file.exists():
        return {}
    try:
        with gzip.open(file, "rt") as lines:
            values = [json.loads(line) for line in lines]
        return {value["test"]: value["facts"] for value in values}
    except (*DAMAGED, zlib.error) as exc:
        raise SetupError(f"{file} cannot be read: {exc}") from exc


def environment_from(values: dict[str, Any]) -> Environment:
    """Undo dataclasses.asdict for an environment. Raises TypeError."""
    names = ("series", "config", "qemu_argv")  # older results lack the last two
    lists = {name: tuple(values[name]) for name in names if name in values}
    return Environment(**{**values, **lists})


def case_from(values: dict[str, Any]) -> Case:
    """Undo dataclasses.asdict for a case. Raises KeyError, TypeError, ValueError."""
    lists = {name: tuple(values[name]) for name in ("guarantees", "reaches")}
    attempts = tuple(  # older results lack them
        Attempt(**{**each, "status": Status(each["status"])}) for each in values.get("attempts", ())
    )
    return Case(**{**values, **lists, "attempts": attempts, "status": Status(values["status"])})


def _point_latest(root: Path, name: str) -> None:
    scratch = root / f".latest.{os.getpid()}"
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(name)
    scratch.rename(root / "latest")
