# SPDX-License-Identifier: GPL-2.0
"""A program's exchange with a guest, and the command line of `testbed fuzz`."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner
from fuzz_parts import MAPS, ran

from testbed.cli.fuzz import fuzz
from testbed.errors import (
    GuestTimeout,
    KernelSplat,
    ProbeKilled,
    ProbeProtocolError,
    SessionError,
    SetupError,
    TestbedError,
)
from testbed.fuzz.exchange import run_program
from testbed.guest.session import Result, Session
from testbed.lab.guest import Guest
from testbed.mmap.path import HookPath
from testbed.mmap.probe import Prober
from testbed.mmap.script import Script


class FakeSession:
    """Answers each run with an output, or an error."""

    slowdown = 1.0

    def __init__(self, output: str | TestbedError) -> None:
        self.output = output
        self.inputs: list[str] = []

    def run(self, argv: list[str], *, stdin: bytes, **options: object) -> Result:
        self.inputs.append(stdin.decode())
        if isinstance(self.output, TestbedError):
            raise self.output
        return Result(("probe",), 0, self.output.encode(), b"", pid=9)


@dataclass(frozen=True)
class FakeKernel:
    """A kernel with or without KCOV."""

    kcov: str = "n"

    def symbol(self, name: str) -> str:
        return self.kcov if name in ("KCOV", "FAULT_INJECTION") else "n"


class FakeGuest:
    """A guest whose end of a program raises what it is given."""

    def __init__(
        self, output: str | TestbedError, end: TestbedError | None = None, kcov: str = "n"
    ) -> None:
        self.prepared = SimpleNamespace(kernel=FakeKernel(kcov))
        self.session = FakeSession(output)
        self.prober = Prober(cast(Session, self.session))
        self.end = end
        self.given_up = ""

    def begin(self, name: str) -> None:
        pass

    def finish(self) -> None:
        if self.end is not None and not self.given_up:
            raise self.end

    def give_up(self, reason: str) -> None:
        self.given_up = reason


PATHS = (HookPath.DIRECT, HookPath.STACK)


def recorded(*ends: str) -> str:
    outputs = [execution.seen.output for execution in ran(MAPS, *PATHS).executions.values()]
    parts = [f'{{"part":{number},{end}}}\n' for number, end in enumerate(ends, 1)]
    return "".join(f"{text.strip()}\n{part}" for text, part in zip(outputs, parts, strict=True))


def run_it(guest: Any) -> Any:
    return run_program(cast(Guest, guest), MAPS, PATHS)


def test_all_paths_of_a_program_are_one_run_of_the_probe() -> None:
    guest = FakeGuest(recorded('"status":0', '"status":0'))
    found = run_it(guest)
    assert list(found.executions) == list(PATHS)
    assert found.failures == {}
    assert found.aftermath is None
    (text,) = guest.session.inputs
    assert text.count("\nnext\n") == 1


def test_programs_report_what_they_reach_if_the_kernel_can_say_it() -> None:
    guest = FakeGuest(recorded('"status":0', '"status":0'), kcov="y")
    run_it(guest)
    (text,) = guest.session.inputs
    assert [part.splitlines()[0] for part in text.split("next\n")] == ["kcov", "kcov"]


def test_a_killed_program_leaves_the_other_paths() -> None:
    output = re.sub(r'{"done": ?true}\n(?={"part":2)', "", recorded('"status":0', '"signal":11'))
    found = run_it(FakeGuest(output))
    assert list(found.executions) == [HookPath.DIRECT]
    assert isinstance(found.failures[HookPath.STACK], ProbeKilled)


def test_a_script_that_is_refused_says_nothing_of_the_kernel() -> None:
    bad = '{"step":3,"error":"usage","text":"no such step"}\n{"part":1,"status":2}\n'
    assert "no such step" in run_it(FakeGuest(bad)).refused
    assert run_it(FakeGuest(bad)).executions == {}


def test_a_single_script_has_a_process_of_its_own_too() -> None:
    session = FakeSession('{"step":1,"op":"env"}\n{"done":true}\n{"part":1,"status":0}\n')
    (found,) = Prober(cast(Session, session)).run_each([Script(["env"])], 1.0)
    assert not isinstance(found, TestbedError)
    assert found[1].op == "env"
    assert session.inputs == ["env\nnext\n"]


def test_after_a_hang_the_guest_is_given_up() -> None:
    guest = FakeGuest(GuestTimeout("no answer"), KernelSplat("what it printed"))
    found = run_it(guest)
    assert isinstance(found.aftermath, GuestTimeout)
    assert guest.given_up == "no answer"


def test_a_splat_comes_before_the_error_that_it_led_to() -> None:
    found = run_it(FakeGuest(KernelSplat("the session broke"), KernelSplat("oops")))
    assert found.aftermath.message == "oops"


def test_a_broken_session_of_a_clean_guest_is_the_hosts_fault() -> None:
    with pytest.raises(SessionError):
        run_it(FakeGuest(SessionError("broken")))
    with pytest.raises(ProbeProtocolError):
        run_it(FakeGuest(recorded('"status":0', '"status":0'), ProbeProtocolError("garbage")))


def test_without_hypothesis_the_command_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = CliRunner().invoke(fuzz, [])
    assert isinstance(result.exception, SetupError)
    assert "mmap-testbed[fuzz]" in result.exception.hint


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--profile", "long"], "'long' is not one of 'smoke', 'hours'"),
        (["--seconds", "0"], "0.0 is not in the range"),
        (["--seed", "x"], "'x' is not a valid integer"),
    ],
)
def test_an_invalid_option_is_refused(words: list[str], text: str) -> None:
    result = CliRunner().invoke(fuzz, words)
    assert result.exit_code == 2
    assert text in result.output


def test_the_fake_has_what_the_guest_has() -> None:
    for name in ("begin", "finish", "give_up"):
        assert callable(getattr(Guest, name))
