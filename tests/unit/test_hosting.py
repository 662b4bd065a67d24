# SPDX-License-Identifier: GPL-2.0
"""scripts/hosts: the hosts, their command lines, and how a check is judged."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosting import rootimage
from hosting.checks import Check, checks
from hosting.hostmachine import HostMachine, host_argv
from hosting.hosttable import HOSTS, Host, find_host
from hosting.inside import samefacts
from hosting.poor import poor_checks
from hosting.rootimage import RootImage
from hosting.rounds import Round

from testbed.arch import ARCHES
from testbed.errors import InfraError, SetupError
from testbed.process import Completed, spawn
from testbed.progress import SilentProgress
from testbed.results.model import Case, Run, Status
from testbed.results.store import append_facts, write_run


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Host:
    return HOSTS[request.param]


def test_an_unknown_host_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SetupError) as caught:
        find_host("debian13-arm46")
    assert "debian13-arm64" in caught.value.hint


def test_a_host_keeps_its_disks_as_they_are(host: Host) -> None:
    argv = host_argv(host, RootImage(Path("/r")), Path("/round.img"), Path("/c.log"), 7)
    drives = [word for flag, word in itertools.pairwise(argv) if flag == "-drive"]
    assert drives == [
        "file=/r/root.img,format=raw,if=none,id=root,snapshot=on",
        "file=/round.img,format=raw,if=none,id=round,readonly=on",
    ]


def test_every_host_has_its_processors_virtualization(host: Host) -> None:
    argv = host_argv(host, RootImage(Path("/r")), Path("/round.img"), Path("/c.log"), 7)
    words = " ".join(argv)
    assert "-accel tcg" in words
    assert "-cpu max" in words  # of x86_64: with SVM
    assert ("virtualization=on" in words) == (host.arch is ARCHES["arm64"])


def test_a_user_without_namespaces_is_shown_the_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = Completed((), 1, "", "unshare: unshare failed: Operation not permitted")
    monkeypatch.setattr("os.getuid", lambda: 1000)
    monkeypatch.setattr(rootimage, "run", lambda *words, **options: refused)
    with pytest.raises(SetupError, match="no user namespace") as caught:
        rootimage.require_namespaces()
    assert "kernel.unprivileged_userns_clone=1" in caught.value.hint
    assert "Operation not permitted" in caught.value.evidence


def test_checks_have_names_of_their_own_and_deadlines(host: Host) -> None:
    found = [*checks(host, tuple(ARCHES)), *poor_checks(host)]
    assert len({check.name for check in found}) == len(found)
    assert all(0 < check.seconds <= 3600 for check in found)


def test_a_check_of_both_architectures_needs_both_kernels(host: Host) -> None:
    alone = [check.name for check in checks(host, (host.arch.name,))]
    both = [check.name for check in checks(host, tuple(ARCHES))]
    assert set(both) - set(alone) == {"run-both"}


@pytest.mark.parametrize(
    ("status", "output", "complaint"),
    [
        (0, "x\nup: 7.3\n", ""),
        (3, "x\nup: 7.3\n", "exit status 3, not 0"),
        (0, "no up: here\n", "does not show ^up: "),
    ],
)
def test_a_check_is_judged_by_its_status_and_its_output(
    status: int, output: str, complaint: str
) -> None:
    check = Check(name="boot", script="true", seconds=1, shows=("^up: ",))
    assert check.complaint(status, output) == complaint


class FakeAgent:
    """The agent in a host: answers each request with the next of `answers`."""

    def __init__(self, channel: socket.socket, *answers: list[dict[str, object]]) -> None:
        self.requests: list[dict[str, object]] = []
        self._channel, self._answers = channel, answers
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with self._channel.makefile("r") as lines:
            for answers in self._answers:
                self.requests.append(json.loads(lines.readline()))
                for answer in answers:
                    self._channel.sendall(json.dumps(answer).encode() + b"\n")
        self._channel.close()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[tuple[HostMachine, socket.socket]]:
    """A host whose QEMU is `sleep`, and the agent's end of its channel."""
    ours, theirs = socket.socketpair()
    (tmp_path / "console.log").write_text("Kernel panic - not syncing\n")
    with ours, theirs, spawn(["sleep", "60"], log=tmp_path / "qemu.log") as process:
        yield HostMachine(HOSTS["debian12-amd64"], process, tmp_path, ours), theirs


def test_a_script_yields_its_lines_and_its_status(
    machine: tuple[HostMachine, socket.socket],
) -> None:
    agent = FakeAgent(machine[1], [{"line": "one"}, {"line": "two"}, {"status": 5}])
    outcome = machine[0].run("true", 10)
    assert (outcome.status, outcome.lines) == (5, ("one", "two"))
    assert agent.requests == [{"script": "true", "user": "tester", "seconds": 10}]


def test_a_host_that_dies_shows_its_console(machine: tuple[HostMachine, socket.socket]) -> None:
    FakeAgent(machine[1], [{"line": "one"}])
    with pytest.raises(InfraError, match="debian12-amd64 is gone") as caught:
        machine[0].run("true", 10)
    assert "Kernel panic" in caught.value.evidence


def test_a_failed_check_is_reported_with_its_last_lines_and_the_next_one_runs(
    machine: tuple[HostMachine, socket.socket], tmp_path: Path
) -> None:
    FakeAgent(machine[1], [{"line": "oh"}, {"status": 1}], [{"line": "up: 7"}, {"status": 0}])
    shown: list[str] = []
    done = Round(tmp_path, SilentProgress(), shown.append)
    done.perform(machine[0], [Check(name=name, script="x", seconds=5) for name in ("one", "two")])
    assert [verdict.check for verdict in done.failed] == ["one"]
    assert "exit status 1, not 0\n    oh" in shown[0]
    assert shown[1].endswith("pass")
    assert (tmp_path / "debian12-amd64-one.log").read_text() == "oh\n"


def test_a_host_that_a_check_changed_is_changed_back(
    machine: tuple[HostMachine, socket.socket], tmp_path: Path
) -> None:
    answers: list[list[dict[str, object]]] = [[{"status": status}] for status in (0, 7, 0)]
    agent = FakeAgent(machine[1], *answers)
    done = Round(tmp_path, SilentProgress(), lambda line: None)
    check = Check(name="lean", script="x", seconds=5, before="mount /a", after="umount /a")
    done.perform(machine[0], [check])
    scripts = [str(request["script"]).splitlines()[-1] for request in agent.requests]
    assert scripts == ["mount /a", "x", "umount /a"]
    assert [request["user"] for request in agent.requests] == ["root", "tester", "root"]
    assert done.failed[0].complaint == "exit status 7, not 0"


def test_a_check_on_a_host_that_cannot_be_changed_fails(
    machine: tuple[HostMachine, socket.socket], tmp_path: Path
) -> None:
    agent = FakeAgent(machine[1], [{"line": "mount: no"}, {"status": 32}])
    done = Round(tmp_path, SilentProgress(), lambda line: None)
    done.perform(machine[0], [Check(name="lean", script="x", seconds=5, before="mount /a")])
    assert len(agent.requests) == 1
    assert done.failed[0].complaint == "exit status 32, not 0\n    mount: no"


def test_every_change_of_a_host_is_undone(host: Host) -> None:
    for check in poor_checks(host):
        assert bool(check.before) == bool(check.after), check.name


@pytest.mark.parametrize(
    ("new", "status"),
    [
        ({"vma.smaps.Rss": "4", "vma.smaps.ProtectionKey": "0"}, 0),
        ({"vma.smaps.Rss": "4"}, 0),
        ({"vma.smaps.Rss": "4", "vma.smaps.ProtectionKey": "1"}, 1),
        ({"vma.smaps.Rss": "8", "vma.smaps.ProtectionKey": "0"}, 1),
        ({"vma.smaps.ProtectionKey": "0"}, 1),
    ],
    ids=["equal", "no-feature", "other-key", "other-fact", "fewer-facts"],
)
def test_facts_that_a_processor_lacks_are_no_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], new: dict[str, str], status: int
) -> None:
    base = {"vma.smaps.Rss": "4", "vma.smaps.ProtectionKey": "0"}
    case = Case(test="t", arch="x86_64", path="stack", status=Status.PASS)
    for name, facts in (("base", base), ("new", new)):
        folder = tmp_path / name / "latest"
        folder.mkdir(parents=True)
        write_run(folder, Run(name=name, command="c", started="s", cases=(case,)))
        append_facts(folder, "t", {"script": facts})
    assert samefacts.main(tmp_path / "base" / "latest", tmp_path / "new" / "latest") == status
    assert f": {status} facts differ" in capsys.readouterr().out
