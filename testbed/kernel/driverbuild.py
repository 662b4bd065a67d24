# SPDX-License-Identifier: GPL-2.0
"""Build a user's driver as `make -C KDIR M=DIR` does, in a copy.

The key of a cache entry covers the driver's folder. The entry records the files outside that the
build read, with their digests. If one of them differs, the next entry of that key is looked at.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from testbed.cache import digest
from testbed.context import Context
from testbed.errors import BuildError, TestbedError
from testbed.kernel.build import open_builder
from testbed.kernel.builddir import BuildDir
from testbed.kernel.diagnose import error_lines
from testbed.kernel.driverfiles import (
    DriverText,
    content,
    file_digest,
    find_text,
    makefile_text,
    module_folders,
)
from testbed.kernel.exports import Export, find_exports
from testbed.kernel.modules import bring_to
from testbed.kernel.release import copy_named
from testbed.kernel.request import Kernel, KernelRequest

_LAYOUT = "3"

_READS = "reads.json"
_LOG = "build.log"
_WARNINGS = "warnings.log"

_SHOWN = 20  # lines of errors

# The lines of a .cmd file that name a file (scripts/basic/fixdep.c). The others begin with more
# blanks and name symbols of the configuration.
_CMD_FILE = re.compile(r"^(?:source_\S+ := |  )([^\s$]\S*)(?: \\)?$", re.MULTILINE)

# With -Werror in a Makefile, a warning of W=1 is an error.
_WARNING = re.compile(r"^.*(?:\bwarning: |\[-Werror=).*|^WARNING: modpost: .*", re.MULTILINE)

# The second form is that of 7.3.
_UNDEFINED = re.compile(
    r"""^ERROR: modpost: (?:"(\w+)" \[[^]]+\]|\S+: symbol '(\w+)') undefined!""", re.MULTILINE
)
_BESIDE = "headers outside the folder are found by names with `..`, as in -I$(src)/../include"

_OPTIONAL = re.compile(r"^\s*obj-\$[({](CONFIG_\w+)[)}]", re.MULTILINE)
_NO_HEADER = re.compile(
    r"fatal error: .*No such file or directory|fatal error: '.*' file not found"
)


def build_driver(folder: Path, kernel: Kernel, request: KernelRequest, ctx: Context) -> Path:
    """Build the modules of a folder. Return a cache entry with the modules and logs.

    The folder is never written to.

    Raises:
        BuildError: it does not compile, or builds no module.
        SetupError: a file cannot be read.
    """
    folder = folder.resolve()
    made = list[Path]()

    def make(entry: Path, build_dir: BuildDir) -> None:
        made.append(entry)
        with ctx.progress.step(f"{folder.name} for {request}"):
            log = build_dir.fresh_log(f"driver-{kernel.key}")
            bring_to(build_dir, kernel, request, log)
            _Build(build_dir, find_text(folder), log).into(entry, kernel.key)

    key = digest(_LAYOUT, kernel.key, folder.name, *content(folder))
    with open_builder(request, ctx) as builder:
        for number in itertools.count():
            entry = builder.entry("driver", digest(key, str(number)), make)
            if made or _is_current(entry, folder):
                return entry
    raise AssertionError("an endless loop has ended")


def build_warning(entry: Path) -> str:
    """Return the first warning of a build, or of its second look with W=1, or ""."""
    text = "\n".join((entry / name).read_text(errors="replace") for name in (_LOG, _WARNINGS))
    match = _WARNING.search(text)
    found = match[0].strip() if match else ""
    return found.replace(": error: ", ": warning: ").replace("[-Werror=", "[-W")


def _is_current(entry: Path, folder: Path) -> bool:
    """Whether the files outside the folder that an entry's build read are the same now."""
    reads: Mapping[str, str] = json.loads((entry / _READS).read_text())
    return all(
        Path(folder, name).is_file() and file_digest(folder / name) == known
        for name, known in reads.items()
    )


@dataclass(frozen=True)
class _Build:
    """One build in a fresh copy, in the work directory of its kernel."""

    build_dir: BuildDir
    text: DriverText
    log: Path

    @property
    def root(self) -> Path:
        return self.build_dir.root.resolve() / "driver"

    @property
    def copy(self) -> Path:
        """The copy of the driver's folder."""
        return self.text.place_folder(self.text.folder, self.root)

    def into(self, entry: Path, key: str) -> None:
        """Build the modules into a cache entry."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.text.copy(self.root)
        outside = {self.text.place(path, self.root): path for path in self.text.outside}
        digests = {path: file_digest(path) for path in outside}  # make may replace a file
        self._make()
        self._refuse_namesakes()
        modules = list(self._modules())
        if not modules:
            raise _no_module(self.text.folder, self.log)
        for module in modules:
            copy_named(module, entry, key)
        (entry / _READS).write_text(json.dumps(dict(self._reads(outside, digests)), indent=1))
        shutil.copy2(self.log, entry / _LOG)
        self._look_for_warnings(entry / _WARNINGS)

    def _make(self) -> None:
        """Run make. On failure, show the errors, because they are in the user's own text."""
        what = f"the driver in {self.text.folder}"
        # A rule may lack a prerequisite and still work in the order of a make without -j.
        words = ("-j1", f"M={self.copy}", "modules")
        try:
            self.build_dir.make.run(*words, what=what, log=self.log, pwd=self.copy)
        except BuildError as error:
            self._refuse_namesakes()
            log = self.log.read_text(errors="replace")
            error.evidence = "\n".join(error_lines(log)[:_SHOWN])
            error.hint = error.hint or self._hint(log)
            raise

    def _look_for_warnings(self, log: Path) -> None:
        """Compile again with W=1, for its warnings only: the modules are already taken."""
        log.touch()
        words = (f"M={self.copy}", "W=1", "KCFLAGS=-Wno-error", "--keep-going", "modules")
        with suppress(TestbedError):
            self.build_dir.make.run(*words, what="a look for warnings", log=log, pwd=self.copy)

    def _modules(self) -> Iterator[Path]:
        order = self.copy / "modules.order"
        names = order.read_text().split() if order.exists() else []
        yield from ((self.copy / name).with_suffix(".ko") for name in names)

    def _refuse_namesakes(self) -> None:
        """Raise BuildError if modules have one name: a kernel loads only one of them.

        The kernel's make refuses modules in files of one name (scripts/modules-check.sh). A module
        has no `-` in its name (scripts/Makefile.lib, name-fix-token).
        """
        by_name = dict[str, list[Path]]()
        for module in self._modules():
            by_name.setdefault(module.stem.replace("-", "_"), []).append(module)
        for name, modules in by_name.items():
            if len(modules) > 1:
                raise self._namesakes(name, [path.relative_to(self.copy) for path in modules])

    def _namesakes(self, name: str, modules: list[Path]) -> BuildError:
        folder = self.text.folder
        folders = {folder / path.parent for path in modules} & set(module_folders(folder))
        rename = "rename one of them"
        return BuildError(
            f"the driver in {folder} has {len(modules)} modules of one name, {name}: "
            + " and ".join(map(str, modules)),
            hint=f"{pass_one_of(sorted(folders))}, or {rename}" if folders else rename,
            logs=(self.log,),
        )

    def _reads(
        self, outside: Mapping[Path, Path], digests: Mapping[Path, str]
    ) -> Iterator[tuple[str, str]]:
        """Yield the names, relative to the folder, and digests of all files read outside it.

        Args:
            outside: copies of files outside the folder, and those files.
            digests: of the copies, before make ran.
        """
        testbed = (self.build_dir.root.resolve(), self.build_dir.src.resolve())
        named = (self.text.place(path, self.root) for path in self.text.named)
        for path in sorted({*named, *self._compiled()}):
            if path in outside:
                yield os.path.relpath(outside[path], self.text.folder), digests[path]
            elif not any(path.is_relative_to(each) for each in testbed):
                yield str(path), file_digest(path)

    def _compiled(self) -> Iterator[Path]:
        """Yield the files that the compiler read, from fixdep's .cmd files."""
        for file in self.root.rglob(".*.cmd"):
            for name in _CMD_FILE.findall(file.read_text(errors="replace")):
                # Relative names are relative to the folder of the module.
                path = (self.copy / name).resolve()
                if path.is_file():
                    yield path

    def _hint(self, log: str) -> str:
        undefined = list(dict.fromkeys(one or other for one, other in _UNDEFINED.findall(log)))
        if undefined:
            return _lacking(undefined, find_exports(self.build_dir.src, undefined))
        if not _NO_HEADER.search(log):
            return ""
        if re.search(r"^\s*EXTRA_CFLAGS\b", makefile_text(self.text.folder), re.MULTILINE):
            return "this kernel's kbuild ignores EXTRA_CFLAGS: use ccflags-y"
        if self.text.too_large:
            folders = ", ".join(map(str, self.text.too_large))
            return (
                f"the driver refers to {folders}, which is too large to be copied: "
                f"put the driver and its headers into a folder of their own"
            )
        return _BESIDE


def _lacking(undefined: list[str], exports: list[Export]) -> str:
    lacks = f"the kernel lacks {', '.join(undefined)}"
    if not exports:
        return lacks
    return f"{lacks}: {'; '.join(map(str, exports))}; configure it with --config FILE"


def _no_module(folder: Path, log: Path) -> BuildError:
    others = module_folders(folder)
    return BuildError(
        f"the driver in {folder} builds no module: make M={folder} has nothing to do",
        hint=pass_one_of(others) or _unset(folder) or "its Kbuild or Makefile must set obj-m",
        logs=(log,),
    )


def _unset(folder: Path) -> str:
    """Return a hint that names the options for which alone a Makefile builds, or ""."""
    options = dict.fromkeys(_OPTIONAL.findall(makefile_text(folder)))
    if not options:
        return ""
    return (
        f"nothing sets {', '.join(options)}: configure the kernel with --config FILE, or add "
        f"{next(iter(options))} := m to a Makefile"
    )


def pass_one_of(folders: Iterable[Path]) -> str:
    """Return a hint that names these folders with modules, or ""."""
    names = " or ".join(map(str, folders))
    return f"pass {names}, whose Makefile sets obj-m" if names else ""
