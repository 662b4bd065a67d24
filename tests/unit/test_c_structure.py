# SPDX-License-Identifier: GPL-2.0
"""The C files of a kernel module or of a guest program use each other in one direction."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

from testbed.settings import CHECKOUT

FOLDERS = sorted(
    {file.parent for top in ("modules", "tests/probes") for file in (CHECKOUT / top).rglob("*.c")}
)

_COMMENT_OR_LITERAL = re.compile(
    r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.DOTALL | re.VERBOSE
)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:\\\n|[^\n])*", re.MULTILINE)
_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[^\n]*", re.MULTILINE)
_INNERMOST_BRACES = re.compile(r"\{[^{}]*\}")
# In a text with "@" for braces: a function with its body, or the text up to a semicolon.
_DECLARATION = re.compile(r"[^;@=]*\)\s*@|[^;]*;")
_FUNCTION = re.compile(r"(\w+)\s*\(.*\)\s*@", re.DOTALL)
_VARIABLE = re.compile(r"[^(=@]*?(\w+)\s*(?:\[[^]]*\]\s*)*[=;]")
_USED_NAME = re.compile(r"(?<![.\w])(?<!->)[A-Za-z_]\w*")


@dataclass(frozen=True)
class CFile:
    exported: frozenset[str]
    wanted: frozenset[str]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(CHECKOUT)))
def test_the_files_of_a_folder_form_no_cycle(folder: Path) -> None:
    cycle = find_cycle({path.name: parse(path.read_text()) for path in sorted(folder.glob("*.c"))})
    assert cycle is None, f"a cycle in {folder.relative_to(CHECKOUT)}: {cycle}"


def test_a_cycle_is_found_and_named() -> None:
    files = {
        "low.c": parse('int depth(void)\n{\n\treturn limit; /* "x" */\n}\n'),
        "high.c": parse("int limit = 3;\n\nvoid climb(void)\n{\n\tdepth();\n}\n"),
    }
    assert find_cycle(files) == "low.c -> high.c (limit), high.c -> low.c (depth)"


def test_members_and_static_names_belong_to_their_file() -> None:
    text = "static int depth;\n\nint climb(struct s *s)\n{\n\treturn s->limit + depth;\n}\n"
    found = parse(text)
    assert found.exported == {"climb"}
    assert not {"limit", "depth"} & found.wanted


def find_cycle(files: dict[str, CFile]) -> str | None:
    """Describe a cycle: each file, the file that it uses, and the names."""
    uses = {
        (user, owner): sorted(text.wanted & files[owner].exported)
        for user, text in files.items()
        for owner in files
        if user != owner and text.wanted & files[owner].exported
    }
    graph = {name: [owner for user, owner in uses if user == name] for name in files}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        pairs = pairwise(exc.args[1][::-1])
        return ", ".join(f"{a} -> {b} ({' '.join(uses[a, b])})" for a, b in pairs)
    return None


def parse(source: str) -> CFile:
    text = _INCLUDE.sub("", _COMMENT_OR_LITERAL.sub(" ", source))
    declared = dict(_declared_names(_DIRECTIVE.sub("", text)))
    return CFile(
        exported=frozenset(name for name, exported in declared.items() if exported),
        wanted=frozenset(_USED_NAME.findall(text)) - declared.keys(),
    )


def _declared_names(text: str) -> Iterator[tuple[str, bool]]:
    """Each function and variable that the text defines, and whether other files see it."""
    depth = -1
    while len(text) != depth:
        depth = len(text)
        text = _INNERMOST_BRACES.sub("@", text)
    for declaration in _DECLARATION.findall(text):
        match = _FUNCTION.search(declaration) or _VARIABLE.match(declaration)
        if match and not re.search(r"\b(?:extern|typedef)\b", declaration):
            yield match[1], not re.search(r"\bstatic\b", declaration)
