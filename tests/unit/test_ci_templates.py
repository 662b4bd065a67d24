# SPDX-License-Identifier: GPL-2.0
"""The templates for hosts of CI, as far as they can be checked without these hosts."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from groovy_parser.parser import parse_groovy_content

from testbed.arch import ARCHES
from testbed.cli import COMMANDS, cli
from testbed.process import run
from testbed.settings import CHECKOUT

TEMPLATES = CHECKOUT / "docs" / "ci"
PACKAGES = CHECKOUT / "scripts" / "packages"
CONTAINERFILE = CHECKOUT / "Containerfile"

# `testbed run --arch x`, up to the end of the command.
_CALL = re.compile(
    r"(?:scripts/run|testbed (?P<command>[a-z][a-z-]+))(?P<rest>(?:\\\n|[^\n'|&;])*)"
)


@pytest.mark.parametrize(
    ("name", "schema"), [("github.yml", "github-workflows"), ("gitlab.yml", "gitlab-ci")]
)
def test_a_template_fits_the_schema_of_its_host(name: str, schema: str) -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = run([*check, TEMPLATES / name], ok=range(256))
    assert done.status == 0, done.stdout + done.stderr


def test_the_pipeline_of_jenkins_is_groovy() -> None:
    parse_groovy_content((TEMPLATES / "Jenkinsfile").read_text())


def _scripts(value: object) -> Iterator[str]:
    """The shell scripts of a workflow or of a job."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("run", "script", "after_script"):
                yield "\n".join(inner) if isinstance(inner, list) else inner
            else:
                yield from _scripts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _scripts(inner)


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_the_scripts_of_a_template_are_valid_shell(name: str) -> None:
    scripts = list(_scripts(yaml.safe_load((TEMPLATES / name).read_text())))
    assert len(scripts) >= 2
    for script in scripts:
        plain = re.sub(r"\$\{\{[^}]*\}\}", "x", script)
        done = run(["bash", "-n", "-c", plain], ok=range(256))
        assert done.status == 0, done.stderr


def _calls(text: str) -> Iterator[tuple[str, set[str]]]:
    """Each call of a command in a template or in the Containerfile, with its options."""
    for match in _CALL.finditer(text):
        options = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", match["rest"]))
        if match["command"] is None or match["command"] in COMMANDS:
            yield match["command"] or "run", options


@pytest.mark.parametrize(
    "file", [*sorted(TEMPLATES.iterdir()), CONTAINERFILE], ids=lambda path: path.name
)
def test_a_template_calls_the_testbed_as_it_is(file: Path) -> None:
    for name, options in _calls(file.read_text()):
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        known = {
            option
            for parameter in command.params
            if isinstance(parameter, click.Option)
            for option in parameter.opts
        }
        assert options <= known, f"{name}: {options - known}"


def test_each_template_runs_the_tests() -> None:
    for name in ("github.yml", "gitlab.yml", "Jenkinsfile"):
        called = [command for command, _ in _calls((TEMPLATES / name).read_text())]
        assert called[:2] == ["run", "report"], name


def test_the_containerfile_is_clean() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = run([hadolint, CONTAINERFILE], ok=range(256))
    assert done.status == 0, done.stdout + done.stderr


def test_the_container_and_setup_have_one_list_of_packages() -> None:
    text = CONTAINERFILE.read_text()
    assert "COPY scripts/packages scripts/packages\nRUN scripts/setup --packages" in text
    assert "apt-get" not in text
    assert "scripts/packages/common" in (CHECKOUT / "scripts" / "setup").read_text()


def test_each_host_has_a_list_of_packages_in_order() -> None:
    machines = {"x86_64": "x86_64", "arm64": "aarch64"}
    assert set(machines) == set(ARCHES)
    names = {path.name for path in PACKAGES.iterdir()}
    assert names == {"common", "ci", "drivers", *machines.values()}
    for file in PACKAGES.iterdir():
        first, *packages = file.read_text().splitlines()
        assert first.startswith("# ")
        assert packages == sorted(set(packages))


def test_setup_refuses_a_machine_without_a_list(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(CHECKOUT / "scripts" / "setup", tmp_path / "scripts")
    done = run([tmp_path / "scripts" / "setup"], ok=range(256))
    assert done.status == 2
    assert "is not supported: the host must be x86_64 or aarch64" in done.stderr
