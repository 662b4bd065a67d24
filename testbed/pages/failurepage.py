# SPDX-License-Identifier: GPL-2.0
"""The page of one unexpected result, and of the console of its VM."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import ProbeKilled, ProbeProtocolError
from testbed.mmap.guarantees import GUARANTEES, Guarantee
from testbed.mmap.observation import Observation, parse_observation
from testbed.mmap.script import Script
from testbed.pages.consolelog import ConsoleLog, read_console
from testbed.pages.runsite import RunSite
from testbed.pages.sidebyside import label, side_by_side
from testbed.pages.site import FOLDER, Page
from testbed.pages.vmalayout import layout_of
from testbed.results.model import Case
from testbed.suite.repro import FACTS, SCRIPTS, repro_folder

# What pages show elsewhere: the console of a test's VM or of one that did not boot, and the command
# (testbed/suite/recorder.py).
_CONSOLE = re.compile(r"(vm-[^/\s]+/console\.log)")
_RERUN = "rerun: "
_HOOK_LOG = re.compile(r"hook log on (\S+):")

# Observations that stand beside each other: of more, the last ones.
_COLUMNS = 2


@dataclass(frozen=True)
class HookLog:
    """The calls of hooks on one path, as the evidence shows them."""

    path: str
    lines: tuple[str, ...]


def pages(site: RunSite) -> Iterator[Page]:
    consoles: dict[Path, ConsoleLog | None] = {}
    for case in site.failures.shown:
        path = _console_path(site, case)
        if path is not None and path not in consoles:
            consoles[path] = read_console(path)
        console = consoles.get(path) if path is not None else None
        yield _page(site, case, console)
    for console in filter(None, consoles.values()):
        name = console.path.parent.name
        values = {"console": console, "log": _href(site, console.path)}
        yield Page(_console_page(console), "console.html", f"console of {name}", values)


def _page(site: RunSite, case: Case, console: ConsoleLog | None) -> Page:
    seen = observations(site.folder, case)[-_COLUMNS:]
    named = [(label(each, number), each) for number, each in enumerate(seen, 1)]
    environment = next((env for env in site.run.environments if env.arch == case.arch), None)
    folder = repro_folder(site.folder, case.test)
    values = {
        "case": case,
        "run": site.run,
        "reason": site.failures.reason_of(case),
        "environment": environment,
        "guarantees": _guarantees(case),
        "complaint": complaint(case),
        "columns": [name for name, _ in named],
        "steps": side_by_side(seen),
        "layout": layout_of(named),
        "hook_logs": list(hook_logs(case)),
        "rerun": _line(case, _RERUN),
        "repro": _href(site, folder) if folder.is_dir() else "",
        "bisect": bisect_command(case),
        "console": console,
        "console_page": _console_page(console) if console else "",
        "paths": site.failures.paths,
    }
    path = site.failures.paths[case.test]
    return Page(path, "failure.html", f"{case.status} {case.test.rpartition('::')[2]}", values)


def observations(folder: Path, case: Case) -> list[Observation]:
    """Return what the probe printed for a test, in order, as far as it can be read."""
    repro, found = repro_folder(folder, case.test), []
    files = sorted((repro / FACTS).glob("*"), key=lambda path: int(path.name))
    for file in files:
        script = Script((repro / SCRIPTS / file.name).read_text().splitlines())
        try:
            found.append(parse_observation(script, file.read_text(), "ended"))
        except (ProbeProtocolError, ProbeKilled):
            continue
    return found


def complaint(case: Case) -> str:
    """Return what failed, without the code of the test: the lines that pytest marks with `E`."""
    marked = [line[1:] for line in case.evidence.splitlines() if re.match(r"E( |$)", line)]
    text = textwrap.dedent("\n".join(marked)).removeprefix("AssertionError: ")
    return _HOOK_LOG.split(text)[0].strip("\n")


def hook_logs(case: Case) -> Iterator[HookLog]:
    """Yield the hook log of each path that the evidence shows."""
    path, lines = "", list[str]()
    for raw in case.evidence.splitlines():
        line = re.sub(r"^E\s+", "", raw)
        if match := _HOOK_LOG.fullmatch(line.strip()):
            if lines:
                yield HookLog(path, tuple(lines))
            path, lines = match[1], []
        elif path and re.match(r"\d+ \w+ ", line.strip()):
            lines.append(line.strip())
        elif path and lines:
            yield HookLog(path, tuple(lines))
            path, lines = "", []
    if lines:
        yield HookLog(path, tuple(lines))


def bisect_command(case: Case) -> str:
    """Return the command that searches for the change that broke a test.

    A kernel from an archive has no commits: the user names the tree, and both ends.
    """
    words = shlex.split(_line(case, _RERUN))
    options = {
        name: _value(words, name) for name in ("--arch", "--kernel", "--series", "--flavour")
    }
    tree, _, commit = options["--kernel"].removeprefix("tree:").partition("@")
    found = ["testbed", "bisect"]
    if options["--series"]:
        found += [word for name, value in options.items() if value for word in (name, value)]
        return shlex.join([*found, case.test])
    if not options["--kernel"].startswith("tree:"):
        tree = "TREE"
    for name in ("--arch", "--flavour"):
        found += [name, options[name]] if options[name] else []
    found += ["--tree", tree, "--good", "GOOD", "--bad", commit or "BAD"]
    return shlex.join([*found, case.test])


def _value(words: list[str], option: str) -> str:
    """Return the value of an option in a command; empty without one."""
    pairs = itertools.pairwise(words)
    return next((value for name, value in pairs if name == option), "")


def _guarantees(case: Case) -> list[Guarantee]:
    return [each for each in GUARANTEES if each.number in case.guarantees]


def _line(case: Case, prefix: str) -> str:
    lines = (line for line in case.evidence.splitlines() if line.startswith(prefix))
    return next(lines, "").removeprefix(prefix)


def _console_path(site: RunSite, case: Case) -> Path | None:
    """Return the console's file, in the folder of the run even if that was moved."""
    named = _CONSOLE.search(case.evidence)
    return site.folder / named[1] if named is not None else None


def _console_page(console: ConsoleLog) -> str:
    return f"{FOLDER}/console-{console.path.parent.name}.html"


def _href(site: RunSite, path: Path) -> str:
    """Return the place of a file of the run, below its folder."""
    return os.path.relpath(path, site.folder)
