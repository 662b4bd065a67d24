# SPDX-License-Identifier: GPL-2.0
"""The object of one file of the kernel, compiled again from another text."""

from __future__ import annotations

import hashlib
import re
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import CommandError, SetupError
from testbed.kernel.builddir import BuildDir
from testbed.process import run

# `savedcmd_mm/mmap.o := gcc ... ; objtool ...`
_COMMAND = re.compile(r"^savedcmd_\S+ := (.*)$", re.M)


@dataclass(frozen=True)
class ObjectMaker:
    """Compiles texts of one C file as the kernel's build does."""

    build_dir: BuildDir
    file: str  # of the tree
    argv: tuple[str, ...]  # of the compiler, without the names of text and object

    @classmethod
    def of(cls, build_dir: BuildDir, file: str) -> ObjectMaker:
        """Compile the file once by make, which records the compiler's command.

        Raises:
            SetupError: the tree has no such file, or the configuration does not compile it.
            BuildError: it does not compile.
        """
        if not (build_dir.src / file).is_file() or not file.endswith(".c"):
            raise SetupError(f"{file} is not a C file of the kernel's tree")
        target = file.removesuffix(".c") + ".o"
        record = (build_dir.obj / target).with_name(f".{Path(target).name}.cmd")
        if not record.exists():
            message = f"{file} is not compiled in this configuration"
            raise SetupError(message, hint="a fragment can set its symbol: see --config")
        match = _COMMAND.search(record.read_text())
        assert match is not None, f"kbuild wrote no command to {record}"
        words = shlex.split(match[1].partition(" ; ")[0].removesuffix(";"))
        return cls(build_dir, file, tuple(_without_names(words)))

    def code(self, text: bytes) -> str | None:
        """Return a digest of the object that a text makes; None if it does not compile.

        Debug information does not count.
        """
        folder = (self.build_dir.src / self.file).parent
        with tempfile.TemporaryDirectory(prefix="object-") as scratch:
            source = Path(scratch) / Path(self.file).name
            made = source.with_suffix(".o")
            source.write_bytes(text)
            # The same name in each folder: the name can be part of the object.
            own = [f"-fmacro-prefix-map={scratch}/=", f"-ffile-prefix-map={scratch}=."]
            compiler = self.build_dir.make.compiler
            argv = [*self.argv, *own, "-iquote", str(folder), "-o", str(made), str(source)]
            try:
                run(argv, cwd=self.build_dir.obj)
                run([compiler.objcopy, "--strip-debug", made])
            except CommandError:
                return None
            return hashlib.sha256(made.read_bytes()).hexdigest()


def _without_names(words: list[str]) -> list[str]:
    """Drop the names of text, object and dependencies, and the compiler's cache."""
    kept = [word for word in words[:-1] if not word.startswith("-Wp,-MMD")]
    if "-o" in kept:
        place = kept.index("-o")
        del kept[place : place + 2]
    return kept[1:] if kept[0] == "ccache" else kept
