# SPDX-License-Identifier: GPL-2.0
"""The sources of the guest's modules and programs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.cache import digest
from testbed.settings import CHECKOUT

# Below modules/: drivers that are not part of any guest.
_EXAMPLES = "examples"


@dataclass(frozen=True)
class GuestSources:
    """The directories of the sources.

    modules/   one Kbuild, and a folder per module; include/ has the headers that programs share;
               examples/ has drivers for `testbed check`, which are not part of any guest
    programs/  a file or a folder of files, with its subfolders, per program
    """

    modules: Path = CHECKOUT / "modules"
    programs: Path = CHECKOUT / "tests" / "probes"

    @property
    def program_files(self) -> dict[str, list[Path]]:
        """The C files of each program, by its name."""
        files = {file.stem: [file] for file in sorted(self.programs.glob("*.c"))}
        folders = sorted({file.parent for file in self.programs.glob("*/*.c")})
        return files | {folder.name: sorted(folder.rglob("*.c")) for folder in folders}

    @property
    def modules_identity(self) -> str:
        """Equal for equal sources of the modules."""
        return digest(*_contents(self.modules))

    @property
    def programs_identity(self) -> str:
        """Equal for equal sources of the programs and equal shared headers."""
        tops = (self.programs, self.modules / "include")
        return digest(*(part for top in tops for part in _contents(top)))


def source_files(top: Path) -> Iterator[Path]:
    """Yield the files below a folder, in order, without the examples."""
    for file in sorted(path for path in top.rglob("*") if path.is_file()):
        if file.relative_to(top).parts[0] != _EXAMPLES:
            yield file


def _contents(top: Path) -> Iterator[str]:
    for file in source_files(top):
        yield str(file.relative_to(top))
        yield hashlib.sha256(file.read_bytes()).hexdigest()
