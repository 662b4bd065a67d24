# SPDX-License-Identifier: GPL-2.0
"""`testbed doctor`."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click

from testbed.cli.invocation import opened
from testbed.cli.options import json_option, kernel_options
from testbed.lab.doctor import Finding, examine
from testbed.results.model import EXIT_EXPECTED, EXIT_SETUP
from testbed.settings import Settings

# A password in a URL of the settings: behind the user's name, or as a parameter.
_PASSWORD = re.compile(r"(?P<before>://[^:@/]*:)[^@]+(?=@)|(?P<parameter>[?&]password=)[^&]+")


@click.command()
@kernel_options
@json_option
def doctor(**options: Any) -> None:
    """Show what the host has and lacks, and the settings.

    It shows which accelerator is used and why, and a hint for each missing part.

    Exit status: 0 nothing is missing, 2 something is missing.

    \b
    Example:
      testbed doctor
    """
    with opened(options) as invocation:
        settings = invocation.ctx.settings
        findings = examine(settings, invocation.ctx.cache)
        content = {
            "findings": [dataclasses.asdict(finding) for finding in findings],
            "settings": dict(_shown(settings)),
        }
        invocation.report((*_finding_lines(findings), *_settings_lines(settings)), content)
    sys.exit(EXIT_EXPECTED if all(finding.good for finding in findings) else EXIT_SETUP)


def _finding_lines(findings: Iterable[Finding]) -> Iterator[str]:
    for finding in findings:
        yield f"{'ok     ' if finding.good else 'MISSING'} {finding.what}: {finding.found}"
        if finding.hint and not finding.good:
            yield f"        hint: {finding.hint}"
        if finding.advice:
            yield f"        better: {finding.advice}"


def _settings_lines(settings: Settings) -> Iterator[str]:
    yield "settings in force:"
    for name, value in _shown(settings):
        yield f"  {name} = {value}"


def _shown(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Yield each setting by its name. People paste them into reports: passwords are left out."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        yield field.name, _PASSWORD.sub(_without, value) if type(value) is str else value


def _without(match: re.Match[str]) -> str:
    return f"{match['before'] or match['parameter']}***"
