# SPDX-License-Identifier: GPL-2.0
"""Symptoms and verdicts, the confidence in them, and fingerprints of kernels."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import vm_parts

from testbed.bisect.fingerprint import fingerprint
from testbed.bisect.journal import Journal, JournalEntry, chance_of_missing, confidence
from testbed.bisect.question import Question, Subject, expression_of
from testbed.bisect.symptom import (
    FailureSignature,
    Presence,
    Symptom,
    failures,
    read,
    signature_of,
    unite,
)
from testbed.errors import SetupError
from testbed.kernel.modules import GuestSide
from testbed.kernel.request import Kernel
from testbed.results.model import Case, Run, Status
from testbed.settings import Settings

TEST = "tests/vm/contract/test_a.py::test_layer[x86_64]"


def case(status: Status, reason: str = "", error: str = "AssertionError", test: str = TEST) -> Case:
    return Case(test=test, status=status, reason=reason, error=error, evidence="all of it")


def run_of(*cases: Case) -> Run:
    return Run(name="", command="", started="", cases=cases)


def learned(reason: str = "assert 4 == 3") -> Symptom:
    return Symptom(failures(run_of(case(Status.FAIL, reason))))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("assert 4 == 3", "assert 11 == 3"),
        ("BUG in do_mmap+0x12/0x340", "BUG in do_mmap+0x1f/0x350"),
        ("page at ffff88810a3c", "page at ffffea000412"),
        ("bad page: x; bad page: x", "bad page: x; bad page: x; bad page: x"),
    ],
    ids=["number", "offset", "address", "repetition"],
)
def test_a_signature_leaves_out_parts_that_differ_between_kernels(one: str, other: str) -> None:
    assert signature_of(case(Status.FAIL, one)) == signature_of(case(Status.FAIL, other))


@pytest.mark.parametrize(
    "other",
    [
        case(Status.FAIL, "assert 'EIO' == ''"),
        case(Status.FAIL, "assert 4 == 3", error="GuestCommandError"),
        case(Status.MISS, "assert 4 == 3"),
        case(Status.ERROR, "KeyError: 4", error="KeyError"),
    ],
    ids=["text", "class", "did not run", "broke"],
)
def test_another_failure_is_not_the_symptom_and_does_not_clear_the_kernel(other: Case) -> None:
    assert read(run_of(other), learned()).verdict is Presence.UNKNOWN


def test_other_tests_do_not_count_for_a_learned_symptom() -> None:
    elsewhere = case(Status.FAIL, "assert 4 == 3", test="test_b.py::test_other")
    seen = read(run_of(elsewhere, case(Status.PASS)), learned())
    assert (seen.verdict, seen.reason) == (Presence.ABSENT, "1 test passed")


@pytest.mark.parametrize("cases", [(), (case(Status.SKIP),)], ids=["left out", "skipped"])
def test_a_test_that_did_not_run_does_not_clear_the_kernel(cases: tuple[Case, ...]) -> None:
    seen = read(run_of(*cases), learned())
    assert (seen.verdict, seen.reason) == (Presence.UNKNOWN, f"did not run: {TEST}")


def test_one_test_that_shows_the_symptom_is_enough() -> None:
    second = case(Status.FAIL, "assert 4 == 3", test="test_b.py::test_other")
    symptom = Symptom(failures(run_of(case(Status.FAIL, "assert 4 == 3"), second)))
    assert read(run_of(case(Status.PASS), second), symptom).verdict is Presence.PRESENT
    unclear = case(Status.FAIL, "assert 'EIO'", test=second.test)
    assert read(run_of(case(Status.PASS), unclear), symptom).verdict is Presence.UNKNOWN


def test_a_kernel_is_untestable_if_one_of_several_tests_did_not_run() -> None:
    second = case(Status.FAIL, "assert 4 == 3", test="test_b.py::test_other")
    symptom = Symptom(failures(run_of(case(Status.FAIL, "assert 4 == 3"), second)))
    seen = read(run_of(case(Status.PASS), case(Status.SKIP, test=second.test)), symptom)
    assert (seen.verdict, seen.reason) == (Presence.UNKNOWN, f"did not run: {second.test}")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("BootPanic", case(Status.MISS, "the kernel panicked", "BootPanic")),
        ("^FAIL ", case(Status.FAIL, "assert 4 == 3")),
        ("all of it", case(Status.FAIL, "assert 4 == 3")),
        ("XFAIL.*KD1:", case(Status.XFAIL, "KD1: Shmem grew", "")),
    ],
)
def test_a_pattern_is_searched_in_status_error_reason_and_evidence(
    pattern: str, found: Case
) -> None:
    assert read(run_of(found), Symptom(pattern=pattern)).verdict is Presence.PRESENT
    passed = read(run_of(case(Status.PASS)), Symptom(pattern=pattern))
    assert passed.verdict is Presence.ABSENT


def test_a_recorded_defect_that_does_not_show_is_not_another_failure() -> None:
    gone = case(Status.FAIL, "KD1 did not show on 7.3.4, where it was recorded", error="")
    assert read(run_of(gone), Symptom(pattern="XFAIL.*KD1:")).verdict is Presence.ABSENT
    fixed = case(Status.FIXED, "KD1: fixed in 7.4.0", error="")
    assert read(run_of(fixed), Symptom(pattern="XFAIL.*KD1:")).verdict is Presence.ABSENT


def test_a_run_without_tests_does_not_clear_the_kernel_of_a_pattern() -> None:
    assert read(run_of(case(Status.SKIP)), Symptom(pattern="x")).verdict is Presence.UNKNOWN


def test_of_several_runs_the_symptom_outweighs_an_untestable_run() -> None:
    bad, good = run_of(case(Status.FAIL, "assert 4 == 3")), run_of(case(Status.PASS))
    other = run_of(case(Status.ERROR, "KeyError"))
    readings = [read(run, learned()) for run in (good, other, bad)]
    assert unite(readings).verdict is Presence.PRESENT
    assert (unite(readings).shown, unite(readings).clean) == (1, 1)
    assert unite(readings[:2]).verdict is Presence.UNKNOWN


def test_the_command_to_rerun_a_test_is_not_evidence() -> None:
    failed = Case(test=TEST, status=Status.FAIL, reason="x", evidence="facts\nrerun: scripts/run")
    assert "rerun" not in read(run_of(failed), Symptom((signature_of(failed),))).evidence


def step(verdict: Presence, shown: int, clean: int, same_as: str = "") -> JournalEntry:
    return JournalEntry(
        commit="", title="", verdict=verdict, reason="", shown=shown, clean=clean, same_as=same_as
    )


def test_the_chance_of_missing_follows_from_the_runs_of_bad_kernels() -> None:
    # One of one, uniform prior: the mean of 1 - p under Beta(2, 1) is 1/3.
    assert chance_of_missing([step(Presence.PRESENT, 1, 0)], 1) == pytest.approx(1 / 3)
    always = [step(Presence.PRESENT, 9, 0)]
    rarely = [step(Presence.PRESENT, 1, 8)]
    assert chance_of_missing(always, 3) < 0.01 < 0.4 < chance_of_missing(rarely, 3)
    assert chance_of_missing(rarely, 30) < chance_of_missing(rarely, 3)


def test_each_cleared_kernel_lowers_the_confidence() -> None:
    bad = step(Presence.PRESENT, 5, 5)
    cleared = step(Presence.ABSENT, 0, 10)
    one, two = confidence([bad, cleared]), confidence([bad, cleared, cleared])
    assert two == pytest.approx(one**2)
    assert 0.9 < one < 1
    assert confidence([bad, cleared, step(Presence.ABSENT, 0, 10, same_as="x")]) == one
    assert confidence([bad]) == 1


def test_an_unreadable_journal_counts_as_empty(tmp_path: Path) -> None:
    file = tmp_path / "journal.json"
    file.write_text('{"steps": [{"commit"')
    journal = Journal.open(file)
    assert (journal.symptom, journal.steps) == (None, [])
    journal.symptom = Symptom((FailureSignature("a", "b", "c"),), "d")
    journal.add(step(Presence.ABSENT, 0, 1))
    assert Journal.open(file) == journal


@pytest.mark.parametrize(
    ("tests", "expression"),
    [
        (["test_descriptor"], "(test_descriptor)"),
        (["a and not b", "c"], "(a and not b) or (c)"),
        (
            ["tests/vm/contract/test_a.py::test_b[x86_64-stack]"],
            "(test_a.py and test_b[x86_64-stack])",
        ),
    ],
)
def test_tests_are_given_by_name_or_by_expression(tests: list[str], expression: str) -> None:
    assert expression_of(tests) == expression


@pytest.mark.parametrize(("tests", "pattern"), [(["a and"], ""), (["a"], "(")])
def test_an_invalid_question_is_refused(tests: list[str], pattern: str) -> None:
    with pytest.raises(SetupError):
        Question.of(tests, pattern, 1, find_fix=False)


def test_a_search_is_another_one_with_other_options_for_the_kernel(tmp_path: Path) -> None:
    fragment, other = tmp_path / "a.config", tmp_path / "b.config"
    fragment.write_text("CONFIG_KSM=y\n")
    other.write_text("CONFIG_KSM=y\n")
    keys = [
        _key(),
        _key(config=(fragment,)),
        _key(cmdline="-m 1G"),
        _key(qemu=("-m", "1G")),
        _key(qemu=("-m 1G",)),
    ]
    assert len(set(keys)) == len(keys)
    assert _key(config=(other,)) == keys[1]  # its content counts, not its name
    fragment.write_text("CONFIG_KSM=n\n")
    assert _key(config=(fragment,)) != keys[1]


def _key(**values: Any) -> str:
    """Return the key of a search with these settings."""
    question = Question.of(["a"], "", 1, find_fix=False)
    ctx = SimpleNamespace(settings=Settings(**values))
    history = SimpleNamespace(old="old", new="new")
    subject = SimpleNamespace(history=history, ctx=ctx, identity="")
    return question.key(cast(Subject, subject))


def kernel_of(folder: Path, key: str, code: str = "code") -> tuple[Kernel, GuestSide]:
    """Return a kernel with a module of its own and a testbed module; each contains its name."""
    release = f"7.3.4-testbed-{key}"
    binary = f"{code} {release} ".encode()
    for name in ("vmlinux", f"modules/lib/modules/{release}/fs/x.ko", "guest/modules/y.ko"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(binary)
    (folder / "guest/programs").mkdir()
    (folder / ".config").write_text("CONFIG_MMU=y\n")
    kernel = Kernel(
        arch=vm_parts.kernel().arch, key=key, release=release, version="7.3.4", path=folder
    )
    return kernel, GuestSide(folder / "guest", folder / "guest/programs")


def test_kernels_that_differ_only_in_their_names_are_equal(tmp_path: Path) -> None:
    one = kernel_of(tmp_path / "one", "0123456789abcdef")
    other = kernel_of(tmp_path / "other", "fedcba9876543210")
    assert fingerprint(*one) == fingerprint(*other)


@pytest.mark.parametrize(
    "part", ["vmlinux", ".config", "modules/lib/modules/*/fs/x.ko", "guest/modules/y.ko"]
)
def test_kernels_that_differ_in_any_part_are_not_equal(tmp_path: Path, part: str) -> None:
    one = kernel_of(tmp_path / "one", "0123456789abcdef")
    other = kernel_of(tmp_path / "other", "fedcba9876543210")
    [file] = (tmp_path / "other").glob(part)
    file.write_bytes(file.read_bytes() + b"!")
    assert fingerprint(*one) != fingerprint(*other)
