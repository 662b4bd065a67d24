# SPDX-License-Identifier: GPL-2.0
"""The phase of a VM, from recorded consoles, the monitor's events and the end of QEMU."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.vm.phase import Phase, Snapshot, find_panic, judge, last_lines, panic_text
from testbed.vm.qmp import Event

CONSOLES = Path(__file__).parent / "data" / "console"
MACHINES = ("x86_64", "arm64")

RESET = Event("SHUTDOWN", {"guest": True, "reason": "guest-reset"})
POWERED_OFF = Event("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"})
QUIT = Event("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"})


def recorded(name: str) -> str:
    return (CONSOLES / f"{name}.log").read_bytes().decode().replace("\r", "")


@pytest.mark.parametrize("machine", MACHINES)
def test_userspace_is_up_when_init_says_so(machine: str) -> None:
    text = recorded(f"ready-{machine}")
    assert judge(Snapshot(text)) is Phase.READY
    assert judge(Snapshot(text.rpartition("testbed: ready")[0])) is Phase.BOOTING


def test_a_ready_line_with_a_caller_counts() -> None:
    assert judge(Snapshot("[    1.910226][   T40] testbed: ready\n")) is Phase.READY


def test_a_ready_line_on_the_kernels_command_line_does_not_count() -> None:
    line = "[    0.000000] Command line: note='testbed: ready' console=ttyS0\n"
    assert judge(Snapshot(line)) is Phase.BOOTING


def test_half_a_ready_line_does_not_count() -> None:
    assert judge(Snapshot("[    1.910226] testbed: rea")) is Phase.BOOTING


def test_a_silent_console_is_booting() -> None:
    assert judge(Snapshot("")) is Phase.BOOTING
    assert judge(Snapshot(recorded("hang-arm64"))) is Phase.BOOTING


@pytest.mark.parametrize("machine", MACHINES)
def test_a_panic_is_over_when_the_machine_resets(machine: str) -> None:
    text = recorded(f"panic-{machine}")
    assert judge(Snapshot(text)) is Phase.ENDING
    assert judge(Snapshot(text, (RESET,))) is Phase.ENDING
    assert judge(Snapshot(text, (RESET,), gone=True)) is Phase.PANICKED


def test_a_kernel_that_stays_after_its_panic_has_panicked() -> None:
    text = "Kernel panic - not syncing: x\n---[ end Kernel panic - not syncing: x ]---\n"
    assert judge(Snapshot(text)) is Phase.PANICKED


def test_a_panic_after_ready_is_a_panic() -> None:
    text = recorded("ready-x86_64") + recorded("panic-x86_64")
    assert judge(Snapshot(text, (RESET,), gone=True)) is Phase.PANICKED


@pytest.mark.parametrize(
    ("event", "phase"),
    [(RESET, Phase.RESET), (POWERED_OFF, Phase.POWERED_OFF), (QUIT, Phase.QEMU_DIED)],
    ids=["reset", "poweroff", "quit"],
)
def test_the_shutdown_event_distinguishes_the_guests_end_from_qemus(
    event: Event, phase: Phase
) -> None:
    text = recorded("ready-arm64")
    assert judge(Snapshot(text, (event,))) is Phase.ENDING
    assert judge(Snapshot(text, (event,), gone=True)) is phase


def test_qemu_that_ends_silently_has_died() -> None:
    assert judge(Snapshot(recorded("hang-arm64"), gone=True)) is Phase.QEMU_DIED


def test_a_stopped_guest_is_stopped_until_it_is_resumed() -> None:
    stop, resume = Event("STOP", {}), Event("RESUME", {})
    text = recorded("ready-arm64")
    assert judge(Snapshot(text, (stop,))) is Phase.STOPPED
    assert judge(Snapshot(text, (stop, resume))) is Phase.READY


def test_a_panic_that_only_a_device_reports_counts() -> None:
    shutdown = Event("SHUTDOWN", {"guest": True, "reason": "guest-panic"})
    assert judge(Snapshot("", (shutdown,), gone=True)) is Phase.PANICKED


def test_only_ends_are_ends() -> None:
    going = {Phase.BOOTING, Phase.READY, Phase.ENDING}
    assert {phase for phase in Phase if not phase.is_end} == going


@pytest.mark.parametrize("machine", MACHINES)
def test_the_cause_of_a_panic_is_the_kernels_own_words(machine: str) -> None:
    cause = 'VFS: Unable to mount root fs on "" or unknown-block(0,0)'
    assert find_panic(recorded(f"panic-{machine}")) == cause
    assert find_panic(recorded(f"ready-{machine}")) == ""


@pytest.mark.parametrize("machine", MACHINES)
def test_a_panics_text_begins_with_it_and_has_its_trace(machine: str) -> None:
    lines = panic_text(recorded(f"panic-{machine}")).splitlines()
    assert "Kernel panic - not syncing" in lines[0]
    assert any("mount_root_generic" in line for line in lines)


def test_a_panics_text_begins_with_the_oops_that_led_to_it() -> None:
    text = "booting\nBUG: kernel NULL pointer dereference\nRIP: x\nKernel panic - not syncing: y\n"
    assert panic_text(text).startswith("BUG: kernel NULL")


def test_the_last_lines_are_the_last() -> None:
    assert last_lines("a\nb\nc\n", 2) == "b\nc"
