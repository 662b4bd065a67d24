# SPDX-License-Identifier: GPL-2.0
"""A kernel with counters in the files of a series."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from testbed.cache import digest
from testbed.context import Context
from testbed.coverage.counters import counting_diff
from testbed.coverage.hunks import Hunk, hunks_of
from testbed.errors import SetupError
from testbed.inventory.treefiles import TreeFiles, opened_files, patched
from testbed.kernel.build import KernelBuilder, open_builder
from testbed.kernel.patch import make_patch
from testbed.kernel.series import Series
from testbed.kernel.source import resolve
from testbed.lab.prepared import request_kernel
from testbed.mutants.trial import BUILD_DIR

# Who includes a header of the layer: its lines are counted there.
_INCLUDERS = ("mm/util.c", "mm/vma.c", "mm/mmap.c", "mm/memory.c")


@dataclass(frozen=True)
class Subject:
    """A series as its text, and the objects whose lines are to be counted."""

    series: Series  # with the patch that asks for counters
    hunks: tuple[Hunk, ...]
    objects: tuple[str, ...]  # of the tree

    @property
    def files(self) -> frozenset[str]:
        return frozenset(hunk.file for hunk in self.hunks)


def subject_of(series: Series, ctx: Context) -> Subject:
    """Return what a series adds, and a series that counts it.

    Raises:
        SetupError: there is no series, or it adds no line of C.
        PatchError: a patch does not apply.
    """
    if not series.patches:
        raise SetupError("there is no series to cover", hint="give --series")
    source = resolve(ctx.settings.kernel, ctx)
    files = sorted({name for patch in series.patches for name in patch.files})
    with opened_files(source, ctx) as plain, patched(plain, series) as final:
        before, after = partial(_text, plain), partial(_text, final)
        hunks = [
            hunk
            for name in files
            if name.endswith((".c", ".h"))
            for hunk in hunks_of(name, before(name), after(name))
        ]
        if not hunks:
            raise SetupError("the series adds no line of C", hint="see testbed series")
        objects = objects_of([hunk.file for hunk in hunks])
        diff = counting_diff(after, objects).encode(errors="surrogateescape")
    patch = make_patch("counters.patch", diff, origin="testbed coverage")
    counting = dataclasses.replace(series, patches=(*series.patches, patch))
    return Subject(counting, tuple(hunks), objects)


def objects_of(files: Collection[str]) -> tuple[str, ...]:
    """Return the objects in which the lines of files are counted."""
    own = [name for name in files if name.endswith(".c")]
    headers = any(name.endswith(".h") for name in files)
    found = [*own, *(_INCLUDERS if headers else ())]
    return tuple(dict.fromkeys(name.removesuffix(".c") + ".o" for name in found))


def _text(files: TreeFiles, name: str) -> str:
    """Return the text of a file; nothing if the tree has none of that name."""
    try:
        return files.read(name).decode(errors="surrogateescape")
    except (OSError, SetupError):
        return ""


def keep_notes(subject: Subject, arch: str, folder: Path, ctx: Context) -> dict[str, Path]:
    """Copy the notes (.gcno) of the objects from the build directory; those not compiled lack them.

    Raises:
        SetupError: none of them is compiled.
        TreeError: the kernel does not build.
    """
    request = request_kernel(arch, subject.series, ctx, build_dir_name=BUILD_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    with open_builder(request, ctx) as builder:
        builder.kernel()
        _fill(builder)
        found = {}
        for name in subject.objects:
            notes = (builder.build_dir.obj / name).with_suffix(".gcno")
            if notes.is_file():
                kept = folder / f"{digest(name)[:8]}-{notes.name}"
                kept.write_bytes(notes.read_bytes())
                found[name] = kept
    if not found:
        files = ", ".join(sorted(subject.files))
        raise SetupError(
            f"the configuration for {arch} compiles none of these files: {files}",
            hint="a fragment can set their symbols: see --config",
        )
    return found


def _fill(builder: KernelBuilder) -> None:
    """Compile again what a cached kernel has left no objects of."""
    config = builder.final_config()
    key, build_dir = builder.kernel_key(config), builder.build_dir
    if not build_dir.holds(key):
        log = build_dir.fresh_log(key)
        build_dir.compile(key, config, title=f"compile {builder.request}", log=log)
