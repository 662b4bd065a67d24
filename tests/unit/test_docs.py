# SPDX-License-Identifier: GPL-2.0
"""The documentation builds, and names only files, headings and commands that exist."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from testbed.cli import COMMANDS, cli
from testbed.process import run
from testbed.settings import CHECKOUT

DOCS = CHECKOUT / "docs"
README = CHECKOUT / "README.md"

# CONTRIBUTING.md and CHANGELOG.md are pages of the site as well.
TEXTS = (
    README,
    CHECKOUT / "CONTRIBUTING.md",
    CHECKOUT / "CHANGELOG.md",
    *sorted(DOCS.glob("*.md")),
)

README_LIMIT = 6000  # bytes

# Files of the checkout as texts name them, and tests in them.
_PATH = re.compile(
    r"(?<![\w/.-])(?:\.ci|docs|kernel-config|modules|scripts|testbed|tests)/[\w./*-]*(?:::\w+)?"
)
_EXAMPLES = ("tests/vm/contract/test_a.py::test_b", "modules/", "docs/_build/html")

_CODE = re.compile(r"^```.*?^```|^(?: {4}[^\n]*\n)+|`[^`]+`", re.M | re.S)
_COMMAND = re.compile(r"(?<![\w/.-])(?<!the )testbed ((?:[a-z][a-z-]+)(?: [a-z][a-z-]+)?)")


def _commands(group: click.Group) -> Iterator[str]:
    """The commands of a group, and those of the groups in it: `cache`, `cache list`."""
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        yield name
        command = group.get_command(ctx, name)
        if isinstance(command, click.Group):
            yield from (f"{name} {inner}" for inner in _commands(command))


def _code(text: str) -> str:
    return "\n".join(_CODE.findall(text))


def _prose(text: str) -> str:
    """A text without its blocks and spans of code."""
    return _CODE.sub("", text)


def _anchors(page: Path) -> set[str]:
    """The names that GitHub, and so the site, gives to the headings of a page."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _links(page: Path) -> Iterator[str]:
    """The targets in the checkout that a page leads to."""
    text = _prose(page.read_text())
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|srcset)=\"([^\"]+)\"", text)
    yield from (target for target in found if "://" not in target)


def _named_paths(page: Path) -> Iterator[str]:
    text = _code(page.read_text())
    found = (match[0] for match in _PATH.finditer(text) if not match[0].startswith(_EXAMPLES))
    yield from (name.rstrip(".") for name in found)


def _leads_somewhere(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    path = (page.parent / name).resolve() if name else page
    return path.exists() and (not anchor or anchor in _anchors(path))


def _exists(name: str) -> bool:
    file, _, test = name.partition("::")
    found = list(CHECKOUT.glob(file))
    return bool(found) and (not test or f"def {test}(" in found[0].read_text())


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    built = tmp_path / "html"
    environment = {**os.environ, "PYTHON": sys.executable}
    done = run([CHECKOUT / "scripts" / "docs", built], env=environment, ok=range(256))
    assert done.status == 0, done.stdout + done.stderr
    assert (done.stdout, done.stderr) == ("", "")
    made = {path.stem for path in built.glob("*.html")}
    assert {path.stem for path in DOCS.glob("*.md")} <= made
    reference = (built / "commands.html").read_text()
    missing = [name for name in _commands(cli) if f'id="testbed-{_slug(name)}"' not in reference]
    assert not missing


def _slug(name: str) -> str:
    return name.replace(" ", "-")


def test_the_readme_is_short() -> None:
    assert README.stat().st_size <= README_LIMIT


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert [each for each in _links(page) if not _leads_somewhere(page, each)] == []


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    assert [each for each in _named_paths(page) if not _exists(each)] == []


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_named_commands_exist(page: Path) -> None:
    known = set(_commands(cli))
    groups = {name.partition(" ")[0] for name in known if " " in name}
    named = {match[1] for match in _COMMAND.finditer(_code(page.read_text()))}
    wanted = {
        name if name.partition(" ")[0] in groups else name.partition(" ")[0] for name in named
    }
    assert wanted <= known


def test_sources_name_pages_that_exist() -> None:
    named = run(["git", "grep", "-hoE", r"\bdocs/[a-z]+\.md", "--", "."], cwd=CHECKOUT).stdout
    assert [name for name in sorted(set(named.split())) if not _exists(name)] == []


def test_the_readme_lists_every_command() -> None:
    listed = re.findall(r"^\| `testbed ([a-z-]+)` \|", README.read_text(), re.M)
    assert sorted(listed) == sorted(COMMANDS)


def test_both_pictures_differ_in_their_colours_only() -> None:
    colours = re.compile(r"#[0-9a-f]{6}")
    light, dark = (
        (DOCS / "images" / f"stacks-{mode}.svg").read_text() for mode in ("light", "dark")
    )
    assert light != dark
    assert colours.sub("", light) == colours.sub("", dark)


def test_developers_can_build_the_documentation() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(extras["docs"]) <= set(extras["dev"])
