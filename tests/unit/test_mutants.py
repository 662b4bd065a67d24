# SPDX-License-Identifier: GPL-2.0
"""Known-bad kernels: the files of mutations, their fates, and the records of outcomes."""

from __future__ import annotations

import ast
import dataclasses
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from testbed.context import Context
from testbed.errors import InfraError, SetupError
from testbed.kernel.series import Series
from testbed.mutants import campaign as campaigns
from testbed.mutants.campaign import Campaign, exit_status, killers_of, sample, select
from testbed.mutants.crew import Crew, Died, Job
from testbed.mutants.mutation import (
    MUTANTS,
    Fate,
    Mutation,
    Outcome,
    Records,
    Sieve,
    by_cost,
    killers_first,
    load_mutations,
    summary_lines,
    table_lines,
    verdict_of,
)
from testbed.mutants.trial import Attempt, Trial, Tried, lab_of, render, settled
from testbed.report.text import first_lines
from testbed.results.model import Case, Run, Status
from testbed.settings import CHECKOUT
from testbed.suite.identity import SUITE
from testbed.suite.orderdata import Killers

PATCH = """\
--- a/mm/util.c
+++ b/mm/util.c
@@ -1 +1 @@
-Equivalent: not a header
+int b;
"""

HEADER = """\
What: compat: the hook sees
    another file
Undoes: 10, R2
Kernels: 7.3 and later
Arches: x86_64
---
"""


def write(folder: Path, name: str, text: str = PATCH) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def mutation(name: str, *files: str, equivalent: str = "") -> Mutation:
    path = Path(f"{name}.patch")
    return Mutation(name=name, path=path, identity=name, files=files, equivalent=equivalent)


def outcome(name: str, fate: Fate, *, arch: str = "x86_64", test: str = "") -> Outcome:
    return Outcome(mutation=name, identity=name, arch=arch, fate=fate, test=test)


def run_of(*cases: Case) -> Run:
    return Run(name="r", command="", started="", cases=cases)


def case(status: Status, error: str = "") -> Case:
    return Case(test=f"t.py::{status}", status=status, error=error)


def test_a_header_describes_a_mutation(tmp_path: Path) -> None:
    write(tmp_path, "U2.patch", HEADER + PATCH)
    [found] = load_mutations(tmp_path)
    assert (found.name, found.files) == ("U2", ("mm/util.c",))
    assert found.what == "compat: the hook sees another file"
    assert (found.undoes, found.kernels, found.arches) == ("10, R2", "7.3 and later", "x86_64")
    assert found.equivalent == ""


def test_a_header_is_optional_and_does_not_change_the_identity(tmp_path: Path) -> None:
    write(tmp_path, "bare.diff")
    write(tmp_path, "headed.patch", HEADER + PATCH)
    bare, headed = load_mutations(tmp_path)
    assert bare.what == bare.equivalent == ""
    assert bare.identity == headed.identity


def test_a_semantic_patch_has_its_header_in_comments(tmp_path: Path) -> None:
    write(tmp_path, "a.cocci", "// What: no zapping,\n//   ever\n@@ @@\n- zap();\n")
    [found] = load_mutations(tmp_path)
    assert (found.what, found.semantic, found.files) == ("no zapping, ever", True, ())


def test_two_mutations_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.cocci", "a.d.patch", "a.patch"):
        write(tmp_path, name, "")
    with pytest.raises(SetupError, match=r"a\.cocci and a\.patch are two mutations of one name"):
        load_mutations(tmp_path)


def test_a_folder_without_mutations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="is not a folder"):
        load_mutations(tmp_path / "absent")
    write(tmp_path, "README", "none")
    with pytest.raises(SetupError, match=r"\*\.patch"):
        load_mutations(tmp_path)


def test_our_own_mutations_have_complete_headers() -> None:
    ours = load_mutations(MUTANTS)
    assert [found.name for found in ours if not (found.what and found.undoes)] == []
    assert len({found.identity for found in ours}) == len(ours)
    assert all(len(found.files) == 1 for found in ours)


def test_mutations_of_headers_come_last() -> None:
    costs = [
        mutation("a", "include/linux/fs.h"),
        mutation("b", "mm/vma.h"),
        mutation("c", "mm/a.c"),
    ]
    assert [found.name for found in by_cost(costs)] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("wrong", "fate"),
    [
        (case(Status.FAIL, "AssertionError"), Fate.ORACLE),
        (case(Status.FAIL, "GuestFileError"), Fate.ORACLE),
        (case(Status.FAIL), Fate.ORACLE),  # a recorded defect that did not show
        (case(Status.FAIL, "KernelSplat"), Fate.SPLAT),
        (case(Status.MISS, "KernelSplat"), Fate.SPLAT),
        (case(Status.FAIL, "GuestLost"), Fate.LOST),
        (case(Status.FAIL, "GuestTimeout"), Fate.LOST),
        (case(Status.MISS, "BootPanic"), Fate.BOOT),
        (case(Status.MISS, "BuildError"), Fate.BUILD),
        (case(Status.ERROR, "KeyError"), Fate.BROKE),
        (case(Status.ERROR, "ProbeProtocolError"), Fate.BROKE),
        (case(Status.MISS, "SessionError"), Fate.UNKNOWN),
        (case(Status.MISS), Fate.UNKNOWN),
    ],
    ids=lambda value: f"{value.status}-{value.error}" if isinstance(value, Case) else value,
)
def test_the_first_unexpected_case_decides_the_fate(wrong: Case, fate: Fate) -> None:
    assert verdict_of(run_of(case(Status.PASS), case(Status.XFAIL), wrong)) == (fate, wrong)


def test_a_mutant_survives_only_tests_that_ran() -> None:
    passed = run_of(case(Status.PASS), case(Status.XFAIL), case(Status.SKIP))
    assert verdict_of(passed) == (Fate.SURVIVED, None)
    assert verdict_of(run_of(case(Status.SKIP)))[0] is Fate.UNKNOWN
    assert verdict_of(run_of())[0] is Fate.UNKNOWN


def test_build_and_boot_do_not_count_as_kills_by_the_suite() -> None:
    kills = {fate for fate in Fate if fate.killed_by_suite}
    assert kills == {Fate.ORACLE, Fate.SPLAT, Fate.LOST}


def test_records_are_kept_from_run_to_run(tmp_path: Path) -> None:
    kept = dataclasses.replace(outcome("a", Fate.SPLAT, test="t"), sieve=Sieve.CAUGHT)
    Records(tmp_path / "new").keep("key", kept, "the log")
    again = Records(tmp_path / "new")
    assert again.find("key") == kept
    assert again.log("key").read_text() == "the log"
    assert again.find("other") is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"fate": "no such"}'])
def test_a_damaged_record_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "key.json").write_text(text)
    assert Records(tmp_path).find("key") is None


def test_only_kills_by_tests_on_that_architecture_count(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.keep("1", outcome("a", Fate.ORACLE, test="t"), "")
    records.keep("2", outcome("b", Fate.BOOT, test="t"), "")
    records.keep("3", outcome("c", Fate.SPLAT, test="t", arch="arm64"), "")
    assert [kill.mutation for kill in records.kills("x86_64")] == ["a"]


def test_the_last_killer_of_a_mutation_comes_before_the_most_frequent_killers() -> None:
    kills = [
        outcome(name, Fate.ORACLE, test=test)
        for name, test in (("a", "t1"), ("b", "t2"), ("c", "t2"), ("d", "t3"), ("a", "t3"))
    ]
    assert killers_first(kills, mutation("a")) == ["t3", "t2", "t1"]
    assert killers_first(kills[:3]) == ["t2", "t1"]


def test_the_table_distinguishes_killed_survived_and_equivalent() -> None:
    same = mutation("same", equivalent="it takes | and gives")
    names = [mutation("killed"), mutation("lives"), same, mutation("dead"), mutation("late")]
    found = [
        outcome("killed", Fate.ORACLE, test="tests/vm/contract/test_a.py::b[x86_64]"),
        outcome("lives", Fate.SURVIVED),
        outcome("same", Fate.EQUIVALENT),
        dataclasses.replace(outcome("dead", Fate.BUILD), reason="a.c:1: error", test="t"),
    ]
    rows = table_lines(names, found)
    assert rows[0] == "| mutation | what it does | undoes | x86_64 | tools/testing/vma |"
    assert rows[2:] == [
        "| killed |  |  | oracle: test_a.py::b[x86_64] | - |",
        "| lives |  |  | survived | - |",
        "| same |  |  | equivalent: it takes \\| and gives | - |",
        "| dead |  |  | build: a.c:1: error | - |",
        "| late |  |  | not tried | - |",
    ]


def test_the_summary_counts_each_architecture() -> None:
    found = [
        outcome("a", Fate.ORACLE),
        outcome("b", Fate.BOOT),
        outcome("a", Fate.LOST, arch="arm64"),
    ]
    assert summary_lines(found) == [
        "x86_64: 2 mutations, 1 killed by the suite: 1 oracle, 1 boot",
        "arm64: 1 mutations, 1 killed by the suite: 1 lost",
    ]


def test_evidence_is_the_first_lines_that_are_not_empty() -> None:
    assert first_lines("\n".join(["", *"abcdefghijklmnop"])).split() == list("abcdefghijkl")


def test_mutations_are_chosen_by_name_and_file() -> None:
    names = [mutation("U2", "mm/util.c"), mutation("U20", "mm/util.c"), mutation("x", "mm/vma.c")]
    assert [found.name for found in select(names, "util and not u20")] == ["U2"]
    assert select(names, None) == names
    with pytest.raises(SetupError, match="no mutation matches"):
        select(names, "absent")
    with pytest.raises(SetupError, match="-k"):
        select(names, "a b (")


def test_only_a_survivor_counts_against_the_suite() -> None:
    good = [outcome("a", Fate.ORACLE), outcome("b", Fate.EQUIVALENT), outcome("c", Fate.ABSENT)]
    assert exit_status(good) == 0
    assert exit_status([*good, outcome("d", Fate.UNKNOWN)]) == 3
    assert exit_status([*good, outcome("d", Fate.UNKNOWN), outcome("e", Fate.SURVIVED)]) == 1


def test_a_semantic_patch_is_rendered_on_the_layers_files(tmp_path: Path) -> None:
    if shutil.which("spatch") is None:
        pytest.skip("Coccinelle is not installed")
    tree = tmp_path / "tree"
    (tree / "mm").mkdir(parents=True)
    (tree / "mm/util.c").write_text("int f(int a)\n{\n\treturn g(a);\n}\n")
    write(tmp_path / "m", "a.cocci", "@@\nexpression e;\n@@\n- return g(e);\n+ return g(e + 1);\n")
    [found] = load_mutations(tmp_path / "m")
    patch = render(found, tree)
    assert "--- a/mm/util.c" in patch
    assert "+\treturn g(a + 1);" in patch


def test_a_semantic_patch_needs_coccinelle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.process._path", lambda: str(tmp_path))
    with pytest.raises(SetupError, match="spatch is not installed") as raised:
        render(mutation("a"), tmp_path)
    assert raised.value.hint == "apt install coccinelle"


@dataclass
class FakeCrew(Crew[Tried]):
    """A crew without processes: `attempts` are the results of its trials, in order."""

    attempts: list[Attempt] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    interrupted_at: str = ""
    running: list[Trial] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return len(self.running) >= self.slots

    def start(self, job: Job[Tried]) -> None:
        assert isinstance(job, Trial)
        if job.mutation.name == self.interrupted_at:
            raise KeyboardInterrupt
        self.tried.append(f"{job.mutation.name} {job.arch}")
        self.running.append(job)

    def wait(self) -> list[tuple[Job[Tried], Tried | Died]]:
        trial, attempt = self.running.pop(0), self.attempts.pop(0)
        return [(trial, Tried(trial.outcome(attempt, caught=Sieve.MISSED), attempt.log))]


class FakeCampaign(Campaign):
    """A campaign without builds and guests."""

    made: FakeCrew
    _sieve = None

    @property
    def tried(self) -> list[str]:
        return self.made.tried

    def good_kernel(self, arch: str, first: Sequence[str] = ()) -> str:
        return "good"


Make = Callable[..., FakeCampaign]


@pytest.fixture
def campaign(ctx: Context, tmp_path: Path) -> Make:
    def make(
        *attempts: Attempt, fresh: bool = False, arches: tuple[str, ...] = ("x86_64",), at: str = ""
    ) -> FakeCampaign:
        settings = dataclasses.replace(ctx.settings, arch=arches)
        folder = tmp_path / "results"
        folder.mkdir(exist_ok=True)
        own = dataclasses.replace(ctx, settings=settings)
        crew = FakeCrew(2, attempts=list(attempts), interrupted_at=at)
        made = FakeCampaign(own, Series(), folder, fresh=fresh, crew=lambda slots: crew)
        made.made = crew
        return made

    return make


KILLED = Attempt(Fate.ORACLE, test="t", reason="1 is not 2", log="assert\nall of it")


def test_outcomes_and_logs_are_written(campaign: Make, tmp_path: Path) -> None:
    first = campaign(KILLED, Attempt(Fate.SURVIVED))
    first.run([mutation("a"), mutation("b", equivalent="why")])
    assert [seen.fate for seen in first.outcomes] == [Fate.ORACLE, Fate.EQUIVALENT]
    assert first.outcomes[0].sieve is Sieve.MISSED
    assert (tmp_path / "results/a-x86_64.log").read_text() == "assert\nall of it"
    values = json.loads((tmp_path / "results/mutants.json").read_text())
    assert [value["fate"] for value in values] == ["oracle", "equivalent"]
    assert "| a |  |  | oracle: t | missed |" in (tmp_path / "results/mutants.md").read_text()


def test_a_recorded_outcome_for_the_same_tests_is_reused(
    campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [mutation("a"), mutation("b")]
    campaign(KILLED, Attempt(Fate.SURVIVED)).run(names)
    again = campaign()
    again.run(names)
    assert again.tried == []
    assert [seen.fate for seen in again.outcomes] == [Fate.ORACLE, Fate.SURVIVED]
    fresh = campaign(KILLED, KILLED, fresh=True)
    fresh.run(names)
    assert fresh.tried == ["a x86_64", "b x86_64"]
    monkeypatch.setattr(campaigns, "suite_identity", lambda: "other tests")
    other = campaign(KILLED, KILLED)
    other.run(names)
    assert len(other.tried) == 2


def test_the_suites_identity_covers_all_modules_that_contract_tests_import() -> None:
    values = {"testbed.arch", "testbed.deadline", "testbed.errors", "testbed.settings"}
    values |= {"testbed.kernel.request"}
    tests = [*(CHECKOUT / "tests/vm/contract").glob("*.py"), CHECKOUT / "tests/conftest.py"]
    found = {
        node.module
        for test in tests
        for node in ast.walk(ast.parse(test.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("testbed.")
    }
    files = {str(name).replace(".", "/") for name in found - values}
    assert [each for each in files if not f"{each}.py".startswith(SUITE)] == []
    assert all((CHECKOUT / name).exists() for name in SUITE)


def test_an_interrupt_keeps_the_outcomes_so_far(campaign: Make, tmp_path: Path) -> None:
    made = campaign(KILLED, at="c")
    names = [mutation("a"), mutation("b"), mutation("c")]
    with pytest.raises(KeyboardInterrupt):
        made.run(names)
    assert "| b |  |  | not tried | - |" in (tmp_path / "results/mutants.md").read_text()
    again = campaign(KILLED, KILLED)
    again.run(names)
    assert again.tried == ["b x86_64", "c x86_64"]


@pytest.mark.parametrize("unsure", [Fate.LOST, Fate.BOOT, Fate.BROKE, Fate.UNKNOWN])
def test_a_fate_that_a_busy_host_may_cause_is_tried_twice(unsure: Fate) -> None:
    attempts = [Attempt(unsure, "b", "it hung", built=3), KILLED]
    asked = []

    def attempt(first: Sequence[str]) -> Attempt:
        asked.append(list(first))
        return attempts.pop(0)

    found, retried = settled(attempt, ["a", "b"])
    assert (found.fate, found.built, retried) == (Fate.ORACLE, 3, "it hung")
    assert asked == [["a", "b"], ["b", "a"]]


def test_a_sure_fate_is_not_tried_twice() -> None:
    attempts = [KILLED]
    assert settled(lambda first: attempts.pop(), []) == (KILLED, "")


def test_a_mutation_that_another_campaign_tries_comes_later_and_its_outcome_is_taken(
    campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = campaign(KILLED)
    keys = {
        each.mutation.name: each.key for each in other.places([mutation("a")], "x86_64", "good")
    }
    claim = other.records.claim(keys["a"])
    assert claim is not None

    made = campaign(KILLED)
    waited = []

    def end_of_the_other(key: str, *, wait: bool = False) -> object:
        if wait:
            waited.append(key)
            other.run([mutation("a")])
        return ask(key, wait=wait)

    ask = made.records.claim
    monkeypatch.setattr(made.records, "claim", end_of_the_other)
    claim_of_b = [mutation("a"), mutation("b")]
    monkeypatch.setattr(other.records, "claim", lambda key, wait=False: claim)
    made.run(claim_of_b)
    assert (made.tried, other.tried) == (["b x86_64"], ["a x86_64"])
    assert waited == [keys["a"]]
    assert [seen.mutation for seen in made.outcomes] == ["b", "a"]


def test_a_fresh_campaign_takes_only_outcomes_from_after_its_start(campaign: Make) -> None:
    campaign(KILLED).run([mutation("a")])
    made = campaign(Attempt(Fate.SURVIVED), KILLED, fresh=True)
    made.run([mutation("a")])
    assert [seen.fate for seen in made.outcomes] == [Fate.SURVIVED]
    made.run([mutation("a")])  # as if another campaign had kept it meanwhile
    assert made.tried == ["a x86_64"]


def test_a_claim_ends_with_its_file(tmp_path: Path) -> None:
    records = Records(tmp_path)
    claim = records.claim("key")
    assert claim is not None
    assert records.claim("key") is None
    claim.close()
    again = records.claim("key", wait=True)
    assert again is not None
    again.close()


def test_who_waits_for_a_claim_blocks_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("fcntl.flock", lambda file, how: asked.append(how))
    for wait in (False, True):
        claim = Records(tmp_path).claim("key", wait=wait)
        assert claim is not None
        claim.close()
    assert asked == [fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_EX]


def test_an_outcome_that_another_campaign_kept_just_before_the_claim_is_taken(
    campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, other = campaign(), campaign(KILLED)
    ask = made.records.claim

    def late(key: str, *, wait: bool = False) -> object:
        other.run([mutation("a")])
        return ask(key, wait=wait)

    monkeypatch.setattr(made.records, "claim", late)
    made.run([mutation("a")])
    assert (made.tried, other.tried) == ([], ["a x86_64"])
    assert [seen.fate for seen in made.outcomes] == [Fate.ORACLE]


def test_a_trial_whose_process_died_twice_is_unknown(
    campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = campaign()
    died = Died("the process ended with status -9", "last lines")
    monkeypatch.setattr(made.made, "wait", lambda: [(made.made.running.pop(), died)])
    made.run([mutation("a")])
    [found] = made.outcomes
    assert (found.fate, found.reason) == (Fate.UNKNOWN, "the process ended with status -9")
    assert (made.folder / "a-x86_64.log").read_text() == "last lines"


@pytest.mark.parametrize(("mib", "size"), [(600, 1), (2_100, 2), (900_000, 3)])
def test_the_crew_is_as_large_as_processors_and_memory_allow(
    campaign: Make, monkeypatch: pytest.MonkeyPatch, mib: int, size: int
) -> None:
    made, asked = campaign(KILLED), []
    settings = dataclasses.replace(made.ctx.settings, memory_mib=512)
    made.ctx = dataclasses.replace(made.ctx, settings=settings)
    monkeypatch.setattr(campaigns, "available_mib", lambda: mib)
    monkeypatch.setattr("testbed.settings._default_jobs", lambda: 3)

    def crew(slots: int) -> FakeCrew:
        asked.append(slots)
        return made.made

    made.crew = crew
    made.run([mutation("a")])
    assert asked == [size]


def test_the_same_seed_chooses_the_same_mutations() -> None:
    names = [mutation(name) for name in "abcdefgh"]
    found = sample(names, 3, "1")
    assert found == sample(names[::-1], 3, "1")[::-1]
    assert len(found) == 3
    assert {tuple(sample(names, 3, str(seed))) for seed in range(9)} > {tuple(found)}
    assert sample(names, 99, "15") == names


def test_the_newest_kill_of_each_mutation_chooses_the_killers(tmp_path: Path) -> None:
    records = Records(tmp_path)
    kills = [("a", "t.py::old[x86_64]"), ("a", "t.py::t[x86_64]"), ("b", "t.py::t[x86_64]")]
    kills += [("c", "t.py::u[x86_64]"), ("gone", "t.py::v[x86_64]")]
    for number, (name, test) in enumerate(kills):
        records.keep(str(number), outcome(name, Fate.ORACLE, test=test), "")
        os.utime(tmp_path / f"{number}.json", (number, number))
    records.keep("c2", outcome("c", Fate.SPLAT, test="t.py::t[arm64]", arch="arm64"), "")
    found = killers_of([mutation(name) for name in "abcd"], records, Killers())
    assert found.kills == {"t.py::t[ARCH]": ("a", "b", "c")}
    assert found.source == "the kills of 3 of 4 mutations (arm64, x86_64); 0 as before"


def test_a_shipped_kill_counts_for_a_mutation_that_this_host_has_not_tried(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.keep("1", outcome("a", Fate.ORACLE, test="t.py::t[x86_64]"), "")
    shipped = Killers("", {"t.py::old[ARCH]": ("a", "b"), "t.py::gone[ARCH]": ("removed",)})
    found = killers_of([mutation(name) for name in "abc"], records, shipped)
    assert found.kills == {"t.py::old[ARCH]": ("b",), "t.py::t[ARCH]": ("a",)}
    assert found.source == "the kills of 2 of 3 mutations (x86_64); 1 as before"


def test_each_architecture_is_tried(campaign: Make) -> None:
    made = campaign(KILLED, KILLED, arches=("x86_64", "arm64"))
    made.run([mutation("a")])
    assert made.tried == ["a x86_64", "a arm64"]


def test_code_that_an_architecture_does_not_compile_is_not_tried_there(campaign: Make) -> None:
    made = campaign(KILLED, arches=("x86_64", "arm64"))
    limited = dataclasses.replace(mutation("a"), arches="x86_64")
    made.run([limited])
    assert made.tried == ["a x86_64"]
    assert "does not apply: compiled only on x86_64" in table_lines([limited], made.outcomes)[2]


def test_tests_that_fail_without_a_mutation_kill_nothing(
    campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run_of(case(Status.PASS), case(Status.FAIL, "AssertionError"))
    monkeypatch.setattr(campaigns, "run_suite", lambda *_, **__: found)
    made = campaign()
    lab = lab_of(made.ctx, Series(), "x86_64", made.folder)
    with pytest.raises(InfraError, match="not green on the kernel without a mutation") as raised:
        made.prove_green(lab, [])
    assert "t.py::FAIL" in raised.value.evidence
