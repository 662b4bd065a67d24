# SPDX-License-Identifier: GPL-2.0
"""The layer taken out again, step by step: each step enables what it brought, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from testbed.lab.lab import Lab
from testbed.process import run
from testbed.settings import KERNEL_CONFIG

Command = Callable[..., list[str]]

NO_LAYER = f"+{KERNEL_CONFIG}/series/no-layer"
MONOLITHIC = f"+{KERNEL_CONFIG}/series/monolithic"

# One scenario on every path, and a test of each kind of stack that the kernel has.
SCENARIO = "map-rw-shared"
OVERLAY = "test_a_private_mapping_of_a_read_only_lower_file_is_written"
SEGMENT = "test_a_segment_is_written_and_read_back"
RING = "test_the_ring_is_mapped_with_its_content"
UIO = "test_a_hook_maps_as_the_legacy_code_does"
SAMPLE = " or ".join((SCENARIO, OVERLAY, SEGMENT, RING, UIO))


def compared(words: list[str], results: Path) -> set[tuple[str, str]]:
    """What differs, as kind and what it is about: a path, or a test."""
    done = run(words, ok=(0, 1))
    [file] = results.glob("*/compare.json")
    changes = json.loads(file.read_text())["changes"]
    assert changes, done.stdout
    names = (change["test"].rpartition("::")[2].partition("[")[0] for change in changes)
    return {
        (change["kind"], change["path"] or name)
        for change, name in zip(changes, names, strict=True)
    }


def test_dispatch_brings_the_stacks(command: Command, tmp_path: Path) -> None:
    words = command("compare", "-k", SAMPLE, NO_LAYER, MONOLITHIC, results="dispatch")
    stacks = ("stack", "stack-first", "stack-after", "three-level", OVERLAY, SEGMENT)
    assert compared(words, tmp_path / "dispatch") == {("fixed", name) for name in stacks}


def test_the_halves_bring_nested_hooks(command: Command, lab: Lab, tmp_path: Path) -> None:
    kernel = lab.ctx.settings.kernel
    words = command("compare", "-k", SAMPLE, MONOLITHIC, kernel, results="halves")
    nested = ("custom", RING, UIO)
    assert compared(words, tmp_path / "halves") == {("new", name) for name in nested}
