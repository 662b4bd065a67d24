# SPDX-License-Identifier: GPL-2.0
"""The files of `testbed coverage`, and the hunks that each test ran, for other reports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from testbed.coverage.hunks import HunkRun
from testbed.coverage.hunktable import content_of, lines_of
from testbed.errors import SetupError
from testbed.files import DAMAGED

_JSON_FILE = "coverage.json"


def write_coverage(
    folder: Path,
    found: Mapping[str, Sequence[HunkRun]],
    tests: Mapping[str, Mapping[str, Sequence[str]]],
) -> None:
    """Write coverage.md and coverage.json: hunks, and the tests of each architecture."""
    (folder / "coverage.md").write_text("\n".join(lines_of(found)) + "\n")
    content = {"hunks": content_of(found), "tests": tests}
    (folder / _JSON_FILE).write_text(json.dumps(content, indent=1) + "\n")


def hunks_of_tests(folder: Path) -> dict[str, list[str]]:
    """Return the hunks that each test ran, from the folder of a coverage.

    Raises:
        SetupError: the folder has none, or it cannot be read.
    """
    try:
        content = json.loads((folder / _JSON_FILE).read_text())
        return {
            test: [str(hunk) for hunk in hunks]
            for tests in content["tests"].values()
            for test, hunks in tests.items()
        }
    except DAMAGED as exc:
        message = f"{folder} has no coverage: {type(exc).__name__}: {exc}"
        raise SetupError(message, hint="name a folder of results of testbed coverage") from exc
