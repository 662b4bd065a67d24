# SPDX-License-Identifier: GPL-2.0
"""The artifact store, in a folder and behind S3 (moto, in this process)."""

from __future__ import annotations

import logging
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from moto.server import ThreadedMotoServer

from testbed.artifacts.archive import pack, unpack
from testbed.artifacts.depot import Depot, open_depot
from testbed.errors import InfraError, SetupError
from testbed.settings import Settings


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of an S3 server."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs each request
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def depot(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Depot]:
    if request.param == "folder":
        yield open_depot(Settings(data_dir=tmp_path / "data"))
        return
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    depot = open_depot(Settings(artifacts="s3://nights/artifacts"))
    depot.files.mkdir("nights")
    yield depot
    depot.files.rm("nights", recursive=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder such as a cell leaves."""
    folder = tmp_path / "cell"
    (folder / "run/vm-x86_64-1").mkdir(parents=True)
    (folder / "cell.json").write_text("{}")
    (folder / "run/vm-x86_64-1/console.log").write_bytes(b"\0boot\n" * 1000)
    (folder / "run/repro").symlink_to("vm-x86_64-1")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_folder_comes_back_as_it_was(depot: Depot, folder: Path, tmp_path: Path) -> None:
    name = depot.put(folder)
    depot.fetch(name, tmp_path / "back/deep")
    assert files(tmp_path / "back/deep") == files(folder)
    assert (tmp_path / "back/deep/run/repro").readlink() == Path("vm-x86_64-1")
    assert list(depot.sizes()) == [name]
    assert 0 < depot.sizes()[name] < 6000


def test_equal_folders_are_stored_once(depot: Depot, folder: Path) -> None:
    name = depot.put(folder)
    os.utime(folder / "cell.json", (1, 1))
    assert depot.put(folder) == name
    (folder / "cell.json").write_text("[]")
    other = depot.put(folder)
    assert set(depot.sizes()) == {name, other}


def test_a_removed_folder_is_gone(depot: Depot, folder: Path, tmp_path: Path) -> None:
    name = depot.put(folder)
    depot.remove(name)
    depot.remove(name)
    assert depot.sizes() == {}
    with pytest.raises(InfraError, match=f"{name[:12]} is not in the artifact store"):
        depot.fetch(name, tmp_path / "back")
    assert depot.put(folder) == name


def test_damage_is_found(depot: Depot, folder: Path, tmp_path: Path) -> None:
    name = depot.put(folder)
    (path,) = depot.files.find(depot.root)
    depot.files.pipe_file(path, depot.files.cat_file(path)[:-1])
    with pytest.raises(InfraError, match="is damaged"):
        depot.fetch(name, tmp_path / "back")


def test_an_empty_store_has_nothing(depot: Depot) -> None:
    assert depot.sizes() == {}
    depot.tidy()


def test_a_store_that_refuses_says_what_to_check(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    depot = open_depot(Settings(data_dir=tmp_path / "data"))
    with pytest.raises(InfraError, match="cannot write the artifact store") as caught:
        depot.put(folder)
    assert "the setting artifacts" in caught.value.hint


def test_s3_without_a_bucket_is_refused(
    s3: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with pytest.raises(InfraError, match="cannot write the artifact store absent/x"):
        open_depot(Settings(artifacts="s3://absent/x")).put(folder)


def test_a_failed_copy_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    depot = open_depot(Settings(data_dir=tmp_path / "data"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.rename", full)
    with pytest.raises(InfraError, match="No space left"):
        depot.put(folder)
    assert files(tmp_path / "data") == {}


def test_leftovers_of_killed_processes_go_after_a_day(folder: Path, tmp_path: Path) -> None:
    depot = open_depot(Settings(data_dir=tmp_path / "data"))
    name = depot.put(folder)
    stored = next((tmp_path / "data").rglob("*.zst"))
    old, young = (stored.with_name(f"{stored.name}.{pid}.new") for pid in (1, 2))
    for path in (old, young):
        path.write_text("half")
    day = time.time() - 25 * 3600
    for path in (old, stored):
        os.utime(path, (day, day))
    assert list(depot.sizes()) == [name]
    depot.tidy()
    assert sorted(stored.parent.iterdir()) == [stored, young]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("bogus://x", "is of an unknown kind"),
        ("gs://bucket/x", "needs a package"),
    ],
)
def test_a_url_that_nothing_reads_is_refused(url: str, message: str) -> None:
    with pytest.raises(SetupError, match=message):
        open_depot(Settings(artifacts=url))


def test_a_member_that_leads_out_is_refused(tmp_path: Path) -> None:
    plain, archive = tmp_path / "x.tar", tmp_path / "x.tar.zst"
    with tarfile.open(plain, "w") as tar:
        tar.addfile(tarfile.TarInfo("../outside"))
    archive.write_bytes(zstandard.compress(plain.read_bytes()))
    with pytest.raises(InfraError, match="cannot unpack"):
        unpack(archive, tmp_path / "inside")
    assert not (tmp_path / "outside").exists()


def test_what_is_no_file_is_left_out(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "fifo")
    pack(folder, tmp_path / "x.tar.zst")
    unpack(tmp_path / "x.tar.zst", tmp_path / "back")
    assert not (tmp_path / "back/fifo").exists()
    assert (tmp_path / "back/cell.json").exists()
