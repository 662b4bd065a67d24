# SPDX-License-Identifier: GPL-2.0
"""The loop of `testbed fuzz`: programs run, suspects are confirmed, killers are left out."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fuzz_parts import MAPS, ran
from notes import Notes

from testbed.errors import GuestError, GuestTimeout, ProbeKilled
from testbed.fuzz import alone, campaign
from testbed.fuzz.alone import Finding
from testbed.fuzz.campaign import Campaign, Profile
from testbed.fuzz.corpus import Corpus
from testbed.fuzz.drawing import draw
from testbed.fuzz.exchange import Ran
from testbed.fuzz.folder import write_finding
from testbed.fuzz.fuzzing import Fuzzing
from testbed.fuzz.kernelfile import KernelFile, Ways
from testbed.fuzz.known import KNOWN, known_without
from testbed.fuzz.program import Program, program_from
from testbed.lab.lab import Lab
from testbed.mmap.path import HookPath
from testbed.mmap.plan import Plan
from testbed.nightly.fuzz_cell import cases_of
from testbed.results.model import Status

Kernel = Callable[[Program, Sequence[HookPath]], Ran]


@dataclass
class FakeLab:
    """Guests whose kernel is a function. A guest that hung is of no more use."""

    progress: Notes = field(default_factory=Notes)
    guests: int = 0
    ended: bool = False

    @property
    def ctx(self) -> SimpleNamespace:
        return SimpleNamespace(progress=self.progress)

    def prepared(self, arch: str) -> SimpleNamespace:
        kernel = SimpleNamespace(version="7.3.4", symbol=lambda name: "n")
        return SimpleNamespace(kernel=kernel)

    @contextmanager
    def guest(self, arch: str, isolation: object, **options: object) -> Iterator[SimpleNamespace]:
        self.guests += 1
        yield SimpleNamespace(usable=True, give_up=lambda why: None)


@dataclass
class Fuzzed:
    """A campaign on a fake kernel, and what it kept."""

    campaign: Campaign
    kept: list[Finding]
    lab: FakeLab
    runs: list[tuple[Program, Any]]


@pytest.fixture
def fuzzed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Fuzzed]:
    def make(
        kernel: Kernel,
        *,
        programs: int = 60,
        known: Any = KNOWN,
        files: Sequence[KernelFile] = (),
        only: Sequence[str] = (),
    ) -> Fuzzed:
        runs: list[tuple[Program, Any]] = []

        def run_on(guest: Any, program: Program, paths: Sequence[HookPath]) -> Ran:
            runs.append((program, paths if isinstance(paths, Ways) else tuple(paths)))
            seen = kernel(program, paths)
            guest.usable = not isinstance(seen.aftermath, GuestTimeout)
            return seen

        def make_ready(guest: Any, file: KernelFile | None) -> Ways | None:
            return file.ready(guest) if file else None

        for module in (campaign, alone):
            monkeypatch.setattr(module, "run_on", run_on)
            monkeypatch.setattr(module, "make_ready", make_ready)
        monkeypatch.setattr(campaign, "kernel_files", lambda prepared: files)
        lab, kept = FakeLab(), list[Finding]()
        corpus = Corpus(tmp_path / "corpus")
        profile, rng = Profile(600.0, 600.0, programs), random.Random(1)
        made = Campaign(cast(Lab, lab), "x86_64", profile, known, corpus, rng, kept.append, only)
        return Fuzzed(made, kept, lab, runs)

    return make


def good(program: Program, paths: Sequence[HookPath]) -> Ran:
    return Ran(program)


def hangs(program: Program, paths: Sequence[HookPath]) -> Ran:
    """As KD5."""
    hang = program.plan.hide and HookPath.CUSTOM in paths
    return Ran(program, aftermath=GuestTimeout("no answer") if hang else None)


def _unserved(guest: Any) -> Ways:
    raise GuestError("mount: no such device")


FILES = (
    KernelFile("good", lambda guest: Ways(name="good", opening={"direct": ()})),
    KernelFile("bad", _unserved),
)


def test_a_file_that_no_guest_can_serve_is_left_out_and_said(fuzzed: Callable[..., Fuzzed]) -> None:
    made = fuzzed(good, files=FILES, only=("bad", "good"))
    made.campaign.run()
    assert made.campaign.tally.unserved == ["bad: mount: no such device"]
    assert made.campaign.tally.programs == len(made.runs) == 60
    assert {subject.name for _, subject in made.runs} == {"good"}
    alone = fuzzed(good, files=FILES, only=("bad",))
    alone.campaign.run()
    assert alone.runs == []


def test_a_file_is_a_subject_now_and_then(
    fuzzed: Callable[..., Fuzzed], monkeypatch: pytest.MonkeyPatch
) -> None:
    for most in ("_PROGRAMS_PER_GUEST", "_PROGRAMS_PER_FILE"):
        monkeypatch.setattr(campaign, most, 3)
    made = fuzzed(good, files=FILES[:1], programs=150)
    made.campaign.run()
    on_file = [subject for _, subject in made.runs if isinstance(subject, Ways)]
    assert 0 < len(on_file) < len(made.runs) / 2


def test_a_kernel_without_defects_shows_nothing(fuzzed: Callable[..., Fuzzed]) -> None:
    made = fuzzed(good)
    made.campaign.run()
    assert made.kept == []
    assert made.campaign.tally.programs == len(made.runs) == 60
    assert made.campaign.tally.left_out > 0


def test_several_guests_share_a_campaign(fuzzed: Callable[..., Fuzzed]) -> None:
    def kernel(program: Program, paths: Sequence[HookPath]) -> Ran:
        if len(made.runs) <= 2:
            both.wait()
        return Ran(program)

    both = threading.Barrier(2, timeout=60)
    made = fuzzed(kernel, programs=20)
    made.campaign.more_labs = [cast(Lab, other := FakeLab())]
    made.campaign.run()
    assert made.campaign.tally.programs == len(made.runs)
    assert 20 <= len(made.runs) <= 21
    assert made.lab.guests == other.guests == 1
    assert made.campaign.tally.guests == 2


def test_the_end_of_its_lab_ends_a_campaign(fuzzed: Callable[..., Fuzzed]) -> None:
    def kernel(program: Program, paths: Sequence[HookPath]) -> Ran:
        made.lab.ended = True
        return Ran(program)

    made = fuzzed(kernel)
    made.campaign.run()
    assert len(made.runs) == 1


def test_what_two_guests_find_is_reported_once(fuzzed: Callable[..., Fuzzed]) -> None:
    def kernel(program: Program, paths: Sequence[HookPath]) -> Ran:
        if len(made.runs) <= 2:
            both.wait()
        return Ran(program, failures={path: ProbeKilled("killed") for path in paths})

    both = threading.Barrier(2, timeout=60)
    made = fuzzed(kernel, programs=4)
    made.campaign.more_labs = [cast(Lab, FakeLab())]
    made.campaign.run()
    (found,) = made.kept
    assert found.deviation.title == "killed program"
    assert made.campaign.tally.repeated["killed program"] >= 1


def test_a_killer_is_reported_once_and_then_left_out(fuzzed: Callable[..., Fuzzed]) -> None:
    made = fuzzed(hangs, known=known_without(["KD5"]))
    made.campaign.run()
    (found,) = made.kept
    assert found.deviation.title == "hang"
    assert found.deviation.path is HookPath.CUSTOM
    assert found.kills
    assert found.smallest.plan.hide
    assert found.smallest.steps == ()
    assert HookPath.CUSTOM not in made.campaign.paths_of(Program(plan=Plan(hide=1, private=1)))
    assert HookPath.CUSTOM in made.campaign.paths_of(Program(plan=Plan(private=1)))
    assert made.campaign.tally.damaged == 1


def test_a_killer_on_a_second_path_is_left_out_on_all(fuzzed: Callable[..., Fuzzed]) -> None:
    def kernel(program: Program, paths: Sequence[HookPath]) -> Ran:
        hang = program.plan.hide and {HookPath.CUSTOM, HookPath.STACK} & set(paths)
        return Ran(program, aftermath=GuestTimeout("no answer") if hang else None)

    made = fuzzed(kernel, known=known_without(["KD5"]), programs=100)
    made.campaign.run()
    assert len(made.kept) == 1
    assert made.campaign.tally.repeated == {"hang": 1}
    assert made.campaign.tally.damaged == 2
    assert made.campaign.paths_of(Program(plan=Plan(hide=1))) == []
    assert made.campaign.paths_of(Program(plan=Plan(private=1))) != []


def test_a_killer_that_does_not_show_again_alone_is_left_out_too(
    fuzzed: Callable[..., Fuzzed],
) -> None:
    seen: list[Program] = []

    def kernel(program: Program, paths: Sequence[HookPath]) -> Ran:
        hang = program.plan.hide and program not in seen
        seen.append(program)
        return Ran(program, aftermath=GuestTimeout("no answer") if hang else None)

    made = fuzzed(kernel, programs=100)
    made.campaign.run()
    assert made.kept == []
    again = made.campaign.tally.repeated["hang"]
    assert made.campaign.tally.damaged == 1 + again
    killers = list(dict.fromkeys(program for program in seen if program.plan.hide))
    assert all(made.campaign.paths_of(program) == [] for program in killers[1:])


def test_a_campaign_ends_when_all_programs_are_left_out(
    fuzzed: Callable[..., Fuzzed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "_PROGRAMS_PER_GUEST", 5)
    made = fuzzed(good)
    made.campaign.leave_out(Program())
    made.campaign.run()
    assert made.runs == []
    assert made.lab.guests == 1


def test_what_does_not_show_again_alone_is_no_finding(fuzzed: Callable[..., Fuzzed]) -> None:
    seen: list[Program] = []

    def flickers(program: Program, paths: Sequence[HookPath]) -> Ran:
        seen.append(program)
        return Ran(program, aftermath=GuestTimeout("no answer") if len(seen) == 3 else None)

    made = fuzzed(flickers)
    made.campaign.run()
    assert made.kept == []
    assert made.campaign.tally.unsteady == ["hang"]


def test_a_program_that_the_probe_refuses_says_nothing(fuzzed: Callable[..., Fuzzed]) -> None:
    made = fuzzed(lambda program, paths: Ran(program, refused="bad line"))
    made.campaign.run()
    assert made.kept == []
    assert made.campaign.tally.refused["bad line"] == made.campaign.tally.programs
    assert not list(made.campaign.corpus.root.glob("*"))


def test_the_corpus_keeps_what_reached_something_new(tmp_path: Path) -> None:
    drawn = draw(random.Random(1))
    assert drawn is not None
    corpus = Corpus(tmp_path)
    assert corpus.consider(drawn, ran(MAPS, HookPath.DIRECT))
    assert not corpus.consider(drawn, ran(MAPS, HookPath.DIRECT))
    assert corpus.consider(drawn, ran(MAPS, HookPath.STACK))
    again = Corpus(tmp_path)
    again.load(pytest.fail)
    assert [each.program for each in again.drawn] == [drawn.program]


@pytest.mark.parametrize(
    "text", ["", "{}", '{"choices": "zz"}', '{"choices": "ff"}', "[1]", '{"choices": 12}']
)
def test_a_damaged_file_of_the_corpus_is_moved_aside(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    notes: list[str] = []
    corpus = Corpus(tmp_path)
    corpus.load(notes.append)
    assert corpus.drawn == []
    assert (tmp_path / "corrupt" / "bad.json").read_text() == text
    assert notes == [f"the corpus has a damaged file, which is now {tmp_path}/corrupt/bad.json"]
    corpus.load(pytest.fail)


def test_a_folder_in_place_of_a_program_is_moved_aside(tmp_path: Path) -> None:
    (tmp_path / "bad.json").mkdir()
    corpus = Corpus(tmp_path)
    corpus.load(list[str]().append)
    assert corpus.drawn == []
    assert (tmp_path / "corrupt" / "bad.json").is_dir()
    corpus.load(pytest.fail)


def test_the_folder_of_a_finding(fuzzed: Callable[..., Fuzzed], tmp_path: Path) -> None:
    made = fuzzed(hangs, known=known_without(["KD5"]))
    made.campaign.run()
    (found,) = made.kept
    folder = write_finding(tmp_path, found)
    assert folder.name == "hang"
    assert program_from((folder / "program.json").read_text()) == found.smallest
    assert "on custom: no answer" in (folder / "finding.txt").read_text()
    names = {file.name for file in (folder / "selftest").iterdir()}
    shared = {"mmap_testbed.h", "reproducer.h", "run.h", "faults.h", "second.h"}
    assert names == {"Makefile", "hang.c", *shared}
    test = (folder / "test_hang.py").read_text()
    scope: dict[str, Any] = {}
    exec(compile(test, "test_hang.py", "exec"), scope)
    assert scope["PROGRAM"] == found.smallest
    assert write_finding(tmp_path, found).name == "hang-x86_64"
    assert json.loads((folder / "original.json").read_text())["plan"]["hide"] == 1


def test_a_cell_has_a_case_for_the_campaign_and_one_for_each_finding(
    fuzzed: Callable[..., Fuzzed],
) -> None:
    made = fuzzed(hangs, known=known_without(["KD5"]))
    made.campaign.run()
    done, found = cases_of(made.campaign)
    assert (done.test, done.status) == ("fuzz::campaign[x86_64]", Status.PASS)
    assert (found.test, found.status) == ("fuzz::hang[x86_64]", Status.FAIL)
    assert found.reason == "no answer"
    assert "on custom: no answer" in found.evidence


def test_the_report_for_programs_is_json(fuzzed: Callable[..., Fuzzed], tmp_path: Path) -> None:
    made = fuzzed(hangs, known=known_without(["KD5"]))
    made.campaign.run()
    made.campaign.tally.refused["bad line"] += 2
    made.campaign.tally.failed = 3
    lab = cast(Lab, made.lab)
    fuzzing = Fuzzing(lab, made.campaign.profile, 7, tmp_path, KNOWN, campaigns=[made.campaign])
    (found,) = json.loads(json.dumps(fuzzing.content()))["campaigns"]
    assert found["refused"] == {"bad line": 2}
    assert [each["title"] for each in found["found"]] == ["hang"]
    lines = list(fuzzing.lines())
    assert lines[-1] == "seed: 7"
    assert any(line.startswith("NEW hang on custom, after ") for line in lines)
    assert "  refused by the testbed's own programs: 2 (bad line)" in lines
    failed = "  allocations that failed: 3, processes killed at their limit of memory: 0"
    assert failed in lines
