# SPDX-License-Identifier: GPL-2.0
"""Run the kernel's make, parse its output, and turn its failures into exceptions."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import CommandError, SetupError
from testbed.kernel.diagnose import build_error
from testbed.kernel.toolchain import Compiler
from testbed.process import run

# With these, equal inputs give equal kernels, independent of user, host and time. They are part
# of a kernel's key.
REPRODUCIBLE = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "testbed",
    "KBUILD_BUILD_HOST": "testbed",
    # Without it, the "#1" of uname -v counts the builds of a work directory.
    "KBUILD_BUILD_VERSION": "1",
    "KCFLAGS": "",
    "KAFLAGS": "",
    "KRUSTFLAGS": "",
    "LDFLAGS_MODULE": "",
}

# make gets these, a few variables of the testbed's process (testbed.process.run, `alone`), and
# nothing else of the caller's environment.
_ENVIRONMENT = {
    **REPRODUCIBLE,
    # The kernel's Makefile unsets LC_ALL. Messages stay in English, and names of files readable.
    "LANG": "C.UTF-8",
    # Scripts of the build import each other, and Python would write __pycache__ beside them.
    "PYTHONDONTWRITEBYTECODE": "1",
}

# A name with these is not one word for make, kbuild or their shell.
_AWKWARD = re.compile(r"""[\s:%#$'"`\\;&|<>()*?!{}\[\]]""")

# "  CC      mm/util.o", "  CC [M]  fs/overlayfs/super.o", "  HOSTCC  scripts/kconfig/conf.o"
_DONE = re.compile(r"  [A-Z][A-Z0-9]* +(?:\[M\] +)?(\S+)")


@dataclass(frozen=True, kw_only=True)
class Make:
    """make for one source, one build directory and one toolchain."""

    src: Path
    obj: Path
    compiler: Compiler
    jobs: int
    ccache: dict[str, str]  # its environment; empty: build without ccache

    def argv(self, *words: str) -> list[str]:
        return [
            "make", "-C", str(self.src), f"O={self.obj}", f"-j{self.jobs}",
            *self.compiler.variables(ccache=bool(self.ccache)), *words,
        ]  # fmt: skip

    def command(self, *words: str) -> str:
        """Return the whole command, to be run by hand."""
        settings = {**REPRODUCIBLE, **self.ccache}
        return shlex.join(["env", *(f"{k}={v}" for k, v in settings.items()), *self.argv(*words)])

    def run(
        self,
        *words: str,
        what: str,
        log: Path,
        on_line: Callable[[str], None] | None = None,
        pwd: Path | None = None,
    ) -> None:
        """Run make to its end. An error message names the work as `what`.

        Args:
            pwd: the folder in which the user would call make: $(PWD) in a module's Makefile.

        Raises:
            BuildError: the tree does not build. It names the first error and the log.
            InfraError: the compiler was killed, or the disk is full.
            SetupError: a header of the host is missing.
        """
        cwd = pwd or self.obj
        # git must not find a repository that happens to hold the cache.
        here = {"PWD": str(cwd), "GIT_CEILING_DIRECTORIES": str(self.obj.parent)}
        env = {**_ENVIRONMENT, **here, **self.ccache}
        try:
            run(self.argv(*words), log=log, on_line=on_line, cwd=cwd, env=env, alone=True)
        except CommandError as exc:
            raise build_error(what, log) from exc


def is_awkward(path: Path) -> bool:
    """Whether make cannot build in a folder or from a source of that name."""
    return _AWKWARD.search(str(path)) is not None


def require_plain(cache: Path) -> None:
    """Check that make can build in the cache.

    Raises:
        SetupError: its name has a blank or another character that make takes for its own.
    """
    if is_awkward(cache):
        raise SetupError(
            f"make cannot build in {cache}: its name has a blank or a special character",
            hint="set cache_dir to a folder with a plain name",
        )


def target_of(line: str) -> str | None:
    """Return the target that a line of make's output names, if any."""
    match = _DONE.match(line)
    return match[1] if match else None
