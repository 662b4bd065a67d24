# SPDX-License-Identifier: GPL-2.0
"""The order of the tests, the selection of --quick, and the data that both are based on."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from suite_cases import collected

from testbed.errors import SetupError
from testbed.results.model import Case, Status
from testbed.suite.order import (
    Basis,
    Candidate,
    arranged,
    candidate,
    first_tenth,
    left_out,
    ordered,
    quick,
)
from testbed.suite.orderdata import (
    Killers,
    Seconds,
    chosen_killers,
    load_killers,
    load_seconds,
    measured,
    sort_of,
    without_arch,
    write_killers,
    write_seconds,
)

NOTHING = Basis(Seconds(), Killers())


def case(test: str, *guarantees: int, arch: str = "x86_64", **values: object) -> Candidate:
    found = Candidate(test=f"t.py::{test}[{arch}]", arch=arch, guarantees=guarantees)
    return Candidate(**{**vars(found), **values})


def names(cases: list[Candidate]) -> list[str]:
    return [each.test.partition("::")[2].partition("[")[0] for each in cases]


def basis(killers: tuple[str, ...] = (), /, **seconds: float) -> Basis:
    known = {f"t.py::{name}": value for name, value in seconds.items()}
    return Basis(Seconds(known), Killers("", {f"t.py::{k}[ARCH]": ("m",) for k in killers}))


def oracle(scenario: str, path: str, *guarantees: int, arch: str = "x86_64") -> Candidate:
    return Candidate(
        test=f"tests/vm/contract/test_oracle.py::test_scenario[{arch}-{scenario}-{path}]",
        arch=arch,
        path=path,
        guarantees=guarantees,
        scenario=scenario,
    )


def test_killers_come_before_the_quickest_case_of_each_guarantee() -> None:
    cases = [case("slow", 1, 2), case("fast", 1), case("killer", 3), case("other", 2)]
    found = ordered(cases, basis=basis(("killer",), slow=9, fast=1, killer=5, other=2))
    assert names(found) == ["killer", "fast", "other", "slow"]


def test_killers_are_the_same_cases_on_another_architecture() -> None:
    cases = [case("a", 1, arch="arm64"), case("killer", arch="arm64")]
    assert names(ordered(cases, basis=basis(("gone", "killer")))) == ["killer", "a"]


def test_a_guarantee_on_each_path_comes_after_each_guarantee() -> None:
    cases = [case(f"{path}{n}", n, path=path) for path in ("direct", "stack") for n in (1, 2)]
    found = ordered(cases, basis=basis(direct1=1, stack1=2, direct2=3, stack2=4))
    assert names(found) == ["direct1", "direct2", "stack1", "stack2"]


def test_architectures_alternate() -> None:
    cases = [case(f"t{n}", n, arch=arch) for arch in ("x86_64", "arm64") for n in range(20)]
    assert [each.arch for each in ordered(cases, basis=NOTHING)[:4]] == [*("x86_64", "arm64")] * 2


def test_the_paths_of_a_scenario_stay_together_in_an_order_from_the_seed() -> None:
    paths = ("direct", "stack", "custom")
    cases = [oracle(f"remap-{n}", path) for n in range(30) for path in paths]
    orders = [ordered(cases, seed=seed, basis=NOTHING) for seed in ("1", "2", "1")]
    for order in orders:
        assert set(order) == set(cases)
        lead, rest = order[:1], order[1:]
        scenarios = [each.scenario for each in rest]
        changes = sum(one != two for one, two in pairwise(scenarios))
        assert changes == len(set(scenarios)) - 1
        assert sort_of(lead[0].test).endswith("test_scenario[remap]")
    assert orders[0] == orders[2] != orders[1]


def test_defects_come_last_and_after_them_only_what_is_marked_last() -> None:
    cases = [case("last", 1, is_last=True), case("defect", 2, is_defect=True), case("a"), case("b")]
    found = names(ordered(cases, basis=basis(("defect",))))
    assert found[2:] == ["defect", "last"]


def test_the_order_has_each_case_once_however_they_are_collected() -> None:
    cases = [oracle(f"map-{n}", "direct", n % 7, arch=a) for n in range(50) for a in ("arm64", "")]
    cases += [case(f"t{n}", is_defect=n % 3 == 0, is_last=n == 4) for n in range(10)]
    mixed = random.Random(1).sample(cases, len(cases))
    found = ordered(mixed, basis=NOTHING)
    assert sorted(found, key=str) == sorted(cases, key=str)
    assert [each for each in found if each.arch == "arm64"] == [
        each for each in ordered(cases, basis=NOTHING) if each.arch == "arm64"
    ]


def test_no_cases_are_no_order() -> None:
    assert ordered([], basis=NOTHING) == quick([], basis=NOTHING) == []


def test_quick_takes_killers_and_guarantees_as_far_as_the_time_allows() -> None:
    cases = [case(f"t{n}", n) for n in range(10)]
    seconds = {f"t{n}": float(n + 1) for n in range(10)}
    some = quick(cases, basis=basis(("t5",), **seconds), budget=5 + 6 + 1 + 2 + 3.5)
    assert names(some) == ["t5", "t0", "t1", "t2"]
    assert quick(cases, basis=basis(**seconds), budget=4) == []


def test_quick_pays_for_each_batch_of_its_own() -> None:
    cases = [case("a", 1, state="one"), case("b", 2, state="two"), case("c", 3, state="one")]
    quickest = basis(a=0.5, b=0.7, c=0.9)
    assert names(quick(cases, basis=quickest, budget=7)) == ["a", "c"]
    assert names(quick(cases, basis=quickest, budget=13)) == ["a", "b", "c"]


def test_quick_has_no_case_that_ends_its_batch() -> None:
    cases = [case("defect", 1, is_defect=True), case("last", 2, is_last=True), case("a", 3)]
    assert names(quick(cases, basis=NOTHING)) == ["a"]


def test_what_quick_leaves_out_is_said() -> None:
    cases = [case("a", 1, path="direct"), case("b", 1, path="stack"), case("c", 7, path="stack")]
    assert left_out(cases, cases[:1]) == (
        "quick: 1 of 3 cases; untouched are 1 guarantees (7), "
        "and 2 of 3 guarantees on a path of an architecture"
    )
    assert "untouched are 0 guarantees, and 0 of 3" in left_out(cases, cases)


def test_a_collected_test_becomes_a_candidate() -> None:
    marks = [pytest.mark.guarantee(3, 1).mark, pytest.mark.guarantee(1).mark]
    params = {"arch": "arm64", "path": "direct", "scenario": "remap-1"}
    item = SimpleNamespace(
        nodeid="t.py::a[arm64-remap-1-direct]",
        callspec=SimpleNamespace(params=params),
        iter_markers=lambda name: marks if name == "guarantee" else [],
        get_closest_marker=lambda name: name if name == "defect" else None,
    )
    found = candidate(cast(pytest.Item, item), "stack")
    assert (found.arch, found.path, found.scenario) == ("arm64", "direct", "remap-1")
    assert (found.guarantees, found.home) == ((1, 3), "stack")
    assert (found.is_defect, found.is_last) == (True, False)


@pytest.mark.parametrize(
    ("test", "sort"),
    [
        ("t.py::a[x86_64-remap-1]", "t.py::a"),
        ("t.py::a", "t.py::a"),
        ("test_oracle.py::test_scenario[arm64-vm-ops-a]", "test_oracle.py::test_scenario[vm]"),
        ("test_oracle.py::b[ARCH-seed-1-stack]", "test_oracle.py::b[seed]"),
    ],
)  # fmt: skip
def test_the_sort_of_a_case(test: str, sort: str) -> None:
    assert sort_of(test) == sort


@pytest.mark.parametrize(
    ("test", "named"),
    [
        ("t.py::a[x86_64-arm64]", "t.py::a[ARCH-arm64]"),
        ("t.py::a[1-arm64]", "t.py::a[1-ARCH]"),
        ("t.py::a_x86_64", "t.py::a_x86_64"),
        ("t.py::a[x86_64_too]", "t.py::a[x86_64_too]"),
    ],
)
def test_a_case_is_named_without_its_architecture(test: str, named: str) -> None:
    assert without_arch(test) == named


def test_seconds_are_medians_of_what_ran(tmp_path: Path) -> None:
    values = [(Status.PASS, 1.0), (Status.XFAIL, 2.0), (Status.PASS, 9.0), (Status.SKIP, 0.0)]
    cases = [Case(test="t.py::a[arm64-1]", status=st, seconds=s) for st, s in values]
    found = measured([*cases, Case(test="t.py::b", status=Status.PASS, seconds=0.0)])
    assert found == Seconds({"t.py::a": 2.0, "t.py::b": 0.0}, 3.0)
    assert found.of("t.py::a[x86_64-5]") == 2.0
    assert found.of("t.py::unknown") == 3.0
    write_seconds(found, "a run", tmp_path / "s.json")
    assert load_seconds(tmp_path / "s.json") == found
    with pytest.raises(SetupError, match="no case"):
        measured(cases[-1:])


def test_the_fewest_cases_that_kill_all_mutations_are_chosen(tmp_path: Path) -> None:
    pairs = [("t.py::a[x86_64]", "1"), ("t.py::a[arm64]", "2"), ("t.py::b[arm64]", "2")]
    pairs += [("t.py::c", "1"), ("t.py::c", "3"), ("t.py::c", "4")]
    kills = chosen_killers(pairs)
    assert list(kills.items()) == [("t.py::c", ("1", "3", "4")), ("t.py::a[ARCH]", ("2",))]
    assert chosen_killers([]) == {}
    write_killers(Killers("a campaign", kills), tmp_path / "k.json")
    found = load_killers(tmp_path / "k.json")
    assert (found.source, list(found.kills.items())) == ("a campaign", list(kills.items()))


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"kills": 1}', '{"seconds": {"a": "b"}}'])
def test_data_that_cannot_be_read_is_named(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "data.json"
    if text is not None:
        file.write_text(text)
    for load in (load_seconds, load_killers):
        with pytest.raises(SetupError, match=r"data\.json cannot be read"):
            load(file)


def test_the_shipped_data_fits_the_tests_and_brings_the_guarantees_first() -> None:
    """One test, because collecting all tests takes seconds."""
    cases, shipped = collected(), Basis()
    found = ordered(cases)
    assert len(found) == len(set(found)) == len(cases)
    assert first_tenth(found, shipped.seconds) >= 0.9
    assert first_tenth(cases, shipped.seconds) < 0.9  # as the files have them
    assert {each.arch for each in found[:10]} == {"x86_64", "arm64"}

    named = {without_arch(each.test) for each in cases}
    gone = [test for test in shipped.killers.kills if test not in named]
    assert gone == [], "testbed mutants --write-order"
    sorts = {sort_of(each.test) for each in cases}
    assert len(sorts & shipped.seconds.known.keys()) >= 0.9 * len(sorts), "scripts/seconds"

    chosen = quick(cases)
    assert set(chosen) <= set(cases)
    assert " untouched are 0 guarantees," in left_out(cases, chosen)


def item(nodeid: str, arch: str = "arm64") -> pytest.Item:
    found = SimpleNamespace(
        nodeid=nodeid,
        callspec=SimpleNamespace(params={"arch": arch}),
        iter_markers=lambda name: [],
        get_closest_marker=lambda name: None,
    )
    return cast(pytest.Item, found)


def test_collected_tests_are_arranged_with_those_that_a_caller_names_first() -> None:
    items = [item(f"t.py::{name}[arm64]") for name in "abcd"]
    found = arranged(items, first=["gone", "t.py::c[arm64]", "t.py::b[arm64]"])
    assert [each.nodeid[6] for each in found[:2]] == ["c", "b"]
    assert {each.nodeid for each in found} == {each.nodeid for each in items}


def test_the_quick_ones_of_collected_tests_are_kept() -> None:
    items = [item(f"t{number}.py::a[arm64]") for number in range(100)]
    alone = arranged(items, only_quick=True)
    shared = arranged(items, only_quick=True, states=lambda each: "stack")
    assert 0 < len(alone) < len(shared) == len(items)
