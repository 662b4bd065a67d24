# SPDX-License-Identifier: GPL-2.0
"""A matrix of sham cells on the commits of a real git tree, for `testbed nightly`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bisect_parts import Tree, new_tree
from sham_cells import SHAM_ENV

from testbed.process import Completed, run

MAKEFILE = "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n"

MATRIX = """\
name = "shams"
hours = 1

[streams.main]
kernel = "tree:linux@main"

[[cells]]
kind = "sham"
arch = "x86_64"
broken = "2"
"""


def new_nights(top: Path) -> Nights:
    """Return a matrix on a tree with one commit, whose cell is well."""
    tree = new_tree(top)
    (tree.path / "Makefile").write_text(MAKEFILE)
    tree.commit("fine\n")
    (top / "nightly.toml").write_text(MATRIX)
    return Nights(top, tree)


@dataclass
class Nights:
    """A matrix of sham cells, with settings and a history of its own."""

    top: Path
    tree: Tree
    more: str = ""  # settings

    def argv(self, *words: str) -> list[str]:
        names = ("cache_dir", "data_dir", "state_dir", "template_dir", "results_dir")
        lines = [f'{name} = "{self.top / name}"\n' for name in names]
        (self.top / "settings.toml").write_text("".join(lines) + self.more)
        settings = ["--settings", str(self.top / "settings.toml")]
        matrix = str(self.top / "nightly.toml")
        return [sys.executable, "-P", "-m", "sham_nightly", "nightly", matrix, *words, *settings]

    def run(self, *words: str, status: int = 0) -> Completed:
        return run(self.argv(*words), env=SHAM_ENV, ok=(status,))

    @property
    def folder(self) -> Path:
        """The folder of the last night."""
        return (self.top / "results_dir/nightly/latest").resolve()

    @property
    def outcome(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "outcome.json").read_text())
        return found

    def classes(self) -> dict[str, list[str]]:
        """The tests of each class in the last night, by their numbers."""
        found: dict[str, list[str]] = {}
        for finding in self.outcome["findings"]:
            number = finding["test"].rpartition("[")[2].rstrip("]")
            found.setdefault(finding["kind"], []).append(number)
        return found
