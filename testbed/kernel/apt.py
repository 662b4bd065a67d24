# SPDX-License-Identifier: GPL-2.0
"""Access to Debian's archive through apt, with private state directories.

Every suite and architecture has a private apt root in the cache: apt's lists,
its configuration and an empty dpkg status. Only the mirror's URL is read from
the host's apt, whose state is never changed. Root is not required. apt checks
signatures, hashes and the validity of the Release file, even where the host's
own configuration turns these checks off.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from testbed.cache import digest
from testbed.context import Context
from testbed.errors import CommandError, InfraError, SetupError
from testbed.files import write_whole
from testbed.kernel.mirror import find_mirror
from testbed.kernel.package import Package, parse_uris
from testbed.process import check_output, run

# Override settings of the host's configuration. Its hooks would run commands on the host's own
# files; other settings could weaken apt's checks.
_CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Default-Release "";
APT::Get::AllowUnauthenticated "false";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::Check-Date "true";
Acquire::Check-Valid-Until "{check_valid_until}";
Acquire::ForceHash "sha256";
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Dir::Cache "{root}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "{root}";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/status";
"""

_EXPIRED = re.compile(r"is expired \(invalid since ([^)]*)\)")
_STATUS = re.compile(r"^dlstatus:[^:]*:(?P<percent>[\d.]+):")


class SuiteExpired(InfraError):
    """The mirror serves a Release file of this suite that is past its Valid-Until."""


@dataclass(frozen=True)
class _State:
    """The state of the index on disk, and the settings that it was fetched with."""

    request: list[Any] = field(default_factory=list)
    mirror: str = ""
    checked: float = 0.0  # seconds since the epoch
    valid_until: float | None = None  # None: the Release file has no Valid-Until


@dataclass(frozen=True, kw_only=True)
class Index:
    """The package list of one suite for one architecture.

    It is locked for the block that opened it.
    """

    suite: str
    arch: str  # dpkg's name
    root: Path
    ctx: Context

    @property
    def expired(self) -> str:
        """The day on which the suite's Release file expired; empty while the file is valid."""
        until = self._state().valid_until
        if until is None or until >= time.time():
            return ""
        return f"{datetime.fromtimestamp(until, UTC):%Y-%m-%d}"

    @property
    def mirror(self) -> str:
        return self._state().mirror

    def ask(self, tool: str, *words: str) -> str:
        """Return the output of an apt tool that sees this index alone."""
        return check_output([tool, "-c", str(self._configuration), *words])

    def answer(self, name: str, *parts: str) -> Path:
        """Return the path of a stored answer. The next refresh deletes all answers."""
        return self.root / "answers" / f"{name}-{digest(*parts)}.json"

    def find(self, names: Sequence[str]) -> tuple[Package, ...]:
        """Resolve the packages and their dependencies, without Recommends, as apt does.

        Raises:
            SetupError: one of the names is not in the suite.
        """
        kept = self.answer("closure", *names)
        if kept.exists():
            return tuple(Package(**value) for value in json.loads(kept.read_text()))
        words = ["-qq", "--yes", "--no-install-recommends", "--print-uris", "install", *names]
        try:
            found = parse_uris(self.ask("apt-get", *words))
        except CommandError as exc:
            message = f"suite {self.suite} lacks one of: {', '.join(names)} ({self.arch})"
            raise SetupError(message, evidence=exc.evidence) from exc
        self.keep(kept, [dataclasses.asdict(package) for package in found])
        return found

    def keep(self, path: Path, value: object) -> None:
        """Store an answer."""
        path.parent.mkdir(exist_ok=True)
        write_whole(path, json.dumps(value))

    def download(self, packages: Sequence[Package], folder: Path) -> None:
        """Download the .deb files of exactly these packages. apt checks their hashes.

        Raises:
            CommandError: apt could not fetch a file, or its hash differs from the index.
        """
        total = sum(package.size for package in packages)
        title = f"download {packages[0].name}" + (" and others" if len(packages) > 1 else "")
        log = self.root / "download.log"
        log.write_text("")
        with self.ctx.progress.step(title, total) as step:

            def show(line: str) -> None:
                if match := _STATUS.match(line):
                    step.update(float(match["percent"]) / 100 * total)

            argv = [
                "apt-get",
                "-c",
                str(self._configuration),
                "-q",
                "-o",
                "APT::Status-Fd=1",
                "download",
            ]
            argv += [package.pinned for package in packages]
            run(argv, cwd=folder, log=log, on_line=show)

    def refresh(self, *, force: bool = False) -> None:
        """Fetch the index from the mirror unless the last fetch is recent.

        If the fetch fails, keep the old index.

        Raises:
            SetupError: no mirror is known, or Debian's keyring is missing.
            SuiteExpired: the Release file has expired, and the settings do not accept that.
            InfraError: there is no old index, and the mirror does not answer or its signature is
                bad.
        """
        settings, state = self.ctx.settings, self._state()
        age = time.time() - state.checked
        if force or state.request != self._request or age > settings.archive_max_age * 3600:
            self._fetch()
        if self.expired and not settings.accept_expired:
            raise SuiteExpired(
                f"suite {self.suite}: the mirror's Release file expired on {self.expired}",
                hint="set `mirror` to an up-to-date mirror, or set `accept_expired`",
            )

    @property
    def _configuration(self) -> Path:
        return self.root / "apt.conf"

    @property
    def _request(self) -> list[Any]:
        settings = self.ctx.settings
        return [settings.mirror, settings.accept_expired, str(settings.archive_keyring)]

    def _state(self) -> _State:
        try:
            return _State(**json.loads((self.root / "state.json").read_text()))
        except (OSError, ValueError, TypeError):
            return _State()

    def _fetch(self) -> None:
        mirror = self.ctx.settings.mirror or find_mirror()
        self._lay_out(mirror)
        try:
            run(["apt-get", "-c", self._configuration, "-q", "update"])
        except CommandError as exc:
            if match := _EXPIRED.search(exc.evidence):
                self._record(mirror, time.time() - _seconds(match[1]))
                return
            self._go_on_without(exc)
            return
        self._record(mirror, self._valid_until())

    def _lay_out(self, mirror: str) -> None:
        keyring = self.ctx.settings.archive_keyring
        if not keyring.exists():
            raise SetupError(
                f"no keyring of the Debian archive at {keyring}",
                hint="apt install debian-archive-keyring",
            )
        for folder in ("lists/partial", "cache/archives/partial"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "status").write_text("")
        (self.root / "sources.list").write_text(
            f"deb [arch={self.arch} signed-by={keyring}] {mirror} {self.suite} main\n"
        )
        check = "false" if self.ctx.settings.accept_expired else "true"
        self._configuration.write_text(
            _CONFIGURATION.format(root=self.root, arch=self.arch, check_valid_until=check)
        )

    def _go_on_without(self, error: CommandError) -> None:
        if not any((self.root / "lists").glob("*_Packages*")):
            raise InfraError(
                f"cannot fetch the index of suite {self.suite}",
                hint="check the network, or set `mirror` to a Debian mirror that answers",
                evidence=error.evidence,
            ) from error
        since = datetime.fromtimestamp(self._state().checked, UTC)
        self.ctx.progress.note(
            f"cannot refresh suite {self.suite}, using its index of {since:%F %H:%M} UTC: "
            + last_line(error)
        )

    def _record(self, mirror: str, valid_until: float | None) -> None:
        for path in (self.root / "answers").glob("*"):
            path.unlink()
        state = _State(self._request, mirror, time.time(), valid_until)
        (self.root / "state.json").write_text(json.dumps(dataclasses.asdict(state)))

    def _valid_until(self) -> float | None:
        for path in (self.root / "lists").glob("*Release"):
            for line in path.read_text(errors="replace").splitlines():
                if line.startswith("Valid-Until:"):
                    return parsedate_to_datetime(line.partition(":")[2].strip()).timestamp()
        return None


@contextmanager
def open_index(
    suite: str, debian_arch: str, ctx: Context, *, refresh: bool = False
) -> Iterator[Index]:
    """Open an up-to-date index of one suite. Another run waits for it until the block ends.

    Args:
        refresh: fetch the index even if the last fetch is recent.

    Raises:
        The errors of Index.refresh().
    """
    with ctx.cache.work(f"apt-{suite.replace('/', '-')}-{debian_arch}") as root:
        index = Index(suite=suite, arch=debian_arch, root=root, ctx=ctx)
        index.refresh(force=refresh)
        yield index


def find_packages(
    names: Sequence[str], debian_arch: str, ctx: Context, *, refresh: bool = False
) -> tuple[Package, ...]:
    """Find the guest suite's packages of these names and their dependencies, in exact versions.

    This downloads only the index, and only when it is out of date. It is cheap enough for
    computing a cache key.
    """
    with open_index(ctx.settings.guest_suite, debian_arch, ctx, refresh=refresh) as index:
        return index.find(names)


def download_packages(names: Sequence[str], debian_arch: str, ctx: Context) -> dict[Package, Path]:
    """Return the .deb files of these packages and their dependencies, for any architecture.

    The files stay in the cache as long as it is open. If a download fails or its hash differs
    from the index, it is repeated once with a fresh index, because the archive may have changed.
    """
    packages = find_packages(names, debian_arch, ctx)
    try:
        return _fetch_packages(packages, debian_arch, ctx)
    except CommandError as exc:
        ctx.progress.note(f"download failed, trying again: {last_line(exc)}")
    packages = find_packages(names, debian_arch, ctx, refresh=True)
    return _fetch_packages(packages, debian_arch, ctx)


def _fetch_packages(
    packages: tuple[Package, ...], debian_arch: str, ctx: Context
) -> dict[Package, Path]:
    def make(scratch: Path) -> None:
        ctx.cache.require_space(sum(package.size for package in packages), "downloading packages")
        with open_index(ctx.settings.guest_suite, debian_arch, ctx) as index:
            index.download(packages, scratch)

    key = digest(*(f"{package.file} {package.hash}" for package in packages))
    folder = ctx.cache.get("packages", key, make)
    return {package: folder / package.file for package in packages}


def last_line(error: CommandError) -> str:
    """Return the last line of a command's output, where apt gives the reason."""
    return (error.evidence.strip().splitlines() or [error.message])[-1]


def _seconds(text: str) -> float:
    """Convert a duration as apt writes it, such as `14d 18h 25min 40s`, to seconds."""
    units = {"d": "days", "h": "hours", "min": "minutes", "s": "seconds"}
    parts = {units[unit]: int(n) for n, unit in re.findall(r"(\d+)(d|h|min|s)\b", text)}
    return timedelta(**parts).total_seconds()
