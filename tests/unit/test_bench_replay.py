# SPDX-License-Identifier: GPL-2.0
"""scripts/bench: recorded cases, their replay, and the profile of the coordinator."""

from __future__ import annotations

import _thread
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from benchmark.coordinator import Coordinated
from benchmark.figures import Samples
from benchmark.profiles import Overhead, measured_overhead, profiled, short, summed
from benchmark.record import Record, write_record
from benchmark.replay import add, profile_lines, replay
from benchmark.replayed import Replayer, reports_of

from testbed.deadline import Deadline
from testbed.errors import SetupError
from testbed.results.model import Case, Status
from testbed.suite.carried import carried

TEST = "tests/vm/contract/test_a.py::test_a[x86_64]"
FACTS = {TEST: {"script": {"place": "1"}}}


def case(status: Status = Status.PASS, **values: Any) -> Case:
    return Case(test=TEST, arch="x86_64", guarantees=(3,), status=status, seconds=0.5, **values)


class Item:
    """A real test, except for its name. Its hooks note how they are called."""

    nodeid = TEST

    def __init__(self, real: pytest.Item) -> None:
        self._real = real
        self.heard: list[Any] = []
        self.ihook = SimpleNamespace(
            pytest_runtest_logstart=lambda **_: self.heard.append("start"),
            pytest_runtest_logreport=lambda report: self.heard.append(report),
            pytest_runtest_logfinish=lambda **_: self.heard.append("finish"),
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.fixture
def item(request: pytest.FixtureRequest) -> Any:
    return Item(request.node)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    file = tmp_path / "record"
    write_record(file, [case(Status.FAIL), case()], FACTS)
    return Record(file)


def test_the_last_case_of_a_test_is_recorded_with_its_facts(record: Record) -> None:
    found = record.of(TEST)
    assert (found.case, found.facts) == (case(), FACTS[TEST])
    assert record.tests() == {TEST}


def test_a_test_without_a_case_is_not_in_the_record(record: Record) -> None:
    with pytest.raises(KeyError):
        record.of("another")


def test_tests_without_a_recorded_case_are_dropped(
    record: Record, item: Any, request: pytest.FixtureRequest
) -> None:
    items = [request.node, item]
    Replayer(record, 0).pytest_collection_modifyitems(items)
    assert items == [item]


def test_a_replayed_test_reports_as_it_did_when_it_ran(record: Record, item: Any) -> None:
    assert Replayer(record, 0).pytest_runtest_protocol(item)
    start, *reports, finish = item.heard
    assert (start, finish) == ("start", "finish")
    assert [report.when for report in reports] == ["setup", "call", "teardown"]
    assert carried(reports).case == case()
    assert carried(reports).facts == FACTS[TEST]


@pytest.mark.parametrize(("faster", "slept"), [(10.0, [0.05]), (0.0, [])])
def test_the_recorded_seconds_pass_faster(
    record: Record, item: Any, faster: float, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[float] = []
    monkeypatch.setattr("benchmark.replayed.time", SimpleNamespace(sleep=found.append))
    Replayer(record, faster).pytest_runtest_protocol(item)
    assert found == slept


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (Status.PASS, "passed"),
        (Status.FIXED, "passed"),
        (Status.SKIP, "skipped"),
        (Status.XFAIL, "skipped"),
        (Status.FAIL, "failed"),
        (Status.MISS, "failed"),
    ],
)
def test_the_outcome_of_a_call_is_that_of_the_case(item: Any, status: Status, outcome: str) -> None:
    reports = list(reports_of(item, case(status, reason="why", evidence="facts of it")))
    assert [report.outcome for report in reports] == ["passed", outcome, "passed"]
    assert hasattr(reports[1], "wasxfail") == (status is Status.XFAIL)
    assert ("facts of it" in reports[1].longreprtext) == (outcome == "failed")


def entry(code: Any, seconds: float, *calls: Any, count: int = 1) -> Any:
    return SimpleNamespace(code=code, inlinetime=seconds, calls=calls, callcount=count)


def code(file: str) -> Any:
    return SimpleNamespace(co_filename=file)


def test_a_function_in_c_counts_for_the_file_that_calls_it() -> None:
    inner = entry(code("/x/testbed/b.py"), 4.0)
    outer = entry(code("/x/testbed/a.py"), 1.0, entry("<len>", 0.5), inner)
    found = summed([outer, inner, entry("<len>", 0.75)], Overhead())
    assert found == {"testbed/a.py": 1.5, "testbed/b.py": 4}


def test_what_profiling_adds_for_each_call_does_not_count() -> None:
    in_c, inner = entry("<len>", 0.5, count=2), entry(code("b.py"), 4.0, count=10)
    outer = entry(code("a.py"), 3.0, in_c, inner)
    found = summed([outer, inner], Overhead(called=0.125, calling=0.0625))
    assert found == {"a.py": 3 - 0.125 - 12 * 0.0625 + 0.5 - 2 * 0.125, "b.py": 4 - 1.25}
    assert summed([inner], Overhead(called=1.0)) == {"b.py": 0}


def test_the_overhead_of_profiling_is_measured() -> None:
    found = measured_overhead()
    assert 1e-8 < found.called < 1e-3
    assert 0 <= found.calling < 1e-3


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("/v/lib/python3.11/site-packages/execnet/base.py", "execnet/base.py"),
        ("/usr/lib/python3.11/json/encoder.py", "json/encoder.py"),
        ("/home/a/checkout/testbed/files.py", "testbed/files.py"),
        ("<string>", "<string>"),
    ],
)
def test_a_file_is_named_below_the_folder_of_its_packages(file: str, name: str) -> None:
    assert short(file) == name


def burn(done: threading.Event) -> None:
    began = time.thread_time()
    while time.thread_time() - began < 0.05:
        sum(range(5000))  # of short calls alone, almost all would count as overhead
    done.set()


def test_each_thread_is_profiled_however_it_is_started() -> None:
    mine = short(__file__)
    with profiled() as profile:
        for start in (
            lambda done: burn(done),
            lambda done: threading.Thread(target=burn, args=(done,)).start(),
            lambda done: _thread.start_new_thread(burn, (done,)),
        ):
            done, before = threading.Event(), profile.by_file()[mine]
            start(done)
            assert done.wait(60)
            deadline = Deadline.after(60)
            # A profile has a function once the thread has left it.
            while (seen := profile.by_file()[mine] - before) < 0.01:
                assert not deadline.expired, f"the thread is not profiled: {seen} s"
                time.sleep(0.001)
    assert _thread.start_new_thread.__name__ == "start_new_thread"


def coordinated(**values: Any) -> Coordinated:
    found = {"cases": 101, "seconds": 2.0, "cpu": 1.0, "start_cpu": 3.0, "end_seconds": 4.0}
    return Coordinated(**{**found, "by_file": {}, **values})


def test_the_first_case_begins_the_time_of_the_others() -> None:
    samples = Samples()
    add(samples, "arm64", coordinated())
    values = [figure.median for figure in samples.figures()]
    assert values == pytest.approx([0.01, 0.02, 50.0, 3.0, 4.0])


def test_the_profile_names_the_files_that_cost_most() -> None:
    by_file = {f"f{number}.py": float(number) for number in range(20)}
    _, first, *others = profile_lines(coordinated(by_file=by_file))
    assert first == "  10.0 % f19.py"
    assert len(others) == 11


def test_a_folder_without_cases_cannot_be_replayed(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no recorded cases") as caught:
        replay(tmp_path, 1, Samples(), [])
    assert "--record" in caught.value.hint
