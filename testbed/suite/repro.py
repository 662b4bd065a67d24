# SPDX-License-Identifier: GPL-2.0
"""Files to run one failed test again, alone: a folder `repro/TEST/` in the folder of its run.

run.sh           runs the test in a checkout: repro/TEST/run.sh ~/mmap-testbed
series/          the applied patches, with a `series` file
fragments/       the user's configuration fragments, numbered
config           the kernel's .config
scripts/N        the scripts that the probe ran (docs/probe.md)
facts/N          what it printed
about.json       the environment of the test
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.observation import Observation
from testbed.settings import CHECKOUT, Settings

SCRIPTS, FACTS = "scripts", "facts"  # folders

_NAME_LENGTH = 150  # of a folder, in characters; file systems allow 255 bytes

_RUN = """\
#!/bin/sh
# Runs this test again, alone. Usage: run.sh [CHECKOUT]; default: the checkout that ran it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "${{1:-{checkout}}}"
exec {command}
"""


def again(test: str, arch: str, settings: Settings, series: str) -> list[str]:
    """Return the command that runs a test again from a checkout, with the same settings."""
    words = ["scripts/test", test, "--arch", arch, "--kernel", settings.kernel]
    words += ["--series", series] if series else []
    words += ["--flavour", settings.flavour, "--isolation", settings.isolation]
    words += settings.user_words
    return [*words, "--accel", settings.accel, "--toolchain", settings.toolchain]


def write_repro(
    lab: Lab,
    prepared: PreparedKernel,
    test: str,
    seen: Sequence[Observation],
    about: dict[str, Any],
) -> Path:
    """Write the folder of one test, and return it. It replaces files of an earlier phase.

    Args:
        seen: what the probe ran and printed, in order.
        about: the environment of the test, fit for json.dumps().
    """
    folder = repro_folder(lab.run_dir, test)
    for name in ("series", SCRIPTS, FACTS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    patches = lab.series.patches
    for patch in patches:
        (folder / "series" / patch.name).write_bytes(patch.text)
    (folder / "series" / "series").write_text("".join(f"{patch.name}\n" for patch in patches))
    for number, observation in enumerate(seen, 1):
        (folder / SCRIPTS / str(number)).write_text(observation.script)
        (folder / FACTS / str(number)).write_text(observation.output)
    (folder / "config").write_bytes(prepared.kernel.config.read_bytes())
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n")
    fragments = _copy_fragments(folder, lab.ctx.settings.config)
    settings = dataclasses.replace(lab.ctx.settings, config=fragments)
    words = again(test, prepared.arch.name, settings, f"{_HERE}/series" if patches else "")
    _write_run(folder / "run.sh", words)
    return folder


# A placeholder for the folder in a command; run.sh puts the shell's `$here` in its place. It is a
# word that needs no quotes.
_HERE = "@here@"


def _copy_fragments(folder: Path, files: Sequence[Path]) -> tuple[Path, ...]:
    """Copy fragments. Return the copies' names in a command of run.sh."""
    names = [f"fragments/{number}.config" for number, _ in enumerate(files, 1)]
    for name, file in zip(names, files, strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(file.read_bytes())
    return tuple(Path(_HERE) / name for name in names)


def _write_run(path: Path, words: Sequence[str]) -> None:
    command = shlex.join(words).replace(_HERE, '"$here"')
    path.write_text(_RUN.format(command=command, checkout=CHECKOUT))
    path.chmod(0o755)


def repro_folder(run_dir: Path, test: str) -> Path:
    """Return the folder of a test in the folder of its run."""
    return run_dir / "repro" / test_slug(test)


def test_slug(test: str) -> str:
    """Return the name of a file or folder for a node id."""
    return re.sub(r"[^\w.-]+", "-", test.rpartition("/")[2]).strip("-")[:_NAME_LENGTH]
