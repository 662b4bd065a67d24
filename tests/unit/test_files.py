# SPDX-License-Identifier: GPL-2.0
"""Files that are written whole, and folders of the settings: an error has one line and a hint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from host_parts import largest_file

from testbed.bisect.journal import Journal
from testbed.cache import Cache
from testbed.context import Context
from testbed.errors import InfraError, SetupError
from testbed.files import append_whole, full_disk_blamed, make_folder, user_path, write_whole
from testbed.image.keys import find_client_key
from testbed.lab.doctor import examine
from testbed.lab.template import open_store
from testbed.progress import SilentProgress
from testbed.results.store import new_run_dir
from testbed.settings import AccelChoice, Settings

USES: dict[str, Callable[[Path], object]] = {
    "cache_dir": lambda path: Cache(path, 1).get("kind", "key", lambda _: None),
    "data_dir": lambda path: find_client_key(Settings(data_dir=path)),
    "results_dir": new_run_dir,
    "state_dir": lambda path: Journal(path / "bisect.json").write(),
    "template_dir": lambda path: open_store(
        Context.of(Settings(template_dir=path), SilentProgress())
    ),
}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("~nobody-has-this-name/linux", "home directory"),
        ("a\0b", "null byte"),
        ("n" * 256, "File name too long"),
    ],
)
def test_a_name_that_no_file_can_have_is_refused(name: str, why: str) -> None:
    with pytest.raises(SetupError, match=f"is not a path: .*{why}"):
        user_path(name)


def test_a_path_need_not_lead_to_a_file(tmp_path: Path) -> None:
    assert user_path("~") == Path.home()
    file = tmp_path / "file"
    file.touch()
    for path in (tmp_path / "absent", file / "below"):
        assert user_path(str(path)) == path


@pytest.mark.parametrize("setting", USES)
def test_a_folder_that_cannot_be_made_is_an_error_that_names_its_setting(
    tmp_path: Path, setting: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match=r"cannot write to .*: Not a directory") as caught:
        USES[setting](tmp_path / "file/folder")
    assert caught.value.hint == f"set {setting} to a folder that you can write to"


def test_the_space_of_a_cache_that_cannot_be_made_is_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="Not a directory"):
        Cache(tmp_path / "file/cache", 1).require_space(1, "a test")


@pytest.mark.parametrize(
    ("folder", "found", "hint"),
    [
        ("file/cache", "cannot write to", "set cache_dir to a folder that you can write to"),
        ("my cache", "make cannot build in", "set cache_dir to a folder with a plain name"),
    ],
)
def test_the_doctor_shows_an_unusable_cache(
    tmp_path: Path, folder: str, found: str, hint: str
) -> None:
    (tmp_path / "file").touch()
    settings = Settings(
        cache_dir=tmp_path / folder,
        data_dir=tmp_path / "data",
        state_dir=tmp_path / "file/state",
        accel=AccelChoice.TCG,
        mirror="http://mirror.example.org/debian",
    )
    findings = examine(settings, Context.of(settings, SilentProgress()).cache)
    known = {each.what: each for each in findings}
    assert known["cache_dir"].found.startswith(found)
    assert known["cache_dir"].hint == hint
    assert known["data_dir"].good
    assert known["state_dir"].hint == "set state_dir to a folder that you can write to"


def test_a_folder_without_write_permission_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests may run as root, for whom every folder is writable.
    monkeypatch.setattr("testbed.files.os.access", lambda path, mode: False)
    with pytest.raises(SetupError, match=f"cannot write to {tmp_path}: it is not writable"):
        make_folder(tmp_path, "cache_dir")


def test_a_file_that_does_not_fit_leaves_the_old_text_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    write_whole(file, "old")
    with largest_file(100), pytest.raises(InfraError, match="File too large") as caught:
        write_whole(file, 101 * "n")
    assert str(file) in caught.value.message
    assert caught.value.hint == "make room there, or raise the quota"
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_appended_whole_is_not_appended(tmp_path: Path) -> None:
    file = tmp_path / "cases.jsonl"
    append_whole(file, 60 * b"a")
    with largest_file(100), pytest.raises(InfraError, match=r"cannot write .*cases\.jsonl"):
        append_whole(file, 60 * b"b")
    append_whole(file, b"c")
    assert file.read_bytes() == 60 * b"a" + b"c"


def test_a_folder_that_is_gone_is_an_error_without_a_hint_about_room(tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="No such file or directory") as caught:
        write_whole(tmp_path / "gone/file", "x")
    assert caught.value.hint == ""
    with pytest.raises(InfraError, match="No such file or directory"):
        append_whole(tmp_path / "gone/file", b"x")


def test_a_full_disk_that_another_program_met_is_one_line_with_the_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(InfraError) as caught,
        full_disk_blamed(tmp_path),
        largest_file(10),
        (tmp_path / "junit.xml").open("w") as file,
    ):
        file.write(100 * "x")
    assert caught.value.message == f"cannot write {tmp_path}: File too large"
    assert caught.value.hint == "make room there, or raise the quota"


def test_another_error_of_the_host_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), full_disk_blamed(tmp_path):
        (tmp_path / "gone").read_text()
