# SPDX-License-Identifier: GPL-2.0
"""Drivers that damage the kernel, each in its own way: the check ends with a report, and not as a
fault of the testbed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from testbed.lab.prepared import PreparedKernel
from testbed.process import run
from testbed.settings import CHECKOUT

Command = Callable[..., list[str]]

DRIVER = CHECKOUT / "tests/vm/drivers/corrupt"

# Two trials beside the survey: a mapping that ends by exit, and many in a row.
PLAN = """
sharing = ["shared"]
paths = ["direct", "stack-first"]
sizes = [4]
offsets = [0]
skip = ["[!ea]*"]
parameters = "how={}"
"""


@dataclass(frozen=True)
class Damage:
    """One kind of damage. `words` stand in a complaint or its evidence."""

    how: str
    words: str = ""
    silent_on: tuple[str, ...] = ()  # flavours on which the kernel may see nothing


DAMAGES = (
    Damage("tails"),
    Damage("freed", silent_on=("base", "debug")),
    Damage("slab", "slab", silent_on=("base",)),
    Damage("stack"),
    Damage("put", silent_on=("base",)),
    Damage("loop", "loop_forever"),
    Damage("lock", "corrupt_mmap"),
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.how)
def test_the_kernel_is_judged_by_what_it_printed(
    damage: Damage, prepared: PreparedKernel, command: Command, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN.format(damage.how))
    words = ("--module", str(DRIVER), "--node", "/dev/corrupt", "--plan", str(plan))
    done = run(command("check", "--isolation", "shared", *words), ok=range(256))
    silent = prepared.flavour.name in damage.silent_on
    assert done.status in ((0, 1) if silent else (1,)), done.stdout + done.stderr
    (checked,) = json.loads((tmp_path / "results/latest/check.json").read_text())
    failed = [each for each in checked["outcomes"] if each["verdict"] == "fails"]
    assert bool(failed) is (done.status == 1)
    if done.status == 1:
        assert damage.words in json.dumps(failed)
