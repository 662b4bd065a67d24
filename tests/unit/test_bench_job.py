# SPDX-License-Identifier: GPL-2.0
"""scripts/bench: whole commands, their samples, and the limits of the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bench import parse_options, part_lines
from benchmark.broken import beyond_build, in_order, until_failure
from benchmark.commands import Spent, command_words, spent
from benchmark.figures import Figure, Samples, as_json, limit_words, missed_line
from benchmark.fresh import prepare_home
from benchmark.job import MainJob, change_line
from benchmark.parts import PARTS
from benchmark.quantities import (
    DIFFERING,
    IN_BATCHES,
    IN_CLONES,
    PROBE,
    QUANTITIES,
    QUICK,
    RUN,
    RUN_CPU,
    SHARE,
    Quantity,
)
from benchmark.sampled import is_sampled

from testbed.mutants.mutation import MUTANTS, Fate, load_mutations
from testbed.report.diff import Change, FactChange, Kind
from testbed.results.model import Case, Run, Status
from testbed.results.store import append_facts, write_run
from testbed.settings import APP, CHECKOUT, Settings, load_settings

PATHS = ("direct", "three-level")
ARCHES = ("x86_64", "arm64")


def oracle(arch: str, scenario: str, path: str) -> str:
    return f"tests/vm/contract/test_oracle.py::test_scenario[{arch}-{scenario}-{path}]"


def test_a_scenario_is_in_the_sample_on_all_paths_or_on_none() -> None:
    for number in range(50):
        found = {
            is_sampled(oracle(arch, f"ioremap-{number}", path), 4, "1")
            for arch in ARCHES
            for path in PATHS
        }
        assert len(found) == 1


def test_a_sample_has_its_share_of_the_scenarios_and_another_seed_another_sample() -> None:
    tests = [oracle("arm64", f"map-{number}", "stack") for number in range(4000)]
    one, other = ([test for test in tests if is_sampled(test, 8, seed)] for seed in ("1", "2"))
    assert 400 < len(one) < 600
    assert one != other
    assert all(is_sampled(test, 1, "1") for test in tests)


def test_a_command_costs_the_cpu_time_of_all_its_processes(tmp_path: Path) -> None:
    loop = "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done"
    one = spent(["sh", "-c", loop], log=tmp_path / "log")
    two = spent(["sh", "-c", f"sh -c '{loop}'; {loop}"], log=tmp_path / "log")
    assert 0 < one.cpu < two.cpu
    idle = spent(["sleep", "0.2"], log=tmp_path / "log")
    assert idle.wall >= 0.2
    assert idle.cpu < 0.1


def test_a_command_names_architectures_and_kernel() -> None:
    program, *words = command_words("run", ARCHES, "debian:7.2")
    assert Path(program).name == "testbed"
    assert words == ["run", "--arch", "x86_64,arm64", "--kernel", "debian:7.2"]


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MainJob:
    """Return a job whose runs last 60 s with clones and 6 s in batches, and differ in one fact."""

    def fake_spent(argv: list[str], **options: Any) -> Spent:
        folder = Path(argv[argv.index("--results") + 1]) / "latest"
        folder.mkdir(parents=True)
        clones = "clone" in argv
        cases = [Case(test=name, status=Status.PASS) for name in ("a", "b", "c")]
        write_run(folder, Run(name="", command="", started="", cases=tuple(cases)))
        append_facts(folder, "b", {"script": {"place": "1" if clones else argv[-3]}})
        return Spent(60.0, 100.0) if clones else Spent(6.0, 3.6)

    monkeypatch.setattr("benchmark.job.spent", fake_spent)
    return MainJob(ARCHES, "debian", tmp_path / "results", Samples(), [])


def medians(samples: Samples) -> dict[Quantity, float]:
    return {figure.quantity: figure.median for figure in samples.figures()}


def test_a_whole_run_costs_its_wall_time_and_cpu_time_for_each_case(job: MainJob) -> None:
    job.whole()
    assert medians(job.samples) == {RUN: 6.0, RUN_CPU: pytest.approx(1.2)}
    assert (job.results / "latest").is_dir()


def test_a_quick_run_leaves_nothing(job: MainJob) -> None:
    job.quick()
    assert medians(job.samples) == {QUICK: 6.0}
    assert not job.results.exists()


def test_batches_in_three_orders_are_compared_with_clones(job: MainJob) -> None:
    job.isolations("7", whole=False)
    found = medians(job.samples)
    assert found == {IN_CLONES: 60.0, IN_BATCHES: 6.0, SHARE: 0.1, DIFFERING: 1}
    # The fake run in the first order sees the fact that the run with clones sees.
    (differing,) = (each for each in job.samples.figures() if each.quantity is DIFFERING)
    assert list(differing.samples) == [0, 1, 1]
    assert job.notes == [f"b: changed facts: PASS -> PASS place: 1 -> {order}" for order in (2, 3)]


def test_a_difference_is_one_line() -> None:
    facts = tuple(FactChange(f"place {number}", "1", "2") for number in range(9))
    change = Change(Kind.BROKEN, "t", "arm64", "", "PASS", "FAIL", "why", facts)
    line = change_line(change)
    assert line.startswith("t: broken: PASS -> FAIL place 0: 1 -> 2, ")
    assert "place 3" not in line


def test_kernels_that_no_test_can_kill_are_left_out() -> None:
    mutations = load_mutations(MUTANTS)
    chosen = in_order(mutations, ARCHES, "1")
    assert 100 < len(chosen) < len(mutations)
    assert not any(each.equivalent or each.arches == "x86_64" for each in chosen)
    assert sorted(chosen, key=str) == sorted(in_order(mutations, ARCHES, "2"), key=str)
    assert chosen != in_order(mutations, ARCHES, "2")


def outcome(fate: Fate) -> dict[str, object]:
    return {"arch": "arm64", "fate": fate, "seconds": 75.5, "built": 70.0}


def test_only_kills_by_the_suite_count_and_their_build_does_not() -> None:
    found = beyond_build([outcome(fate) for fate in (Fate.BUILD, Fate.SURVIVED, Fate.ORACLE)])
    assert found == [("arm64", 5.5)]


def test_the_first_failure_ends_a_run(tmp_path: Path) -> None:
    script = "sleep 0.2; echo; echo 'FAIL tests/a.py::t[arm64]'; sleep 60"
    seconds, is_failed = until_failure(["sh", "-c", script], tmp_path / "log")
    assert is_failed
    assert 0.2 <= seconds < 30


def test_a_run_without_a_failure_lasts_until_its_end(tmp_path: Path) -> None:
    script = "sleep 0.2; echo '1 FAIL: FAIL tests/a.py::t'; exit 1"
    seconds, is_failed = until_failure(["sh", "-c", script], tmp_path / "log")
    assert not is_failed
    assert seconds >= 0.2


def test_a_fresh_checkout_has_the_users_settings_and_folders_of_its_own(tmp_path: Path) -> None:
    settings = Settings(mirror="http://example.org/debian", arch=("arm64",))
    env = prepare_home(tmp_path / "home", tmp_path / "templates", settings)
    file = Path(env["XDG_CONFIG_HOME"]) / APP / "testbed.toml"
    found = load_settings(file)
    assert (found.mirror, found.arch) == (settings.mirror, settings.arch)
    folders = (found.cache_dir, found.data_dir, found.state_dir, found.results_dir)
    assert all(each.is_relative_to(tmp_path / "home") for each in folders)
    assert found.cache_dir == Path(env["XDG_CACHE_HOME"]) / APP
    assert found.template_dir == tmp_path / "templates"


@pytest.mark.parametrize(
    ("quantity", "value", "words"),
    [
        (PROBE, 0.003, "0.75 times the limit of 4.0 ms: reached"),
        (PROBE, 0.005, "1.25 times the limit of 4.0 ms: missed"),
        (RUN, 360.0, "1.00 times the limit of 6.0 min: reached"),
        (DIFFERING, 0.0, "limit of 0: reached"),
        (DIFFERING, 2.0, "limit of 0: missed"),
        (IN_CLONES, 2.0, ""),
    ],
)
def test_a_figure_says_whether_it_reaches_its_limit(
    quantity: Quantity, value: float, words: str
) -> None:
    assert limit_words(Figure("arm64", quantity, 1, (value,))) == words


def test_the_median_counts_against_a_limit() -> None:
    figure = Figure("arm64", PROBE, 1, (0.001, 0.002, 9.0))
    assert figure.reached
    (row,) = as_json([figure], {})["figures"]
    assert (row["limit"], row["reached"]) == (0.004, True)


def test_missed_limits_are_named_at_the_end() -> None:
    figures = [
        Figure("arm64", quantity, 1, (value,))
        for quantity, value in ((PROBE, 1.0), (QUICK, 1.0), (IN_CLONES, 1.0))
    ]
    assert missed_line(figures) == "1 of 2 limits are reached; missed: one probe (arm64)"
    assert missed_line(figures[1:]) == "1 of 1 limits are reached"


def test_parts_are_chosen_by_name_and_long_ones_only_so() -> None:
    assert parse_options(["--only", "quick,nothing"]).only == ["quick", "nothing"]
    usual = parse_options([]).only
    assert "run" in usual
    assert not {"nothing", "ci", "failure", "mutants"} & set(usual)
    assert "builds" in usual
    assert "builds" not in parse_options(["--quick"]).only


def test_an_unknown_part_is_refused_with_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(["--only", "quick,probes"])
    assert "unknown part probes: choose from cycles, probe," in capsys.readouterr().err


def test_the_documentation_has_each_part_and_how_long_it_takes() -> None:
    text = (CHECKOUT / "docs" / "bench.md").read_text()
    for part in PARTS:
        assert f"| `{part.name}` |" in text
        assert f"| {part.lasts} |" in text
    assert len(part_lines()) == len(PARTS)


def test_the_quantities_of_a_group_have_one_scale() -> None:
    for group in {quantity.group for quantity in QUANTITIES}:
        assert len({each.unit.base for each in QUANTITIES if each.group == group}) == 1
