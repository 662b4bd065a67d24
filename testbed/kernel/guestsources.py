# SPDX-License-Identifier: GPL-2.0
"""The sources of what is built for a guest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.cache import digest
from testbed.settings import CHECKOUT

# Below modules/: drivers that no guest has.
_EXAMPLES = "examples"


@dataclass(frozen=True)
class GuestSources:
    """Where the sources stand.

    modules/   one Kbuild over a folder per module; include/ has what programs share with them;
               examples/ are drivers for `testbed check`, which no guest has
    programs/  a file or a folder of files per program
    """

    modules: Path = CHECKOUT / "modules"
    programs: Path = CHECKOUT / "tests" / "probes"

    @property
    def program_files(self) -> dict[str, list[Path]]:
        """The C files of each program, by its name."""
        files = {file.stem: [file] for file in sorted(self.programs.glob("*.c"))}
        folders = sorted({file.parent for file in self.programs.glob("*/*.c")})
        return files | {folder.name: sorted(folder.glob("*.c")) for folder in folders}

    @property
    def modules_identity(self) -> str:
        """Equal for equal sources of the modules."""
        return digest(*_contents(self.modules))

    @property
    def programs_identity(self) -> str:
        """Equal for equal sources of the programs, and of what they share with the modules."""
        tops = (self.programs, self.modules / "include")
        return digest(*(part for top in tops for part in _contents(top)))


def source_files(top: Path) -> Iterator[Path]:
    """The files below a folder, in order, without the examples."""
    for file in sorted(path for path in top.rglob("*") if path.is_file()):
        if file.relative_to(top).parts[0] != _EXAMPLES:
            yield file


def _contents(top: Path) -> Iterator[str]:
    for file in source_files(top):
        yield str(file.relative_to(top))
        yield hashlib.sha256(file.read_bytes()).hexdigest()
