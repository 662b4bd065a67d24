"""The folder of a run: `results/<run>/`, with `results/latest` pointing at the newest."""

from __future__ import annotations

import dataclasses
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from testbed.results.model import Run

RESULT_FILE = "result.json"
JUNIT_FILE = "junit.xml"

# Raised when a field of result.json changes its meaning.
FORMAT_VERSION = 1


def new_run_dir(root: Path, *, latest: bool = True) -> Path:
    """A fresh folder named after the time (UTC); `latest` points at it unless told otherwise."""
    root.mkdir(parents=True, exist_ok=True)
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


def write_run(folder: Path, run: Run) -> None:
    """Write result.json, complete or not at all."""
    content = {"version": FORMAT_VERSION, **dataclasses.asdict(run)}
    scratch = folder / f"{RESULT_FILE}.new"
    scratch.write_text(json.dumps(content, indent=1, default=str) + "\n")
    scratch.rename(folder / RESULT_FILE)


def _point_latest(root: Path, name: str) -> None:
    scratch = root / f".latest.{os.getpid()}"
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(name)
    scratch.rename(root / "latest")
