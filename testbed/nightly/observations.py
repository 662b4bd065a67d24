# SPDX-License-Identifier: GPL-2.0
"""What tests whose facts changed should see, and what they saw: both from the artifact store."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from testbed.artifacts.depot import Depot
from testbed.errors import InfraError, SetupError
from testbed.history.records import Class, Finding
from testbed.nightly.cell import RUN_FOLDER
from testbed.nightly.memory import Memory
from testbed.nightly.night import FactChanges
from testbed.report.diff import script_changes
from testbed.results.model import Facts
from testbed.results.store import read_facts


def observed_changes(findings: Iterable[Finding], memory: Memory) -> FactChanges:
    """Return the facts in which both observations of each changed test differ.

    Without the files of a cell its tests have none, and a note says why.
    """
    pairs: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.kind is Class.CHANGED and finding.baseline is not None:
            pair = finding.baseline.artifact, memory.stored(finding).artifact
            pairs[pair].append(finding)
    found = {}
    for (before, after), its in pairs.items():
        try:
            old, new = _facts(memory.depot, before), _facts(memory.depot, after)
        except (InfraError, SetupError) as error:
            memory.note(f"{len(its)} tests saw other facts, which are not known: {error.message}")
            continue
        for each in its:
            changes = script_changes(old.get(each.test, {}), new.get(each.test, {}))
            found[each.lane_id, each.test] = changes
    return found


def _facts(depot: Depot, artifact: str) -> Facts:
    """Return the facts of a cell."""
    if not artifact:
        raise InfraError("the files of their cell are not in the artifact store")
    with tempfile.TemporaryDirectory(prefix="testbed-") as scratch:
        depot.fetch(artifact, Path(scratch))
        # An imported run is its folder; a cell of a night has it in a folder of its own.
        run = Path(scratch) / RUN_FOLDER
        return read_facts(run if run.is_dir() else Path(scratch))
