# SPDX-License-Identifier: GPL-2.0
"""A run is continued in its folder, by a run of the same tests on the same kernel only."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Collection
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, cast

import pytest
from click.testing import CliRunner

from testbed.cli import run as cli_run
from testbed.context import Context
from testbed.errors import BuildError, SetupError
from testbed.kernel.series import Series
from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.results.model import Case, Run, Status
from testbed.results.store import CASES_FILE, append_case, read_run, write_run
from testbed.settings import Settings, settings_text
from testbed.suite.continued import (
    Identity,
    Part,
    begun,
    continuing,
    differences,
    find_run,
    identity_of,
    read_identity,
    with_verdict,
    write_identity,
)
from testbed.suite.recorder import Recorder
from testbed.suite.verdict import Verdict

FAKE_KERNEL = Path(__file__).with_name("fake_kernel")

SOME = Identity(
    command=("testbed", "run", "-k", "a and b"),
    started="2026-11-30T01:02:03+00:00",
    choices={"kernel": "linux-7.3 0123", "tests": "4567", "-k": "a and b", "--cmdline": ""},
    machines={"x86_64": "kernel 89ab, tcg, QEMU 10.0.2"},
)


class BrokenLab(Lab):
    """A lab whose kernel does not build: that is a finding, and needs no compiler here."""

    def prepared(self, arch: str) -> PreparedKernel:
        raise BuildError("mm/util.c:1: error")


@pytest.fixture
def lab(ctx: Context, tmp_path: Path) -> Lab:
    tree = shutil.copytree(FAKE_KERNEL, tmp_path / "tree")
    settings = dataclasses.replace(ctx.settings, kernel=f"tree:{tree}", arch=("arm64",))
    return BrokenLab(dataclasses.replace(ctx, settings=settings), Series())


def changed(lab: Lab, **choices: object) -> Lab:
    """The lab of another run with the same cache and other settings."""
    settings = dataclasses.replace(lab.ctx.settings, **choices)  # type: ignore[arg-type]
    return BrokenLab(dataclasses.replace(lab.ctx, settings=settings), Series())


def case(name: str, status: Status = Status.PASS) -> Case:
    return Case(test=f"test_a.py::{name}[arm64]", arch="arm64", status=status)


def interrupted(lab: Lab, *cases: Case) -> Path:
    """Begin a run that is interrupted after these cases."""
    with suppress(KeyboardInterrupt), begun(lab, {}, ["testbed", "run"], None):
        for each in cases:
            append_case(lab.run_dir, each)
        raise KeyboardInterrupt
    return lab.run_dir


def test_an_identity_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_identity(tmp_path, SOME)
    assert read_identity(tmp_path) == SOME


def test_equal_identities_do_not_differ() -> None:
    later = dataclasses.replace(SOME, started="2027", command=("testbed", "run", "--continue"))
    assert differences(SOME, later) == []


@pytest.mark.parametrize("name", SOME.choices)
def test_each_choice_is_compared_and_named(name: str) -> None:
    other = dataclasses.replace(SOME, choices={**SOME.choices, name: "other"})
    then = SOME.choices[name] or "none"
    assert differences(SOME, other) == [f"{name}: {then} in that run, other now"]
    assert differences(other, SOME) == [f"{name}: other in that run, {then} now"]


def test_another_kernel_is_a_difference_on_its_architecture() -> None:
    other = dataclasses.replace(SOME, machines={"x86_64": "kernel ffff, tcg, QEMU 10.0.2"})
    (line,) = differences(SOME, other)
    assert line.startswith("x86_64: kernel 89ab, tcg, QEMU 10.0.2 in that run, kernel ffff")


def test_a_machine_that_was_not_ready_does_not_count() -> None:
    later = dataclasses.replace(SOME, machines={**SOME.machines, "arm64": "kernel 1"})
    assert differences(SOME, later) == []
    assert differences(later, SOME) == []


def test_an_option_that_an_older_testbed_did_not_have_is_a_difference_if_it_is_used() -> None:
    newer = dataclasses.replace(SOME, choices={**SOME.choices, "--new": "x"})
    assert differences(SOME, newer) == ["--new: none in that run, x now"]


@pytest.mark.parametrize(
    "change",
    [
        {"flavour": "debug"},
        {"config": (Path(__file__),)},
        {"cmdline": "nokaslr"},
        {"qemu": ("-device", "edu")},
        {"isolation": "boot"},
        {"accel": "kvm"},
        {"toolchain": "llvm"},
        {"arch": ("arm64", "x86_64")},
        {"memory_mib": 1024},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_setting_on_which_a_verdict_depends_is_part_of_the_identity(
    lab: Lab, change: dict[str, object]
) -> None:
    one, other = (identity_of(each, {}, []) for each in (lab, changed(lab, **change)))
    assert len(differences(one, other)) == 1


def test_settings_on_which_no_verdict_depends_are_not(lab: Lab, tmp_path: Path) -> None:
    same = changed(lab, jobs=99, results_dir=tmp_path / "elsewhere", boot_timeout=5.0)
    assert differences(identity_of(lab, {}, []), identity_of(same, {}, [])) == []


def test_a_fragment_counts_by_its_content(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "a.config"
    file.write_text("CONFIG_KSM=y\n")
    one = identity_of(changed(lab, config=(file,)), {}, [])
    file.write_text("CONFIG_KSM=n\n")
    other = identity_of(changed(lab, config=(file,)), {}, [])
    assert len(differences(one, other)) == 1


def test_a_file_that_holds_no_identity_is_an_error(tmp_path: Path) -> None:
    for text in ("", "[]", "{}", json.dumps({**dataclasses.asdict(SOME), "choices": [1]})):
        (tmp_path / "identity.json").write_text(text)
        with pytest.raises(SetupError, match=r"identity\.json cannot be read"):
            read_identity(tmp_path)


def test_a_run_without_an_identity_cannot_be_continued(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"it has no identity\.json") as caught:
        read_identity(tmp_path)
    assert "begin a new run" in caught.value.hint


def test_a_test_that_did_not_run_has_no_verdict_and_the_last_verdict_counts() -> None:
    cases = [
        case("a", Status.MISS),
        case("b", Status.FAIL),
        case("c"),
        case("a", Status.ERROR),
        case("c", Status.MISS),
    ]
    assert with_verdict(cases) == (case("a", Status.ERROR), case("b", Status.FAIL))


def test_a_run_is_found_by_its_name_by_a_path_or_as_the_last(lab: Lab, tmp_path: Path) -> None:
    folder = interrupted(lab, case("a"))
    root = folder.parent
    for name in ("", "latest", folder.name, str(folder)):
        assert find_run(root, name) == folder.resolve()


@pytest.mark.parametrize("name", ["", "2026-01-01T00-00-00"])
def test_a_run_that_does_not_exist_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(SetupError, match=f"there is no run {name or 'to continue'} in"):
        find_run(tmp_path, name)


@pytest.mark.parametrize(
    ("words", "again"),
    [
        (["run"], "run --continue r"),
        (["run", "-k", "a and b"], "run -k 'a and b' --continue r"),
        (["run", "--continue"], "run --continue r"),
        (["run", "--continue", "old", "--arch", "arm64"], "run --arch arm64 --continue r"),
        (["run", "--continue", "--arch", "arm64"], "run --arch arm64 --continue r"),
        (["run", "--continue=old"], "run --continue r"),
    ],
)
def test_the_command_that_continues_a_run_names_its_folder_once(
    tmp_path: Path, words: list[str], again: str
) -> None:
    assert continuing(words, tmp_path / "r", tmp_path) == again


def test_a_run_elsewhere_is_continued_by_its_path(tmp_path: Path) -> None:
    assert continuing(["run"], Path("/a/r"), tmp_path) == "run --continue /a/r"


def test_a_run_writes_its_identity_before_its_first_test(lab: Lab) -> None:
    with begun(lab, {"-k": "a"}, ["testbed", "run", "-k", "a"], None) as part:
        assert part.cases == ()
        known = read_identity(lab.run_dir)
        append_case(lab.run_dir, case("a"))
    assert known.command == ("testbed", "run", "-k", "a")
    assert known.machines == {"arm64": "a kernel that does not build"}


def test_a_run_that_ends_before_its_first_test_leaves_no_folder(lab: Lab) -> None:
    with pytest.raises(KeyboardInterrupt), begun(lab, {}, ["testbed", "run"], None):
        raise KeyboardInterrupt
    assert list(lab.ctx.settings.results_dir.iterdir()) == []


def test_a_killed_run_is_continued_in_its_folder_with_its_verdicts(lab: Lab) -> None:
    folder = interrupted(lab, case("a"), case("b", Status.MISS))
    with (folder / CASES_FILE).open("a") as file:
        file.write('{"test": "torn')
    later = changed(lab)
    with begun(later, {}, ["testbed", "run", "--continue"], folder) as part:
        append_case(folder, case("b"))
    assert later.run_dir == folder
    assert part.cases == (case("a"),)
    assert read_identity(folder).command == ("testbed", "run")
    with begun(changed(lab), {}, ["testbed", "run", "--continue"], folder) as part:
        assert part.cases == (case("a"), case("b"))


@pytest.mark.parametrize(
    ("change", "selection", "line"),
    [
        ({"cmdline": "nokaslr"}, {}, "--cmdline: none in that run, nokaslr now"),
        ({}, {"-k": "stack"}, "-k: none in that run, stack now"),
    ],
)
def test_other_options_are_refused_with_what_differs(
    lab: Lab, change: dict[str, object], selection: dict[str, str], line: str
) -> None:
    folder = interrupted(lab, case("a"))
    before = (folder / "identity.json").read_bytes()
    other = changed(lab, **change)
    with (
        pytest.raises(SetupError, match="cannot be continued") as caught,
        begun(other, selection, ["testbed", "run", "--continue"], folder),
    ):
        pass
    assert caught.value.evidence == line
    assert f"testbed run --continue {folder.name}" in caught.value.hint
    assert (folder / "identity.json").read_bytes() == before
    assert not other.started


def test_another_kernel_is_refused_before_it_is_built(lab: Lab, tmp_path: Path) -> None:
    folder = interrupted(lab, case("a"))
    tree = shutil.copytree(FAKE_KERNEL, tmp_path / "other")
    with (tree / "mm/util.c").open("a") as file:
        file.write("/* another kernel */\n")

    class Unbuilt(BrokenLab):
        def prepared(self, arch: str) -> PreparedKernel:
            raise AssertionError("it builds a kernel")

    settings = dataclasses.replace(lab.ctx.settings, kernel=f"tree:{tree}")
    other = Unbuilt(dataclasses.replace(lab.ctx, settings=settings), Series())
    with pytest.raises(SetupError) as caught, begun(other, {}, ["testbed"], folder):
        pass
    assert caught.value.evidence.startswith("kernel: ")
    assert len(caught.value.evidence.splitlines()) == 1


def test_a_kernel_with_another_key_is_refused(lab: Lab) -> None:
    folder = interrupted(lab, case("a"))
    known = read_identity(folder)
    built = {"arm64": "kernel 0123456789ab, tcg, QEMU 10.0.2"}
    write_identity(folder, dataclasses.replace(known, machines=built))
    with pytest.raises(SetupError) as caught, begun(changed(lab), {}, ["testbed"], folder):
        pass
    assert caught.value.evidence == (
        "arm64: kernel 0123456789ab, tcg, QEMU 10.0.2 in that run, a kernel that does not build now"
    )


def test_changed_tests_are_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = interrupted(lab, case("a"))
    monkeypatch.setattr("testbed.suite.continued.suite_identity", lambda: 16 * "f")
    with pytest.raises(SetupError) as caught, begun(changed(lab), {}, ["testbed"], folder):
        pass
    assert caught.value.evidence.startswith("tests: ")
    assert caught.value.hint == "begin a new run, without --continue"


def test_a_run_that_still_runs_is_not_continued(lab: Lab) -> None:
    with ExitStack() as stack:
        stack.enter_context(begun(lab, {}, ["testbed", "run"], None))
        append_case(lab.run_dir, case("a"))
        with pytest.raises(SetupError, match="still runs in another process"):
            stack.enter_context(begun(changed(lab), {}, ["testbed"], lab.run_dir))
    with begun(changed(lab), {}, ["testbed", "run"], lab.run_dir) as part:
        assert part.cases == (case("a"),)


def test_the_result_is_that_of_one_run(lab: Lab, settings: Settings) -> None:
    folder = interrupted(lab, case("a"))
    one = Run(
        name=folder.name, command="c", started="t", cases=(case("a"),), retried=("x: no SSH",)
    )
    write_run(folder, one)
    now = time.time()
    os.utime(folder / "identity.json", (now - 30, now - 30))
    os.utime(folder / CASES_FILE, (now - 10, now - 10))
    started = read_identity(folder).started
    with begun(changed(lab), {}, ["testbed", "run", "--continue"], folder) as part:
        append_case(folder, case("b"))
    both = dataclasses.replace(
        one, started="later", seconds=5.0, cases=(case("a"), case("b")), retried=("y: no QEMU",)
    )
    whole = part.whole(folder, both)
    assert whole == read_run(folder)
    assert whole.command == "testbed run"
    assert whole.started == started
    assert whole.seconds == pytest.approx(25, abs=1)
    assert whole.retried == ("x: no SSH", "y: no QEMU")
    assert (folder / "junit.xml").read_text().count("<testcase") == 2


def test_a_run_with_one_part_is_left_as_it_is(tmp_path: Path) -> None:
    run = Run(name="r", command="c", started="t", cases=(case("a"),))
    assert Part(SOME).whole(tmp_path, run) is run
    assert list(tmp_path.iterdir()) == []


class TwoKernels(BrokenLab):
    """A lab of two architectures, whose second kernel is built late unless it is needed."""

    def is_built(self, arch: str) -> bool:
        return False

    def _build_late(self) -> None:
        pass

    def prepared(self, arch: str) -> PreparedKernel:
        place = self._place(arch)
        if arch == "x86_64":
            place.prepared = BuildError("mm/util.c:1: error")
            raise place.prepared
        ready = SimpleNamespace(
            kernel=SimpleNamespace(key="0123456789abcdef"),
            accel=SimpleNamespace(accel="tcg"),
            qemu_version="10.0.2",
        )
        return cast(PreparedKernel, ready)


@pytest.fixture
def two(lab: Lab) -> Lab:
    settings = dataclasses.replace(lab.ctx.settings, arch=("x86_64", "arm64"))
    return TwoKernels(dataclasses.replace(lab.ctx, settings=settings), Series())


def again(lab: Lab) -> Lab:
    """The lab of a later process with the same settings."""
    return type(lab)(lab.ctx, Series())


def end_test(lab: Lab, test: str) -> Recorder:
    """Let a test of arm64 end, as pytest reports it to the recorder of its process."""
    item = SimpleNamespace(
        nodeid=test,
        callspec=SimpleNamespace(params={"arch": "arm64"}),
        iter_markers=lambda name: [],
        get_closest_marker=lambda name: None,
        stash=pytest.Stash(),
    )
    recorder = Recorder(lab, "testbed run")
    phases: tuple[Literal["setup", "call", "teardown"], ...] = ("setup", "call", "teardown")
    for when in phases:
        report = pytest.TestReport(
            test, ("a", 1, "a"), keywords={}, outcome="passed", longrepr=None, when=when
        )
        recorder.add(cast(pytest.Item, item), report, Verdict(Status.PASS), None)
    recorder.take(report)
    return recorder


def test_a_kernel_that_is_built_late_is_known_before_its_first_verdict_counts(two: Lab) -> None:
    with begun(two, {}, ["testbed", "run"], None):
        assert read_identity(two.run_dir).machines == {"x86_64": "a kernel that does not build"}
        end_test(two, case("a").test)
        machines = read_identity(two.run_dir).machines
        assert machines["arm64"] == "kernel 0123456789ab, tcg, QEMU 10.0.2"
        assert machines.keys() == {"x86_64", "arm64"}
        append_case(two.run_dir, case("b", Status.MISS))
    with begun(again(two), {}, ["testbed", "run", "--continue"], two.run_dir) as part:
        assert [each.test for each in part.cases] == [case("a").test]


def test_a_kernel_with_verdicts_is_prepared_before_the_run_goes_on(two: Lab) -> None:
    with begun(two, {}, ["testbed", "run"], None):
        end_test(two, case("a").test)
        append_case(two.run_dir, case("b", Status.MISS))
    known = read_identity(two.run_dir)
    other = {**known.machines, "arm64": "kernel ffff, tcg, QEMU 10.0.2"}
    write_identity(two.run_dir, dataclasses.replace(known, machines=other))
    with (
        pytest.raises(SetupError) as caught,
        begun(again(two), {}, ["testbed", "run", "--continue"], two.run_dir),
    ):
        pass
    assert caught.value.evidence.startswith("arm64: kernel ffff")


def test_the_identity_keeps_the_start_of_this_part_of_the_run(two: Lab) -> None:
    with begun(two, {}, ["testbed", "run"], None):
        identity = two.run_dir / "identity.json"
        then = time.time() - 100
        os.utime(identity, (then, then))
        end_test(two, case("a").test)
        assert abs(identity.stat().st_mtime - then) < 1
    assert abs(identity.stat().st_mtime - then) < 1


def test_a_session_of_pytest_gets_no_identity(two: Lab) -> None:
    end_test(two, case("a").test)
    assert not (two.run_dir / "identity.json").exists()


class Unprepared(BrokenLab):
    def prepare_ready(self, needed: Collection[str] = ()) -> tuple[str, ...]:
        raise AssertionError("it prepares a kernel")


def ended(lab: Lab, *cases: Case, selection: dict[str, str] | None = None) -> Path:
    """Let a run with these cases end by itself."""
    with begun(lab, selection or {}, ["testbed", "run"], None):
        for each in cases:
            append_case(lab.run_dir, each)
        name = lab.run_dir.name
        write_run(lab.run_dir, Run(name=name, command="testbed run", started="t", cases=cases))
    return lab.run_dir


def test_a_run_that_has_ended_has_nothing_left_and_prepares_no_kernel(lab: Lab) -> None:
    folder = ended(lab, case("a"), case("b", Status.FAIL))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    later = Unprepared(lab.ctx, Series())
    with begun(later, {}, ["testbed", "run", "--continue"], folder) as part:
        assert part.is_whole
        assert part.cases == (case("a"), case("b", Status.FAIL))
        assert later.run_dir == folder
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_an_interrupted_run_has_something_left(lab: Lab) -> None:
    interrupted(lab, case("a"))
    write_run(lab.run_dir, Run(name="r", command="c", started="t", cases=(case("a"),)))
    with begun(changed(lab), {}, ["testbed", "run", "--continue"], lab.run_dir) as part:
        assert not part.is_whole
    with begun(changed(lab), {}, ["testbed", "run", "--continue"], lab.run_dir) as part:
        assert part.is_whole  # the second part has ended


@pytest.mark.parametrize("lost", ["verdict", "result"])
def test_a_run_that_lacks_a_verdict_or_its_result_goes_on(lab: Lab, lost: str) -> None:
    folder = ended(lab, case("a"), case("b", Status.MISS if lost == "verdict" else Status.PASS))
    if lost == "result":
        (folder / "result.json").unlink()
    with begun(changed(lab), {}, ["testbed", "run", "--continue"], folder) as part:
        assert not part.is_whole
        assert case("a") in part.cases


def test_a_run_that_has_ended_is_refused_with_other_options(lab: Lab) -> None:
    folder = ended(lab, case("a"))
    with (
        pytest.raises(SetupError, match="cannot be continued"),
        begun(changed(lab, cmdline="nokaslr"), {}, ["testbed", "run", "--continue"], folder),
    ):
        pass


@pytest.mark.parametrize(("status", "code"), [(Status.PASS, 0), (Status.FAIL, 1)])
def test_the_command_says_that_nothing_is_left_and_ends_like_the_run(
    lab: Lab, tmp_path: Path, status: Status, code: int
) -> None:
    settings = tmp_path / "testbed.toml"
    settings.write_text(settings_text(lab.ctx.settings))
    selection = {"-k": "", "--quick": "no"}
    name = ended(lab, case("a", status), selection=selection).name
    words = ["--settings", str(settings), "--continue", name]
    result = CliRunner().invoke(cli_run.run, words)
    assert result.exit_code == code, result.output
    assert f"nothing is left to run: all tests of {name} ended\n" in result.output
    assert f"1 {status}" in result.output
