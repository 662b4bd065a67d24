# SPDX-License-Identifier: GPL-2.0
"""A guest that a driver damages is judged by its kernel: a splat, or where it hangs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.deadline import Deadline
from testbed.errors import GuestTimeout
from testbed.kernel.driver import find_driver
from testbed.lab.guest import Guest
from testbed.lab.lab import Lab
from testbed.mmap.probe import PROGRAM
from testbed.mmap.script import Script
from testbed.process import run
from testbed.settings import CHECKOUT

DRIVER = CHECKOUT / "tests/vm/drivers/corrupt"


Command = Callable[..., list[str]]
Load = Callable[[str], None]

PLAN = """
sharing = ["shared"]
paths = ["direct"]
sizes = [4]
offsets = [0]
skip = ["*"]
parameters = "how=tails"
"""


@pytest.fixture
def load(lab: Lab, guest: Guest) -> Load:
    """Return a function that loads the driver. The guest is given up: it will be damaged."""
    driver = find_driver(DRIVER, guest.prepared.kernel, guest.prepared.request, lab.ctx)

    def load(how: str) -> None:
        (module,) = driver.modules
        guest.session.put(module.path.read_bytes(), "/corrupt.ko")
        guest.binaries[module.name] = module.path
        guest.session.load_module("/corrupt.ko", f"how={how}")

    return load


@pytest.mark.isolation("boot")
def test_a_silent_hang_is_shown_by_registers_and_call_trace(guest: Guest, load: Load) -> None:
    """The console is silent: with interrupts off, on one CPU, no watchdog runs."""
    load("loop")
    script = Script()
    script.open("f", "/dev/corrupt")
    script.map("m", "f")
    with pytest.raises(GuestTimeout, match="processors keep interrupts off") as caught:
        guest.session.run([PROGRAM], stdin=script.text.encode(), deadline=Deadline.after(600))
    guest.give_up("it hangs")
    shown = caught.value.evidence
    assert "CPU 0 is in the kernel, interrupts off" in shown
    assert "loop_forever+0x" in shown
    assert "[corrupt]" in shown
    called = [line.partition("+")[0].strip(" ?") for line in shown.splitlines()]
    callers = ("loop_forever", "corrupt_mmap", "mmap_region", "do_mmap", "vm_mmap_pgoff")
    places = [called.index(name) for name in callers]
    assert places == sorted(places)


def test_pages_that_are_freed_while_mapped_fail_the_check(command: Command, tmp_path: Path) -> None:
    """Whatever breaks afterwards, such as the channel to the agent: the kernel had warned."""
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    words = ("--module", str(DRIVER), "--node", "/dev/corrupt", "--plan", str(plan))
    done = run(command("check", "--isolation", "shared", *words), ok=range(256))
    assert done.status == 1, done.stdout + done.stderr
    (checked,) = json.loads((tmp_path / "results/latest/check.json").read_text())
    failed = [each for each in checked["outcomes"] if each["verdict"] == "fails"]
    kernels_words = ("bad page", "list corruption", "warning", "oops", "bug", "panic", "died")
    assert any(
        word in text for each in failed for text in each["complaints"] for word in kernels_words
    ), failed
