# SPDX-License-Identifier: GPL-2.0
"""KCOV in the layer's files only: words for make, for kernels on which programs are fuzzed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

# The layer, and mm's own code that makes, changes, moves and removes mappings.
LAYER = (
    *("mm/util.c", "mm/vma.c", "mm/vma_exec.c", "mm/mmap.c", "mm/mremap.c", "mm/memory.c"),
    *("mm/secretmem.c", "fs/backing-file.c"),
)


def kcov_words(config: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words for make that instrument the layer's files, if a kernel is for fuzzing.

    Other kernels have KCOV because its file can be mapped: without FAULT_INJECTION, or with all
    files instrumented.

    scripts/Makefile.lib looks variables up by the name of the object alone. Their values are empty
    in every folder but the file's own: the boot code, for example, has a memory.c too. The
    compiler adds the numbers of the lines.
    """
    wanted = {"KCOV": "y", "FAULT_INJECTION": "y", "KCOV_INSTRUMENT_ALL": "n"}
    if any(config.get(name, "n") != value for name, value in wanted.items()):
        return ()
    return tuple(word for file in LAYER for word in _words(PurePosixPath(file)))


def has_coverage(config: Mapping[str, str]) -> bool:
    """Whether a kernel reports which of the layer's code a task reaches."""
    every = config.get("KCOV", "n") == config.get("KCOV_INSTRUMENT_ALL", "n") == "y"
    return every or bool(kcov_words(config))


def _words(file: PurePosixPath) -> tuple[str, str]:
    here = f"$(filter {file.parent},$(obj))"
    return f"KCOV_INSTRUMENT_{file.stem}.o={here}", f"CFLAGS_{file.stem}.o=$(if {here},-g1)"
