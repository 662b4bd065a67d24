# SPDX-License-Identifier: GPL-2.0
"""What people read is plain English: the idioms that it had once stay gone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.process import check_output
from testbed.settings import CHECKOUT

_SUFFIXES = (".py", ".md", ".c", ".h", ".toml", ".config", ".mk", ".sh")

# An idiom, and the plain words for it.
IDIOMS = {
    r"(?i)(?<![.\w])(tells?|told)\b": "report, say, show, ask or distinguish",
    r"\bhas not (an?|the|[A-Z])": "lacks",
    r"(?i)\b(is|are) no \w+ (of|that|for)\b": "is not a",
    r"(?i)\bwithout (a word|leave)\b": "silently, unexpected",
    r"(?i)\bgravest\b": "worst",
    r"(?i)\bcure[sd]?\b": "hint",
    r"(?i)\b(workshop|workplace)\b": "context, build directory",
}


def _texts() -> Iterator[Path]:
    names = check_output(["git", "-C", CHECKOUT, "ls-files", "-z"]).split("\0")
    for name in filter(None, names):
        path = CHECKOUT / name
        in_scripts = path.parent == CHECKOUT / "scripts"
        if (path.suffix in _SUFFIXES or in_scripts) and path != Path(__file__):
            yield path


@pytest.mark.parametrize("idiom", IDIOMS)
def test_an_idiom_stays_gone(idiom: str) -> None:
    pattern = re.compile(idiom)
    found = [
        f"{path.relative_to(CHECKOUT)}:{number}: {line.strip()}"
        for path in _texts()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == [], f"better: {IDIOMS[idiom]}"
