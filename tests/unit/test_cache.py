# SPDX-License-Identifier: GPL-2.0
"""The cache: entries are made once, complete or absent, verified, and bounded."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.cache import Cache, Verify, _disk_usage, digest
from testbed.errors import InfraError
from testbed.process import run
from testbed.progress import SilentProgress
from testbed.settings import CHECKOUT

GB = 1_000_000_000


class Notes(SilentProgress):
    """Keeps the notes; `noted` is set when one has come."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.noted = threading.Event()

    def note(self, text: str, *, once: bool = False) -> None:
        self.texts.append(text)
        self.noted.set()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with opened(tmp_path) as cache:
        yield cache


@contextmanager
def opened(root: Path, limit: int = GB) -> Iterator[Cache]:
    """Yield a cache as another run has it: two of them lock each other out as processes do."""
    cache = Cache(root, limit, Notes())
    try:
        yield cache
    finally:
        cache.close()


def writes(text: str, times: list[str] | None = None) -> Callable[[Path], None]:
    def make(scratch: Path) -> None:
        (scratch / "file").write_text(text)
        if times is not None:
            times.append(text)

    return make


def must_not_make(scratch: Path) -> None:
    pytest.fail(f"made again in {scratch}")


def test_an_entry_is_made_once(tmp_path: Path, cache: Cache) -> None:
    made: list[str] = []
    first = cache.get("kernel", "k", writes("text", made))
    with opened(tmp_path) as later:
        assert later.get("kernel", "k", must_not_make) == first
    assert (first / "file").read_text() == "text"
    assert made == ["text"]


def test_an_entry_that_cannot_be_made_leaves_nothing(tmp_path: Path, cache: Cache) -> None:
    def fail(scratch: Path) -> None:
        (scratch / "half").write_text("made")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get("kernel", "k", fail)
    assert cache.find("kernel", "k") is None
    assert not list(tmp_path.rglob("half"))
    cache.get("kernel", "k", writes("second try"))


@pytest.mark.parametrize("verify", Verify)
def test_a_damaged_entry_is_noticed_and_made_again(tmp_path: Path, verify: Verify) -> None:
    with opened(tmp_path) as cache:
        (cache.get("kernel", "k", writes("whole"), verify=verify) / "file").write_text("torn")
    with opened(tmp_path) as cache:
        path = cache.get("kernel", "k", writes("whole"), verify=verify)
        assert (path / "file").read_text() == "whole"
        assert isinstance(cache.progress, Notes)
        assert cache.progress.texts == ["cache entry kernel/k is damaged and was removed"]


def test_the_digest_finds_damage_that_keeps_size_and_time(tmp_path: Path) -> None:
    with opened(tmp_path) as cache:
        file = cache.get("kernel", "k", writes("abc")) / "file"
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_text("abd")
    os.utime(file, ns=times)
    with opened(tmp_path) as cache:
        assert cache.find("kernel", "k") is None


@pytest.mark.parametrize("damage", ["missing", "extra", "link", "manifest"])
def test_a_changed_set_of_files_is_damage(tmp_path: Path, damage: str) -> None:
    def make(scratch: Path) -> None:
        (scratch / "folder").mkdir()
        (scratch / "folder" / "file").touch()
        (scratch / "link").symlink_to("folder/file")

    with opened(tmp_path) as cache:
        path = cache.get("source", "k", make, verify=Verify.STAT)
    if damage == "missing":
        (path / "folder" / "file").unlink()
    elif damage == "extra":
        (path / "new").touch()
    elif damage == "link":
        (path / "link").unlink()
        (path / "link").symlink_to("elsewhere")
    else:
        (tmp_path / "manifests" / "source-k.json").write_text("{")
    with opened(tmp_path) as cache:
        assert cache.find("source", "k") is None


def test_a_second_run_waits_until_the_entry_is_made_and_no_longer(tmp_path: Path) -> None:
    with opened(tmp_path) as first, opened(tmp_path) as second:
        found: list[Path] = []
        waits = second.progress
        assert isinstance(waits, Notes)
        other = threading.Thread(
            target=lambda: found.append(second.get("kernel", "k", must_not_make))
        )

        def make(scratch: Path) -> None:
            (scratch / "file").write_text("once")
            other.start()
            assert waits.noted.wait(60)

        path = first.get("kernel", "k", make)
        other.join(60)
        assert found == [path]
        assert waits.texts == ["waiting for another run that uses kernel/k"]


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    with opened(tmp_path) as cache:
        for age, key in enumerate(("old", "older", "oldest")):
            cache.get("kernel", key, writes("x" * 5000))
            os.utime(tmp_path / "manifests" / f"kernel-{key}.json", (1000 - age, 1000 - age))
    with opened(tmp_path) as cache:
        size = cache.entries()[0].size
        assert [entry.key for entry in cache.prune(2 * size)] == ["oldest"]
        assert [entry.key for entry in cache.entries()] == ["older", "old"]


def test_hard_links_that_entries_share_count_once(tmp_path: Path, cache: Cache) -> None:
    text = cache.get("source", "s", writes("x" * 100_000)) / "file"
    with cache.work("one") as one, cache.work("other") as other:
        (one / "file").hardlink_to(text)
        (other / "file").hardlink_to(text)
    # An entry is measured when it is complete, before others share it.
    source, *works = sorted(entry.size for entry in cache.entries())[::-1]
    assert sum(works) < source


def test_the_compiler_cache_counts_within_the_limit(tmp_path: Path, cache: Cache) -> None:
    with opened(tmp_path) as run:
        run.get("kernel", "k", writes("text"))
    cache.ccache.mkdir()
    (cache.ccache / "object").write_bytes(b"x" * 100_000)
    size = cache.entries()[0].size
    assert [entry.key for entry in cache.prune(size + 50_000)] == ["k"]


def test_use_makes_an_entry_recent(tmp_path: Path) -> None:
    with opened(tmp_path) as cache:
        for key in ("a", "b"):
            cache.get("kernel", key, writes(key))
            os.utime(tmp_path / "manifests" / f"kernel-{key}.json", (1000, 1000))
    with opened(tmp_path) as cache:
        cache.find("kernel", "a")
        assert [entry.key for entry in cache.entries()] == ["b", "a"]


def test_a_work_directory_is_measured_once_per_interval(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def size() -> int:
        return next(entry.size for entry in cache.entries() if entry.kind == "work")

    with cache.work("w") as path:
        (path / "file").write_bytes(bytes(8192))
    assert size() >= 8192
    with cache.work("w") as path:
        (path / "other").write_bytes(bytes(8192))
    assert size() < 16384
    monkeypatch.setattr("testbed.cache._MEASURE", 0.0)
    with cache.work("w"):
        pass
    assert size() >= 16384
    cache.prune(0)
    assert not path.exists()
    assert cache.entries() == []


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the folders whose files are walked to measure them."""
    names: list[str] = []

    def measure(root: Path) -> int:
        names.append(root.name)
        return _disk_usage(root)

    monkeypatch.setattr("testbed.cache._disk_usage", measure)
    return names


def test_a_new_entry_walks_nothing_but_its_own_files(cache: Cache, walked: list[str]) -> None:
    cache.ccache.mkdir()
    with cache.work("w") as path:  # nobody has used it before
        (path / "file").write_bytes(bytes(8192))
        for key in ("a", "b", "c"):
            cache.get("kernel", key, writes(key))
        assert walked == ["kernel-a", "w", "ccache", "kernel-b", "kernel-c"]
        walked.clear()
        (path / "other").write_bytes(bytes(8192))
    assert walked == ["w"]  # what was measured in its use does not count
    sizes = {entry.key: entry.size for entry in cache.entries()}
    assert sizes["w"] >= 16384
    assert walked == ["w"]


def test_a_work_directory_that_a_killed_run_left_keeps_its_place_and_is_pruned(
    tmp_path: Path, walked: list[str]
) -> None:
    left = tmp_path / "work" / "left"
    left.mkdir(parents=True)
    (left / "file").write_bytes(bytes(100_000))
    os.utime(left, (1000, 1000))
    with opened(tmp_path, limit=GB) as cache:
        cache.get("kernel", "k", writes("x"))
        assert [entry.key for entry in cache.entries()] == ["left", "k"]
        assert [entry.key for entry in cache.prune(50_000)] == ["left"]
    assert walked.count("left") == 1
    assert not left.exists()


def test_a_full_disk_can_be_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise InfraError(f"cannot write {path}: No space left on device")

    (tmp_path / "work" / "left").mkdir(parents=True)
    (tmp_path / "work" / "left" / "file").write_bytes(bytes(100_000))
    monkeypatch.setattr("testbed.cache.write_whole", full)
    with opened(tmp_path) as cache:
        assert [entry.size >= 100_000 for entry in cache.entries()] == [True]
        assert [entry.key for entry in cache.prune(0)] == ["left"]


def test_entries_that_a_live_run_holds_are_never_pruned(tmp_path: Path, cache: Cache) -> None:
    path = cache.get("kernel", "held", writes("x"))
    with opened(tmp_path, limit=0) as other, other.work("busy") as busy:
        (busy / "object").write_text("compiled")
        assert other.prune() == []
    assert path.exists()
    cache.close()
    with opened(tmp_path) as other:
        assert {entry.key for entry in other.prune(0)} == {"held", "busy"}


def test_making_an_entry_keeps_the_cache_within_its_limit(tmp_path: Path) -> None:
    with opened(tmp_path, limit=0) as cache:
        cache.get("kernel", "first", writes("x"))
    with opened(tmp_path, limit=0) as cache:
        cache.get("kernel", "second", writes("x"))
        assert [entry.key for entry in cache.entries()] == ["second"]


def test_incomplete_entries_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from testbed.cache import Cache\n"
        "def make(scratch):\n"
        "    (scratch / 'half').touch(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "Cache(Path(sys.argv[1]), 1).get('kernel', 'k', make)\n"
    )
    run([sys.executable, "-c", script, tmp_path], cwd=CHECKOUT, ok=[-signal.SIGKILL])
    assert list(tmp_path.rglob("half"))
    with opened(tmp_path) as cache:
        cache.prune()
        assert not list(tmp_path.rglob("half"))
        cache.get("kernel", "k", writes("whole"))


def test_an_entry_that_another_run_is_making_stays(tmp_path: Path, cache: Cache) -> None:
    def make(scratch: Path) -> None:
        with opened(tmp_path) as other:
            other.prune(0)
        assert scratch.is_dir()

    cache.get("kernel", "k", make)


def test_a_work_directory_keeps_its_content(tmp_path: Path) -> None:
    with opened(tmp_path) as cache, cache.work("build") as path:
        (path / "object").write_text("compiled")
    with opened(tmp_path) as cache, cache.work("build") as path:
        assert (path / "object").read_text() == "compiled"


def test_a_full_disk_is_an_error_with_both_figures(cache: Cache) -> None:
    with pytest.raises(InfraError) as caught:
        cache.require_space(10**18, "unpacking")
    assert "unpacking needs 1000000000.0 GB" in str(caught.value)
    assert "GB are free" in str(caught.value)


def test_a_digest_depends_on_where_its_parts_end() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert len(digest("a")) == 16


def test_passing_entries_are_gone_after_the_block(cache: Cache) -> None:
    kept = cache.get("kernel", "before", writes("x"))
    with cache.passing("kernel"):
        cache.get("kernel", "before", writes("x"))
        passing = cache.get("kernel", "mutant", writes("y"))
        other = cache.get("userland", "base", writes("z"))
        assert passing.exists()
    assert [path.exists() for path in (kept, passing, other)] == [True, False, True]
    assert cache.get("kernel", "mutant", writes("made anew")).exists()


def test_passing_entries_are_gone_after_an_error_too(cache: Cache) -> None:
    @cache.passing("kernel")
    def interrupted() -> None:
        cache.get("kernel", "mutant", writes("y"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert cache.find("kernel", "mutant") is None


def test_a_passing_entry_that_another_run_uses_stays(cache: Cache, tmp_path: Path) -> None:
    with cache.passing("kernel"), opened(tmp_path) as other:
        path = cache.get("kernel", "mutant", writes("y"))
        other.get("kernel", "mutant", writes("y"))
        assert path.exists()
        keep = other.find("kernel", "mutant")
    assert keep == path
