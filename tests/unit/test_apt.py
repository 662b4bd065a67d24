# SPDX-License-Identifier: GPL-2.0
"""Access to Debian's archive through a private apt root, against a small archive on this host.

The archive is signed with its own key and served over HTTP, so that apt runs the same checks as
with a real one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import io
import lzma
import os
import shutil
import signal
import tarfile
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from notes import Notes

from testbed.context import Context
from testbed.errors import CommandError, InfraError, SetupError
from testbed.kernel import apt, mirror
from testbed.kernel.mirror import choose_mirror, planned_mirror
from testbed.kernel.source import resolve, unpack
from testbed.process import run
from testbed.settings import Settings

MAKEFILE = b"VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\n"


@dataclass
class Archive:
    """A Debian archive below `root/debian`.

    `truncate` maps the name of a file to the number of times that half of it is served.
    """

    root: Path
    home: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)
    truncate: dict[str, int] = field(default_factory=dict)
    interrupt: str = ""  # the name of a file: a request for it interrupts the test with SIGINT

    def publish(
        self, suite: str, stanzas: list[str], *, arch: str = "amd64", valid: int | None = 7
    ) -> None:
        """Write and sign the index of a suite, valid for `valid` days."""
        folder = self.root / f"debian/dists/{suite}"
        packages = folder / f"main/binary-{arch}/Packages"
        packages.parent.mkdir(parents=True, exist_ok=True)
        packages.write_text("\n".join(stanzas))
        content = packages.read_bytes()
        now = datetime.now(UTC)
        lines = [f"Suite: {suite}", f"Codename: {suite}", "Components: main"]
        lines += [f"Architectures: {arch}", f"Date: {stamp(now - timedelta(days=60))}"]
        if valid is not None:
            lines.append(f"Valid-Until: {stamp(now + timedelta(days=valid))}")
        sha256 = hashlib.sha256(content).hexdigest()
        lines += ["SHA256:", f" {sha256} {len(content)} main/binary-{arch}/Packages", ""]
        (folder / "Release").write_text("\n".join(lines))
        self.sign(folder)

    def sign(self, folder: Path) -> None:
        argv = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--clearsign"]
        run([*argv, "--output", str(folder / "InRelease"), str(folder / "Release")])

    def package(self, name: str, version: str, *, arch: str = "all", depends: str = "") -> str:
        """Put a .deb file into the pool, and return its stanza for the index."""
        path = f"pool/{name}_{version}_{arch}.deb"
        file = self.root / "debian" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        content = f"{name} {version} {arch}".encode() * 100
        if name.startswith("linux-source"):
            content = linux_source(self.home / "build")
        file.write_bytes(content)
        lines = [f"Package: {name}", f"Version: {version}", f"Architecture: {arch}"]
        lines += [f"Depends: {depends}"] if depends else []
        lines += ["Maintainer: Nobody <nobody@example.org>", f"Filename: {path}"]
        lines += [f"Size: {len(content)}", f"SHA256: {hashlib.sha256(content).hexdigest()}"]
        return "\n".join([*lines, f"Description: {name}", ""])


def stamp(when: datetime) -> str:
    return format_datetime(when).replace("+0000", "UTC")


def linux_source(build: Path) -> bytes:
    """Return a linux-source package with three files, built once.

    Its name in apt's index differs.
    """
    name = "linux-source-7.3"
    deb = build.with_suffix(".deb")
    if not deb.exists():
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for file in ("Makefile", "Kconfig", "mm/util.c"):
                member = tarfile.TarInfo(f"{name}/{file}")
                member.size = len(MAKEFILE)
                tar.addfile(member, io.BytesIO(MAKEFILE))
        (build / "usr/src").mkdir(parents=True)
        (build / f"usr/src/{name}.tar.xz").write_bytes(lzma.compress(buffer.getvalue()))
        (build / "DEBIAN").mkdir()
        (build / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n"
        )
        run(["dpkg-deb", "--build", "-Znone", build, deb])
    return deb.read_bytes()


@pytest.fixture(scope="module")
def gpg_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A signing key that lives as long as these tests, and its public half in `keyring.gpg`."""
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback"]
    run([*gpg, "--passphrase", "", "--quick-generate-key", "archive", "ed25519", "sign", "1d"])
    run([*gpg, "--output", str(home / "keyring.gpg"), "--export"])
    yield home
    run(["gpgconf", "--homedir", home, "--kill", "all"])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, gpg_home: Path) -> Path:
    """An archive with two versions of one kernel and two older ones, signed once."""
    archive = Archive(tmp_path_factory.mktemp("template"), gpg_home)
    kernels = {
        "linux-source-7.3": ["7.3.4-1~bpo13+1", "7.3.2-1~bpo13+1"],
        "linux-source-7.2": ["7.2.12-1~bpo13+1"],
        "linux-source-6.12": ["6.12.94-1"],
    }
    pairs = [(name, version) for name, versions in kernels.items() for version in versions]
    archive.publish("backports", [archive.package(*pair) for pair in pairs])
    return archive.root


@pytest.fixture
def archive(tmp_path: Path, gpg_home: Path, template: Path) -> Iterator[Archive]:
    """A copy of the template for one test, served."""
    archive = Archive(tmp_path / "archive", gpg_home)
    shutil.copytree(template, archive.root)
    with serving(archive) as archive.url:
        yield archive


@contextlib.contextmanager
def serving(archive: Archive) -> Iterator[str]:
    """Serve the archive over HTTP, and yield its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urllib.parse.unquote(self.path)
            archive.asked.append(path)
            file = archive.root / path.lstrip("/")
            if not file.is_file():
                self.send_error(404)
                return
            if file.name == archive.interrupt:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                self.rfile.read()  # until apt is gone
                return
            content = file.read_bytes()
            if archive.truncate.get(file.name, 0) > 0:
                archive.truncate[file.name] -= 1
                content = content[: len(content) // 2]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/debian"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def settings(tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return Settings(
        cache_dir=tmp_path / "cache",
        mirror=archive.url,
        suites=("backports",),
        guest_suite="stable",
        archive_keyring=archive.home / "keyring.gpg",
    )


def changed(ctx: Context, **values: Any) -> Context:
    return dataclasses.replace(ctx, settings=dataclasses.replace(ctx.settings, **values))


def make_old(ctx: Context) -> None:
    """Set the time of the last fetch of every index to 1970."""
    for file in ctx.cache.root.glob("work/apt-*/state.json"):
        text = file.read_text()
        checked = text.partition('"checked": ')[2].partition(",")[0]
        file.write_text(text.replace(checked, "1.0"))


def test_the_newest_version_that_fits_is_found(ctx: Context) -> None:
    wanted = {
        "debian": "7.3.4-1~bpo13+1",
        "debian:7.2": "7.2.12-1~bpo13+1",
        "debian:7.3.2": "7.3.2-1~bpo13+1",
        "debian:7.3.2-1~bpo13+1": "7.3.2-1~bpo13+1",
    }
    for spec, version in wanted.items():
        source = resolve(spec, ctx)
        name = f"linux-source-{version[:3]}"
        assert source.description == f"{name} {version} from backports"
        assert source.version == version.partition("-")[0]


def test_a_fresh_index_is_not_fetched_again(archive: Archive, ctx: Context) -> None:
    first = resolve("debian", ctx)
    archive.asked.clear()
    assert resolve("debian", ctx) == first
    assert archive.asked == []
    make_old(ctx)
    assert resolve("debian", ctx) == first
    assert archive.asked == ["/debian/dists/backports/InRelease"]


def test_only_the_unpacked_text_of_a_package_is_kept(ctx: Context, notes: Notes) -> None:
    tree = unpack(resolve("debian", ctx), ctx)
    assert not tree.in_place
    assert (tree.path / "Makefile").read_bytes() == MAKEFILE
    assert [path.name for path in tree.path.parent.iterdir()] == ["tree"]
    assert notes.texts == []


def test_a_truncated_download_is_fetched_again(
    archive: Archive, ctx: Context, notes: Notes
) -> None:
    archive.truncate["linux-source-7.3_7.3.4-1~bpo13+1_all.deb"] = 1
    tree = unpack(resolve("debian", ctx), ctx)
    assert (tree.path / "Makefile").read_bytes() == MAKEFILE
    assert [text.partition(":")[0] for text in notes.texts] == ["download failed, trying again"]


def test_a_download_that_stays_damaged_is_an_error_and_leaves_nothing(
    archive: Archive, ctx: Context
) -> None:
    archive.truncate["linux-source-7.3_7.3.4-1~bpo13+1_all.deb"] = 99
    source = resolve("debian", ctx)
    with pytest.raises(CommandError, match="apt-get ended with status 100"):
        unpack(source, ctx)
    assert ctx.cache.find("source", "any") is None
    assert list(ctx.cache.root.glob("source/*")) == []
    assert list(ctx.cache.root.glob("scratch/*")) == []


def test_ctrl_c_during_the_download_leaves_nothing(archive: Archive, ctx: Context) -> None:
    archive.interrupt = "linux-source-7.3_7.3.4-1~bpo13+1_all.deb"
    source = resolve("debian", ctx)
    with pytest.raises(KeyboardInterrupt):
        unpack(source, ctx)
    assert list(ctx.cache.root.glob("source/*")) == []
    assert list(ctx.cache.root.glob("scratch/*")) == []
    archive.interrupt = ""
    assert unpack(source, ctx).path.is_dir()


def test_a_version_that_left_the_archive_is_reported_with_the_available_ones(
    archive: Archive, ctx: Context
) -> None:
    source = resolve("debian:7.3", ctx)
    (archive.root / "debian/pool/linux-source-7.3_7.3.4-1~bpo13+1_all.deb").unlink()
    archive.publish("backports", [archive.package("linux-source-7.3", "7.3.5-1~bpo13+1")])
    with pytest.raises(SetupError) as caught:
        unpack(source, ctx)
    assert "debian:7.3.4-1~bpo13+1 is not in the archive, which keeps" in str(caught.value)
    assert "available:\n7.3.5-1~bpo13+1 (backports)" in str(caught.value)


def test_a_missing_version_is_looked_up_in_a_fresh_index(archive: Archive, ctx: Context) -> None:
    with pytest.raises(SetupError, match=r"debian:7\.4 is not in the archive"):
        resolve("debian:7.4", ctx)
    archive.publish("backports", [archive.package("linux-source-7.4", "7.4.1-1")])
    assert resolve("debian:7.4", ctx).version == "7.4.1"


def test_an_expired_suite_is_skipped_with_a_note(
    archive: Archive, ctx: Context, notes: Notes
) -> None:
    archive.publish("sid", [archive.package("linux-source-7.3", "7.3.4-1")], valid=-21)
    both = changed(ctx, suites=("sid", "backports"))
    assert resolve("debian", both).description.endswith("from backports")
    day = datetime.now(UTC) - timedelta(days=21)
    message = f"skipped: suite sid: the mirror's Release file expired on {day:%F}"
    assert notes.texts == [message]
    archive.asked.clear()
    resolve("debian", both)  # for the next architecture
    assert archive.asked == []
    assert notes.texts == [message]


def test_an_accepted_expired_suite_is_used_and_described_as_such(
    archive: Archive, ctx: Context
) -> None:
    archive.publish("sid", [archive.package("linux-source-7.3", "7.3.4-1")], valid=-21)
    both = changed(ctx, suites=("sid", "backports"), accept_expired=True)
    day = datetime.now(UTC) - timedelta(days=21)
    assert resolve("debian", both).description == (
        f"linux-source-7.3 7.3.4-1 from sid (Release file expired on {day:%F}, accepted)"
    )


def test_an_index_that_expires_in_the_cache_is_not_used_any_more(
    archive: Archive, ctx: Context
) -> None:
    resolve("debian", ctx)
    (state,) = ctx.cache.root.glob("work/apt-*/state.json")
    until = state.read_text().partition('"valid_until": ')[2].rstrip("}")
    state.write_text(state.read_text().replace(until, "1.0"))
    with pytest.raises(apt.SuiteExpired, match="expired on 1970-01-01"):
        resolve("debian", ctx)


def test_an_old_index_is_used_when_the_mirror_does_not_answer(
    archive: Archive, ctx: Context, notes: Notes
) -> None:
    first = resolve("debian", ctx)
    make_old(ctx)
    (archive.root / "debian").rename(archive.root / "gone")
    assert resolve("debian", ctx) == first
    assert "cannot refresh suite backports, using its index of 1970-01-01" in notes.texts[0]


def test_without_an_index_a_mirror_that_does_not_answer_is_an_error(
    archive: Archive, ctx: Context
) -> None:
    (archive.root / "debian").rename(archive.root / "gone")
    with pytest.raises(InfraError, match="cannot fetch the index of suite backports"):
        resolve("debian", ctx)


def test_an_invalid_signature_is_refused(archive: Archive, ctx: Context, tmp_path: Path) -> None:
    release = archive.root / "debian/dists/backports/InRelease"
    other = tmp_path / "other.gpg"
    other.touch()
    with pytest.raises(InfraError, match=r"NO_PUBKEY|not signed"):
        resolve("debian", changed(ctx, archive_keyring=other))
    release.write_text(release.read_text().replace("Components: main", "Components: main x"))
    with pytest.raises(InfraError, match=r"BADSIG|not signed"):
        resolve("debian", ctx)
    release.unlink()
    with pytest.raises(InfraError, match="not signed"):
        resolve("debian", ctx)


def test_a_missing_keyring_names_its_package(ctx: Context, tmp_path: Path) -> None:
    without = changed(ctx, archive_keyring=tmp_path / "none.gpg")
    with pytest.raises(SetupError, match="apt install debian-archive-keyring"):
        resolve("debian", without)


def test_a_full_disk_is_reported_before_the_download(archive: Archive, ctx: Context) -> None:
    stanza = archive.package("linux-source-7.3", "7.3.9-1")
    size = next(line for line in stanza.splitlines() if line.startswith("Size: "))
    archive.publish("backports", [stanza.replace(size, f"Size: {10**17}")])
    source = resolve("debian", ctx)
    archive.asked.clear()
    with pytest.raises(InfraError, match=r"unpacking linux-source-7\.3 needs 1300000000\.0 GB"):
        unpack(source, ctx)
    assert archive.asked == []


def test_packages_of_another_architecture_come_with_their_dependencies(
    archive: Archive, ctx: Context
) -> None:
    stanzas = [
        archive.package("dropbear-bin", "2025.89-1", arch="arm64", depends="libc6 (>= 2.38)"),
        archive.package("libc6", "1:2.41-12", arch="arm64"),
        archive.package("unrelated", "1", arch="arm64"),
    ]
    archive.publish("stable", stanzas, arch="arm64", valid=None)
    debs = apt.download_packages(["dropbear-bin"], "arm64", ctx)
    versions = {package.name: package.version for package in debs}
    assert versions == {"dropbear-bin": "2025.89-1", "libc6": "1:2.41-12"}
    texts = {package.name: file.read_text()[:20].strip() for package, file in debs.items()}
    assert texts["libc6"].startswith("libc6 1:2.41-12")
    archive.asked.clear()
    assert apt.download_packages(["dropbear-bin"], "arm64", ctx) == debs
    assert archive.asked == []


def test_a_missing_package_is_named(archive: Archive, ctx: Context) -> None:
    archive.publish("stable", [archive.package("libc6", "2", arch="arm64")], arch="arm64")
    with pytest.raises(SetupError, match="stable lacks one of: dropbear-bin"):
        apt.find_packages(["dropbear-bin"], "arm64", ctx)


def test_the_configuration_does_not_name_the_hosts_apt_directories(ctx: Context) -> None:
    resolve("debian", ctx)
    (configuration,) = ctx.cache.root.glob("work/apt-*/apt.conf")
    dump = run(["apt-config", "-c", configuration, "dump"]).stdout
    for name in ("Dir::State::lists", "Dir::State::status", "Dir::Etc::sourcelist", "Dir::Cache"):
        (line,) = (line for line in dump.splitlines() if line.startswith(f"{name} "))
        assert os.fspath(ctx.cache.root) in line
    assert 'Acquire::Check-Valid-Until "true"' in dump
    assert "APT::Update::Post-Invoke::" not in dump


def test_the_mirror_of_the_main_archive_is_chosen() -> None:
    lines = [
        "http://mirror.example/debian-security/\tDebian\tDebian-Security",
        "http://mirror.example/other/\tOther\tOther",
        "http://mirror.example/debian/\tDebian\tDebian",
    ]
    assert choose_mirror("\n".join(lines)) == "http://mirror.example/debian/"


def test_before_the_hosts_first_update_the_mirror_is_found_by_its_url() -> None:
    lines = ["http://mirror.example/debian-security/\t\t", "http://mirror.example/debian/\t\t"]
    assert choose_mirror("\n".join(lines)) == "http://mirror.example/debian/"


@pytest.mark.parametrize(
    "line",
    ["http://archive.example/ubuntu/\tUbuntu\tUbuntu", "cdrom:[Debian]/\tDebian\tDebian", ""],
    ids=["ubuntu", "cdrom", "nothing"],
)
def test_a_host_without_a_debian_mirror_has_none(line: str) -> None:
    assert choose_mirror(line) is None


def test_a_mirror_is_known_before_the_first_update() -> None:
    lines = [
        "'http://security.debian.org/debian-security/dists/trixie-security/InRelease' x 0 ",
        "'http://mirror.example/debian/dists/trixie/InRelease' y 0 ",
        "'http://mirror.example/debian/dists/trixie/main/binary-amd64/Packages.xz' z 0 ",
    ]
    assert planned_mirror("\n".join(lines)) == "http://mirror.example/debian"
    assert planned_mirror("'http://archive.ubuntu.com/ubuntu/dists/noble/InRelease' x 0") is None
    assert planned_mirror("'cdrom:[Debian]/debian/dists/trixie/InRelease' x 0") is None


def test_a_host_that_never_fetched_an_index_is_asked_what_it_would_fetch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = {"indextargets": "", "--print-uris": "'http://m/debian/dists/trixie/InRelease' x 0"}
    monkeypatch.setattr(mirror, "check_output", lambda argv: answers[argv[1]])
    assert mirror.find_mirror() == "http://m/debian"
