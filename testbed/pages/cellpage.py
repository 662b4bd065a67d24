# SPDX-License-Identifier: GPL-2.0
"""The page of a cell: one architecture's environment, its VMs, and its slowest tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.pages.runsite import RunSite
from testbed.pages.site import FOLDER, Page
from testbed.results.model import Case, Environment, Status

_SLOWEST = 12


@dataclass(frozen=True)
class Vm:
    """The folder of one VM: its command line, and its files."""

    name: str
    command: str
    files: tuple[str, ...]


def cell_path(arch: str) -> str:
    """Return the path of the page of an architecture."""
    return f"{FOLDER}/cell-{arch}.html"


def pages(site: RunSite) -> Iterator[Page]:
    for env in site.run.environments:
        cases = [case for case in site.run.cases if case.arch == env.arch]
        counts = Counter(case.status for case in cases)
        values = {
            "env": env,
            "facts": list(facts_of(env)),
            "counts": [(status, counts[status]) for status in Status if counts[status]],
            "vms": list(_vms(site.folder, env.arch)),
            "slowest": _slowest(cases),
            "paths": site.failures.paths,
        }
        yield Page(cell_path(env.arch), "cell.html", f"{env.arch}: {env.kernel}", values)


def facts_of(env: Environment) -> Iterator[tuple[str, str]]:
    """Yield the names and values of an environment, without those that are empty."""
    facts = {
        "kernel": env.kernel,
        "source": env.source,
        "commit": env.commit,
        "series": ", ".join(env.series),
        "flavour": env.flavour,
        "isolation": env.isolation,
        "accelerator": f"{env.accel} ({env.accel_reason})",
        "QEMU": env.qemu,
        "compiler": env.compiler,
        "kernel's key": env.kernel_key,
        "SHA-256 of .config": env.config_digest,
        "build": f"{env.build_seconds:.0f} s" if env.build_seconds else "",
        "own options": env.options,
    }
    return ((name, value) for name, value in facts.items() if value)


def _slowest(cases: list[Case]) -> list[Case]:
    return sorted(cases, key=lambda case: case.seconds, reverse=True)[:_SLOWEST]


def _vms(folder: Path, arch: str) -> Iterator[Vm]:
    for path in sorted(folder.glob(f"vm-{arch}*")):
        if path.is_dir():
            script = path / "qemu.sh"
            command = script.read_text(errors="replace") if script.exists() else ""
            files = tuple(sorted(each.name for each in path.iterdir() if each.is_file()))
            yield Vm(path.name, command.partition("\n")[2].strip(), files)
