# SPDX-License-Identifier: GPL-2.0
"""A known-bad kernel: built, booted, caught and removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from testbed.lab.lab import Lab
from testbed.process import run

Command = Callable[..., list[str]]


def test_a_mutant_is_killed_by_the_oracle_and_not_kept(
    command: Command, lab: Lab, arch: str, tmp_path: Path
) -> None:
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    before = _kernels(lab, arch)  # a bisection may have kept a kernel with the same patch
    words = command("mutants", "-k", "U8", "--tests", "test_descriptor and not custom")
    done = run(words, env=state)
    [written] = tmp_path.glob("results/*/mutants.json")
    [outcome] = json.loads(written.read_text())
    assert (outcome["mutation"], outcome["fate"]) == ("U8", "oracle"), done.stdout
    assert "test_descriptor.py::" in outcome["test"]
    log = (written.parent / f"U8-{outcome['arch']}.log").read_text()
    console = log.rpartition("\n--- vm-")[2]
    assert "begin test_" in console
    assert _kernels(lab, arch) == before

    again = run(words, env=state)
    assert "boot" not in again.stdout
    assert "U8" in again.stdout


def _kernels(lab: Lab, arch: str) -> set[Path]:
    """The cached kernels of an architecture with the patch U8.

    Another worker builds that of the other architecture, and removes it.
    """
    records = lab.ctx.cache.root.glob("kernel/*/build.json")
    return {record for record in records if _is_of(record, arch)}


def _is_of(record: Path, arch: str) -> bool:
    try:
        text = record.read_text()
    except FileNotFoundError:  # it has just been removed
        return False
    return "U8.patch" in text and json.loads(text)["arch"] == arch
