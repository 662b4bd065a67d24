# SPDX-License-Identifier: GPL-2.0
"""The shipped series remove the layer step by step.

Each step of the layer's history enables the paths that it added, and no others.
"""

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

# One scenario on every path, and one test of each kind of stack in the kernel.
SCENARIO = "map-rw-shared"
OVERLAY = "test_a_private_mapping_of_a_read_only_lower_file_is_written"
SEGMENT = "test_a_segment_is_written_and_read_back"
RING = "test_the_ring_is_mapped_with_its_content"
UIO = "test_a_hook_maps_as_the_legacy_code_does"
SAMPLE = " or ".join((SCENARIO, OVERLAY, SEGMENT, RING, UIO))


def compared(words: list[str], results: Path) -> set[tuple[str, str]]:
    """Run a comparison. Return its changes as (kind, path), or (kind, test) without a path."""
    done = run(words, ok=(0, 1))
    [file] = results.glob("*/compare.json")
    changes = json.loads(file.read_text())["changes"]
    assert changes, done.stdout
    names = (change["test"].rpartition("::")[2].partition("[")[0] for change in changes)
    return {
        (change["kind"], change["path"] or name)
        for change, name in zip(changes, names, strict=True)
    }


def test_the_dispatch_enables_the_stacks(command: Command, tmp_path: Path) -> None:
    words = command("compare", "-k", SAMPLE, NO_LAYER, MONOLITHIC, results="dispatch")
    stacks = ("stack", "stack-first", "stack-after", "three-level", OVERLAY, SEGMENT)
    assert compared(words, tmp_path / "dispatch") == {("fixed", name) for name in stacks}


def test_the_split_enables_nested_hooks(command: Command, lab: Lab, tmp_path: Path) -> None:
    kernel = lab.ctx.settings.kernel
    words = command("compare", "-k", SAMPLE, MONOLITHIC, kernel, results="halves")
    nested = ("custom", RING, UIO)
    assert compared(words, tmp_path / "halves") == {("new", name) for name in nested}
