"""Bisection: a real git and small kernel trees, and an oracle that reads the source."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from testbed.bisect.drive import Bisection, Built
from testbed.bisect.history import Answer, History, borrow, commit_series, resolve_commit
from testbed.bisect.journal import Journal, Step
from testbed.bisect.report import report_lines
from testbed.bisect.symptom import Verdict
from testbed.cache import digest
from testbed.errors import BuildError, InfraError, SetupError
from testbed.kernel.series import Series
from testbed.progress import SilentProgress
from testbed.results.model import Case, Run, Status
from testbed.run import run

TEST = "tests/vm/contract/test_a.py::test_layer[x86_64]"

GOOD = "int layer;\n"
BAD = "int layer_is_broken;\n"
NO_BUILD = "int layer\n"
OTHER = "int layer_fails_otherwise;\n"
LOST = "int layer_panics;\n"


def case(status: Status, reason: str = "", error: str = "") -> Case:
    return Case(test=TEST, status=status, reason=reason, error=error, evidence=f"seen: {reason}")


CASES = {
    GOOD: case(Status.PASS),
    BAD: case(Status.FAIL, "vm_pgoff is 0x7f00, not 9", "AssertionError"),
    OTHER: case(Status.FAIL, "no such device", "AssertionError"),
    LOST: case(Status.MISS, "the kernel panicked at boot", "BootPanic"),
}


@dataclass
class Reader:
    """An oracle that reads a commit's mm/util.c, and remembers what it was asked."""

    history: History
    built: list[str] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    rounds: Callable[[int], bool] = lambda number: True  # whether the symptom shows this time

    def build(self, commit: str) -> Built:
        self.built.append(commit)
        text = self.source(commit)
        if text == NO_BUILD:
            raise BuildError("mm/util.c:1: expected ';'")
        return Built("7.3.4-testbed", digest(text))

    def run(self, commit: str) -> Run:
        self.ran.append(commit)
        found = CASES[self.source(commit)]
        if found is CASES[BAD] and not self.rounds(len(self.ran)):
            found = CASES[GOOD]
        return Run(name="", command="", started="", cases=(found,))

    def source(self, commit: str) -> str:
        """mm/util.c without comments: what the compiler makes of it."""
        text = self.history.file(commit, "mm/util.c")
        return "".join(line for line in text.splitlines(True) if not line.startswith("//"))


@dataclass
class Tree:
    """A user's tree; a commit's number is its comment, so that no two are equal."""

    path: Path
    commits: list[str] = field(default_factory=list)

    def git(self, *words: str) -> str:
        return run(["git", "-C", self.path, *words]).stdout.strip()

    def commit(self, text: str, name: str = "") -> str:
        title = name or f"commit {len(self.commits)}"
        (self.path / "mm/util.c").write_text(f"// {title}\n{text}")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", title)
        self.commits.append(self.git("rev-parse", "HEAD"))
        return self.commits[-1]

    def commit_all(self, *texts: str) -> None:
        """Many at once, on main."""
        lines = ["reset refs/heads/main", "from refs/heads/main^0"] if self.commits else []
        for text in texts:
            title = f"commit {len(self.commits) + lines.count('deleteall')}"
            source = f"// {title}\n{text}"
            lines += ["commit refs/heads/main", "committer A. Developer <a@example.org> 0 +0000"]
            lines += [f"data {len(title)}", title, "deleteall", "M 644 inline mm/util.c"]
            lines += [f"data {len(source)}", source]
        stream = "\n".join(lines).encode() + b"\n"
        run(["git", "-C", self.path, "fast-import", "--quiet"], stdin=stream)
        words = ("rev-list", "--reverse", "--first-parent", f"--max-count={len(texts)}", "main")
        self.commits += self.git(*words).split()
        self.git("reset", "--hard", "--quiet")


@pytest.fixture(autouse=True)
def git_without_the_users_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "A. Developer")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "developer@example.org")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    path = tmp_path / "linux"
    (path / "mm").mkdir(parents=True)
    run(["git", "init", "--quiet", "--initial-branch", "main", path])
    return Tree(path)


@dataclass
class Searched:
    """A search and what came of it."""

    bisection: Bisection
    reader: Reader
    answer: Answer

    def verdicts(self) -> dict[str, Verdict]:
        return {step.commit: step.verdict for step in self.bisection.journal.steps}


def search(
    tree: Tree,
    old: str = "",
    new: str = "",
    *,
    reader: Reader | None = None,
    rounds: Callable[[int], bool] = lambda number: True,
    **question: object,
) -> Searched:
    """Search between two commits, the first and the last unless told otherwise."""
    copy = tree.path.parent / "copy"
    history = borrow(tree.path, copy, old or tree.commits[0], new or tree.commits[-1])
    oracle = reader or Reader(history, rounds=rounds)
    journal = Journal.open(tree.path.parent / "journal.json")
    bisection = Bisection(history, oracle, journal, SilentProgress(), **question)  # type: ignore[arg-type]
    return Searched(bisection, oracle, bisection.run())


def snapshot(top: Path) -> dict[str, tuple[int, int, int]]:
    """Size and both times of all files and folders."""
    found = {}
    for folder, folders, names in os.walk(top):
        for name in [".", *folders, *names]:
            status = os.lstat(os.path.join(folder, name))
            found[os.path.join(folder, name)] = (
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
            )
    return found


@pytest.mark.parametrize("planted", [1, 4, 6, 9])
def test_the_commit_is_found_wherever_it_is(tree: Tree, planted: int) -> None:
    tree.commit_all(*[GOOD] * planted, *[BAD] * (10 - planted))
    found = search(tree)
    assert found.answer.first == tree.commits[planted]
    assert len(found.reader.built) <= 2 + 4
    assert len(set(found.reader.built)) == len(found.reader.built)


def test_nothing_is_written_into_the_users_tree(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, BAD, BAD)
    before = snapshot(tree.path)
    found = search(tree)
    found.bisection.history.check_out(tree.commits[1])
    assert snapshot(tree.path) == before
    copy = found.bisection.history.path
    assert (copy / "mm/util.c").read_text() == f"// commit 1\n{GOOD}"


def test_the_report_has_the_commit_and_what_was_seen_before_and_after(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, BAD, BAD)
    found = search(tree)
    text = "\n".join(report_lines(found.bisection, found.answer))
    assert f"first bad: {tree.commits[2][:12]}: commit 2" in text
    assert "mm/util.c | 4 ++--" in text
    assert f"before: {tree.commits[1][:12]} (commit 1): absent: 1 test passed" in text
    assert "    seen: vm_pgoff is 0x7f00, not 9" in text
    assert f"git bisect bad {tree.commits[2]}" in found.answer.log
    assert text.count("\n| ") == 1 + len(found.bisection.journal.steps)


def test_only_the_symptom_asked_for_is_bad(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, OTHER, LOST, NO_BUILD, BAD, BAD, BAD)
    found = search(tree)
    assert found.answer.first == ""
    assert set(found.answer.possible) == set(tree.commits[2:6])
    unknown = {found.verdicts().get(commit) for commit in tree.commits[2:5]}
    assert unknown == {Verdict.UNKNOWN}
    reasons = {step.reason for step in found.bisection.journal.steps}
    assert "another failure: test_layer: FAIL no such device" in reasons
    assert "another failure: test_layer: MISS the kernel panicked at boot" in reasons
    assert "another failure: the build: MISS mm/util.c:1: expected ';'" in reasons


def test_what_cannot_be_tried_is_stepped_over(tree: Tree) -> None:
    tree.commit_all(GOOD, NO_BUILD, NO_BUILD, GOOD, OTHER, GOOD, BAD, NO_BUILD, BAD)
    assert search(tree).answer.first == tree.commits[6]


def test_the_same_failure_with_other_numbers_is_the_same_symptom(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = "int layer_is_broken_elsewhere;\n"
    monkeypatch.setitem(
        CASES, moved, case(Status.FAIL, "vm_pgoff is 0x8800, not 12", "AssertionError")
    )
    tree.commit_all(GOOD, GOOD, moved, moved, BAD)
    assert search(tree).answer.first == tree.commits[2]


def test_what_fails_on_both_ends_is_not_the_symptom(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.commit_all(GOOD, GOOD, GOOD, BAD, BAD)
    common = Case(
        test="tests/vm/contract/test_b.py::test_old", status=Status.FAIL, reason="as ever"
    )
    real = Reader.run

    def with_an_old_failure(self: Reader, commit: str) -> Run:
        cases = real(self, commit).cases
        return Run(name="", command="", started="", cases=(common, *cases))

    monkeypatch.setattr(Reader, "run", with_an_old_failure)
    found = search(tree)
    assert found.answer.first == tree.commits[3]
    assert "test_old" not in str(found.bisection.journal.symptom)


def test_the_same_failure_on_both_ends_is_nothing_to_search_for(tree: Tree) -> None:
    tree.commit_all(BAD, GOOD, BAD)
    found = search(tree)
    assert "is not one that is without the symptom" in found.answer.trouble
    assert "commit 0" in found.answer.trouble


def test_a_range_without_a_bad_commit_is_said(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, GOOD)
    found = search(tree)
    assert found.answer.trouble.endswith("is not one that shows the symptom: 1 test passed")
    assert found.reader.built == [tree.commits[2]]
    text = "\n".join(report_lines(found.bisection, found.answer))
    assert text.startswith("nothing to search for: ")


@pytest.mark.parametrize("end", [NO_BUILD, LOST])
def test_a_bad_end_that_cannot_be_tried_says_why(tree: Tree, end: str) -> None:
    tree.commit_all(GOOD, GOOD, end)
    assert "is not one that shows the symptom: another failure" in search(tree).answer.trouble


def test_what_an_unfit_end_showed_is_forgotten(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, BAD)
    assert search(tree, rounds=lambda number: False).answer.trouble
    assert search(tree).answer.first == tree.commits[2]


def test_the_first_commit_after_the_good_end_can_be_the_bad_one(tree: Tree) -> None:
    tree.commit_all(GOOD, BAD)
    found = search(tree)
    assert found.answer.first == tree.commits[1]
    assert len(found.reader.built) == 2


def test_the_first_commit_of_all_can_be_the_good_end_alone(tree: Tree) -> None:
    tree.commit_all(BAD, BAD)
    assert tree.commits[0][:12] in search(tree).answer.trouble


@pytest.mark.parametrize("side", ["side", "main", "merge"])
def test_a_defect_is_found_on_either_side_of_a_merge_or_in_the_merge(tree: Tree, side: str) -> None:
    base = tree.commit(GOOD)
    tree.git("checkout", "--quiet", "-b", "side")
    (tree.path / "other").write_text("side\n")
    tree.commit(GOOD)
    on_side = tree.commit(BAD if side == "side" else GOOD, "on the side")
    tree.commit(BAD if side == "side" else GOOD)
    tree.git("checkout", "--quiet", "main")
    tree.commit(GOOD)
    on_main = tree.commit(BAD if side == "main" else GOOD, "on the main line")
    tree.git("merge", "--quiet", "--no-commit", "--strategy", "ours", "side")
    merge = tree.commit(BAD, "the merge")
    tree.commit_all(BAD, BAD)
    wanted = {"side": on_side, "main": on_main, "merge": merge}[side]
    assert search(tree, base).answer.first == wanted


def test_ends_on_two_branches_are_joined_by_their_merge_base(tree: Tree) -> None:
    tree.commit(GOOD)
    base = tree.commit(GOOD)
    tree.git("checkout", "--quiet", "-b", "stable")
    good = tree.commit(GOOD, "on stable")
    tree.git("checkout", "--quiet", "main")
    culprit = tree.commit(BAD)
    found = search(tree, good, tree.commit(BAD))
    assert found.answer.first == culprit
    assert base in found.verdicts()


def test_a_bad_merge_base_means_that_the_good_end_has_a_fix(tree: Tree) -> None:
    tree.commit(BAD)
    tree.git("checkout", "--quiet", "-b", "stable")
    good = tree.commit(GOOD, "the fix on stable")
    tree.git("checkout", "--quiet", "main")
    bad = tree.commit(BAD)
    with pytest.raises(SetupError, match="the merge base of both ends is bad"):
        search(tree, good, bad)


def test_a_fix_is_found(tree: Tree) -> None:
    tree.commit_all(BAD, BAD, NO_BUILD, BAD, GOOD, GOOD, GOOD)
    found = search(tree, find_fix=True)
    assert found.answer.first == tree.commits[4]
    assert "first fixed: " in "\n".join(report_lines(found.bisection, found.answer))


@pytest.mark.parametrize("find_fix", [False, True])
def test_ends_in_the_wrong_order_are_refused_with_the_cure(tree: Tree, find_fix: bool) -> None:
    tree.commit_all(GOOD, BAD)
    with pytest.raises(SetupError, match="wrong order") as refused:
        search(tree, tree.commits[1], tree.commits[0], find_fix=find_fix)
    assert "the bad end is the older one" in refused.value.cure


def test_one_commit_is_no_range(tree: Tree) -> None:
    commit = tree.commit(GOOD)
    with pytest.raises(SetupError, match="same commit"):
        search(tree, commit, commit)


def test_a_pattern_finds_a_kernel_that_does_not_boot(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, BAD, GOOD, LOST, LOST)
    found = search(tree, pattern="BootPanic")
    assert set(found.answer.possible) | {found.answer.first} >= {tree.commits[4]}
    assert found.verdicts()[tree.commits[5]] is Verdict.PRESENT


def test_a_pattern_finds_what_broke_the_build(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, GOOD, NO_BUILD, NO_BUILD, NO_BUILD)
    assert search(tree, pattern="BuildError").answer.first == tree.commits[3]


def test_equal_kernels_share_a_verdict(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, GOOD, GOOD, BAD, BAD, BAD, BAD)
    found = search(tree)
    assert len(found.reader.ran) == 2  # the ends
    shared = [step for step in found.bisection.journal.steps if step.same_as]
    assert {step.same_as for step in shared} <= {tree.commits[0], tree.commits[7]}
    assert len(found.reader.built) == 2 + len(shared)


def test_equal_kernels_at_both_ends_have_nothing_between_them(tree: Tree) -> None:
    tree.commit_all(BAD, BAD)
    assert len(search(tree).reader.ran) == 1


def test_an_interrupted_search_goes_on_where_it_was(tree: Tree) -> None:
    tree.commit_all(*[GOOD] * 20, NO_BUILD, *[BAD] * 20)

    class Interrupted(Reader):
        def build(self, commit: str) -> Built:
            if len(self.built) == 4:
                raise KeyboardInterrupt
            return super().build(commit)

    history = borrow(tree.path, tree.path.parent / "copy", tree.commits[0], tree.commits[-1])
    first = Interrupted(history)
    with pytest.raises(KeyboardInterrupt):
        search(tree, reader=first)
    second = search(tree)
    assert set(second.answer.possible) == {tree.commits[20], tree.commits[21]}
    assert not set(first.built) & set(second.reader.built)
    third = search(tree)
    assert third.reader.built == []
    assert third.answer == second.answer


def test_a_failing_host_ends_the_search_and_keeps_what_is_known(tree: Tree) -> None:
    tree.commit_all(*[GOOD] * 8, *[BAD] * 8)

    class Failing(Reader):
        def run(self, commit: str) -> Run:
            raise InfraError("the disk is full")

    history = borrow(tree.path, tree.path.parent / "copy", tree.commits[0], tree.commits[-1])
    search(tree, tree.commits[0], tree.commits[-1])
    (tree.path.parent / "journal.json").unlink()
    with pytest.raises(InfraError, match="the disk is full"):
        search(tree, reader=Failing(history))
    assert Journal.open(tree.path.parent / "journal.json").steps == []


def test_a_symptom_that_comes_and_goes_is_met_by_repeating(tree: Tree) -> None:
    tree.commit_all(*[GOOD] * 6, *[BAD] * 6)
    found = search(tree, rounds=lambda number: number % 3 == 0, repeat=4)
    assert found.answer.first == tree.commits[6]
    text = "\n".join(report_lines(found.bisection, found.answer))
    assert "kernels with the symptom showed it in 1 of 4 runs" in text
    assert "% sure" in text


def test_a_run_that_shows_the_symptom_ends_the_repetition(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No two kernels are equal here, so that each is run.
    monkeypatch.setattr(Reader, "build", lambda self, commit: Built("7.3.4", commit))
    tree.commit_all(GOOD, BAD, BAD, BAD)
    found = search(tree, repeat=3)
    ran = [found.reader.ran.count(commit) for commit in tree.commits]
    assert ran == [3, 1, 1, 3]  # the ends tell how often it shows


def test_a_shallow_clone_is_searched_as_far_as_it_goes(tree: Tree, tmp_path: Path) -> None:
    tree.commit_all(*[GOOD] * 4, *[BAD] * 4)
    shallow = tmp_path / "shallow"
    run(["git", "clone", "--quiet", "--depth", "6", f"file://{tree.path}", shallow])
    found = search(Tree(shallow, tree.commits[2:]))
    assert found.answer.first == tree.commits[4]


def test_a_commit_that_is_on_no_branch_can_be_an_end(tree: Tree) -> None:
    tree.commit_all(GOOD, GOOD, BAD)
    tree.git("reset", "--hard", "--quiet", tree.commits[0])
    assert search(tree, new=tree.commits[2]).answer.first == tree.commits[2]


def test_commits_are_named_as_git_names_them(tree: Tree, tmp_path: Path) -> None:
    tree.commit_all(GOOD, BAD)
    tree.git("tag", "v7.3", tree.commits[0])
    assert resolve_commit(tree.path, "v7.3") == resolve_commit(tree.path, "HEAD~1")
    for name in ("v7.4", "--all", "HEAD:mm"):
        with pytest.raises(SetupError, match="has no commit"):
            resolve_commit(tree.path, name)
    with pytest.raises(SetupError, match="cannot read a repository"):
        borrow(tmp_path / "none", tmp_path / "copy", "", "")


def test_an_interrupted_checkout_leaves_nothing_behind(tree: Tree) -> None:
    tree.commit_all(GOOD, BAD)
    history = borrow(tree.path, tree.path.parent / "copy", *tree.commits)
    history.check_out(tree.commits[0])
    # As a run leaves it that was killed half-way.
    (history.path / ".git/checkout-under-way").touch()
    (history.path / ".git/index.lock").touch()
    (history.path / "mm/stray.c").touch()
    (history.path / "mm/util.c").write_text("int hal")
    history.check_out(tree.commits[1])
    assert [path.name for path in history.path.glob("mm/*")] == ["util.c"]
    assert (history.path / "mm/util.c").read_text() == f"// commit 1\n{BAD}"


def test_a_checkout_touches_only_what_differs(tree: Tree) -> None:
    (tree.path / "Makefile").write_text("all:\n")
    tree.commit(GOOD)
    tree.commit(BAD)
    history = borrow(tree.path, tree.path.parent / "copy", *tree.commits)
    history.check_out(tree.commits[0])
    before = (history.path / "Makefile").stat().st_ctime_ns
    history.check_out(tree.commits[1])
    assert (history.path / "Makefile").stat().st_ctime_ns == before


def series_of(folder: Path, count: int) -> Series:
    folder.mkdir()
    text = "--- a/mm/util.c\n+++ b/mm/util.c\n@@ -1 +1 @@\n-{}\n+{}\n"
    patches = []
    for number in range(count):
        patches.append(folder / f"{number + 1:04}-change.patch")
        patches[-1].write_text(text.format(number, number + 1))
    return Series(tuple(patches))


@dataclass
class Planted:
    """An oracle of a series whose patch of a certain number is bad."""

    history: History
    number: int
    built: list[int] = field(default_factory=list)

    def build(self, commit: str) -> Built:
        self.built.append(self.history.numbers[commit])
        return Built("7.3.4-testbed", commit)

    def run(self, commit: str) -> Run:
        bad = self.history.numbers[commit] >= self.number
        return Run(name="", command="", started="", cases=(CASES[BAD if bad else GOOD],))


@pytest.mark.parametrize("number", [1, 11, 16, 17, 22, 32])
def test_a_patch_among_32_is_found_in_six_builds_besides_the_base(
    tmp_path: Path, shared_series: tuple[Series, History], number: int
) -> None:
    series, history = shared_series
    oracle = Planted(history, number)
    journal = Journal(tmp_path / "journal.json")
    bisection = Bisection(history, oracle, journal, SilentProgress())
    answer = bisection.run()
    assert history.label(answer.first) == f"patch {number}"
    assert history.title(answer.first) == series.names[number - 1]
    assert len(oracle.built) - oracle.built.count(0) <= 6
    assert oracle.built.count(0) == 1


@pytest.fixture(scope="module")
def shared_series(tmp_path_factory: pytest.TempPathFactory) -> tuple[Series, History]:
    top = tmp_path_factory.mktemp("series")
    series = series_of(top / "patches", 32)
    return series, commit_series(series, top / "history")


def test_a_series_has_the_same_commits_each_time_and_others_when_a_patch_is_edited(
    tmp_path: Path,
) -> None:
    series = series_of(tmp_path / "patches", 3)
    one = commit_series(series, tmp_path / "one")
    assert commit_series(series, tmp_path / "two").new == one.new
    series.patches[1].write_text(series.patches[1].read_text() + "\n")
    edited = commit_series(series, tmp_path / "one")
    assert (edited.old, edited.new != one.new) == (one.old, True)


def test_the_report_of_a_series_names_patches(tmp_path: Path) -> None:
    series = series_of(tmp_path / "patches", 4)
    history = commit_series(series, tmp_path / "history")
    journal = Journal(tmp_path / "journal.json")
    bisection = Bisection(history, Planted(history, 3), journal, SilentProgress())
    lines = report_lines(bisection, bisection.run())
    assert lines[0] == "first bad: patch 3: 0003-change.patch"
    assert "before: patch 2 (0002-change.patch): absent: 1 test passed" in lines
    assert any(line.startswith("| base | no patch | absent |") for line in lines)


def test_a_journal_that_cannot_be_read_is_an_empty_one(tmp_path: Path) -> None:
    file = tmp_path / "journal.json"
    file.write_text('{"steps": [{"commit"')
    journal = Journal.open(file)
    assert (journal.symptom, journal.steps) == (None, [])
    step = Step(commit="a", title="b", verdict=Verdict.ABSENT, reason="1 test passed")
    journal.add(step)
    assert Journal.open(file).steps == [step]
