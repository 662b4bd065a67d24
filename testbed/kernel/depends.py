# SPDX-License-Identifier: GPL-2.0
"""Explain from a tree's Kconfig files why a symbol did not survive.

The parser covers the part of the Kconfig language (Documentation/kbuild/kconfig-language.rst)
that is needed to name a missing dependency. The kernel's own tool makes the configuration; this
module only explains it.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from testbed.kernel.kconfig import Asked

_SOURCE = re.compile(r'(?:o|r|or)?source\s+"?([^"]+?)"?$')
_ENTRY = re.compile(r"(?:menu)?config\s+(\w+)$")
_TOKEN = re.compile(r'\s*(&&|\|\||!=|<=|>=|[!=<>()]|"[^"]*"|\'[^\']*\'|\$\([^)]*\)|[\w./-]+)')
_PROMPT = re.compile(
    r"""(?:bool|tristate|int|hex|string|prompt)\s+(?:"[^"]*"|'[^']*')(?:\s+if\s+(.+))?"""
)
_LEVELS = {"n": 0, "m": 1, "y": 2}


@dataclass
class Definition:
    """One `config` entry. A symbol may have several."""

    where: str  # FILE:LINE below the tree
    depends: list[str]  # expressions, those of the enclosing menus first
    prompts: list[str] = field(default_factory=list)  # the conditions of its prompts
    in_choice: bool = False


@dataclass
class Definitions:
    """All symbols of a tree, as one architecture sees them."""

    symbols: dict[str, list[Definition]] = field(default_factory=dict)
    selectors: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class _Block:
    """A menu, an `if`, a choice, or a file's top level."""

    kind: str
    depends: list[str] = field(default_factory=list)


def read_definitions(tree: Path, srcarch: str) -> Definitions:
    """Read every symbol that the Kconfig files of a tree define."""
    found = Definitions()
    _Reader(tree, srcarch, found).read("Kconfig", [])
    return found


@dataclass
class _Reader:
    tree: Path
    srcarch: str
    found: Definitions

    def read(self, file: str, outer: list[_Block]) -> None:
        blocks = list(outer)
        current: Definition | _Block | None = None
        name = ""
        for number, line in _statements(self.tree / file):
            word = line.split(maxsplit=1)[0]
            if match := _SOURCE.fullmatch(line):
                self._read_all(match[1], blocks)
            elif match := _ENTRY.fullmatch(line):
                name = match[1]
                current = self._define(name, f"{file}:{number}", blocks)
            elif word in ("menu", "choice", "if"):
                condition = [line.removeprefix("if").strip()] if word == "if" else []
                current = _Block(word, condition)
                blocks.append(current)
            elif word in ("endmenu", "endchoice", "endif"):
                current = None
                blocks.pop()
            elif word == "comment":
                current = None
            elif current is not None:
                self._attribute(current, name, line)

    def _read_all(self, pattern: str, blocks: list[_Block]) -> None:
        path = re.sub(r"\$\(?(?:SRCARCH|HEADER_ARCH)\)?", self.srcarch, pattern)
        for found in sorted(self.tree.glob(path)):
            if found.is_file():
                self.read(os.path.relpath(found, self.tree), blocks)

    def _define(self, name: str, where: str, blocks: list[_Block]) -> Definition:
        depends = [expression for block in blocks for expression in block.depends]
        in_choice = any(block.kind == "choice" for block in blocks)
        definition = Definition(where, depends, in_choice=in_choice)
        self.found.symbols.setdefault(name, []).append(definition)
        return definition

    def _attribute(self, current: Definition | _Block, name: str, line: str) -> None:
        if line.startswith("depends on "):
            current.depends.append(line.removeprefix("depends on "))
        elif isinstance(current, Definition):
            if match := _PROMPT.fullmatch(line):
                current.prompts.append(match[1] or "y")
            elif line.startswith("select "):
                target = line.split()[1]
                self.found.selectors.setdefault(target, []).append(name)


def _statements(path: Path) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers. Join continued lines; skip comments and help texts."""
    text = path.read_text(errors="replace").expandtabs()
    help_indent: int | None = None
    in_help = False
    start, pending = 0, ""
    for number, raw in enumerate(text.splitlines(), 1):
        indent = len(raw) - len(raw.lstrip())
        if in_help:
            if not raw.strip():
                continue
            help_indent = indent if help_indent is None else help_indent
            # A help text ends before the first line that is indented less than its first line.
            if indent >= help_indent and indent > 0:
                continue
            in_help, help_indent = False, None
        start = start if pending else number
        line = (pending + " " + raw.strip()).strip()
        if line.endswith("\\"):
            pending = line[:-1]
            continue
        pending = ""
        line = re.sub(r"\s+#.*$|^#.*$", "", line)
        if line in ("help", "---help---"):
            in_help = True
        elif line:
            yield start, line


def evaluate(expression: str, values: Mapping[str, str]) -> int:
    """Return the level of an expression: 0 (n), 1 (m) or 2 (y).

    A macro such as $(cc-option,...) counts as y, because its value is unknown here.
    """
    return _Evaluator(_TOKEN.findall(expression), values).disjunction()


@dataclass
class _Evaluator:
    tokens: list[str]
    values: Mapping[str, str]

    def disjunction(self) -> int:
        level = self._conjunction()
        while self._accept("||"):
            level = max(level, self._conjunction())
        return level

    def _conjunction(self) -> int:
        level = self._term()
        while self._accept("&&"):
            level = min(level, self._term())
        return level

    def _term(self) -> int:
        if self._accept("!"):
            return 2 - self._term()
        if self._accept("("):
            level = self.disjunction()
            self._accept(")")
            return level
        left = self._operand()
        for operator in ("=", "!=", "<=", ">=", "<", ">"):
            if self._accept(operator):
                return 2 * _compare(operator, left, self._operand())
        return _LEVELS.get(left, 0)

    def _operand(self) -> str:
        token = self.tokens.pop(0) if self.tokens else "n"
        if token.startswith("$("):
            return "y"
        if token[0] in "\"'":
            return token[1:-1]
        if token in _LEVELS or token[0].isdigit():
            return token
        return self.values.get(token, "n").strip('"')

    def _accept(self, token: str) -> bool:
        if self.tokens and self.tokens[0] == token:
            self.tokens.pop(0)
            return True
        return False


def _compare(operator: str, left: str, right: str) -> bool:
    if operator in ("=", "!="):
        return (left == right) == (operator == "=")
    try:
        low, high = int(left, 0), int(right, 0)
    except ValueError:
        return False
    return {"<": low < high, ">": low > high, "<=": low <= high, ">=": low >= high}[operator]


def conjuncts(expression: str) -> list[str]:
    """Split an expression into the parts that must all hold."""
    parts, depth = [""], 0
    for token in _TOKEN.findall(expression):
        depth += (token == "(") - (token == ")")
        if token == "||" and depth == 0:
            return [expression]
        if token == "&&" and depth == 0:
            parts.append("")
        else:
            parts[-1] += (
                token if token in "()!" or parts[-1][-1:] in ("", "(", "!") else f" {token}"
            )
    return parts


def explain(asked: Asked, values: Mapping[str, str], definitions: Definitions) -> str:
    """Explain from the Kconfig files why the symbol lacks the requested value."""
    found = definitions.symbols.get(asked.name)
    if found is None:
        near = difflib.get_close_matches(asked.name, definitions.symbols, n=1)
        return "this tree has no such symbol" + (f"; it has {near[0]}" if near else "")
    if asked.value == "n" or (asked.value == "m" and values.get(asked.name) == "y"):
        return _why_on(asked.name, values, definitions)
    reasons = [_why_off(asked, definition, values) for definition in found]
    # If the dependencies of one definition are met, the other definitions do not matter.
    unmet = [reason for reason in reasons if reason]
    if len(unmet) == len(reasons):
        return "; or ".join(dict.fromkeys(unmet))
    return _why_other(asked.name, values, definitions)


def _why_other(name: str, values: Mapping[str, str], definitions: Definitions) -> str:
    """Explain why a symbol has another value although its dependencies are met."""
    found = definitions.symbols[name]
    prompts = [prompt for definition in found for prompt in definition.prompts]
    if not prompts:
        by = " or ".join(definitions.selectors.get(name, [])[:5])
        return "it has no prompt" + (f": {by} would select it" if by else "")
    if not any(evaluate(prompt, values) for prompt in prompts):
        return f"it can be set only with {' or '.join(map(_show, prompts))} ({found[0].where})"
    if any(definition.in_choice for definition in found):
        return f"it is part of a choice, and another symbol is set ({found[0].where})"
    return f"its dependencies at {found[0].where} seem to be met"


def _why_on(name: str, values: Mapping[str, str], definitions: Definitions) -> str:
    active = [by for by in definitions.selectors.get(name, []) if by in values]
    if active:
        return f"{' and '.join(sorted(set(active))[:5])} selects it"
    return _why_other(name, values, definitions)


def _why_off(asked: Asked, definition: Definition, values: Mapping[str, str]) -> str:
    need = 1 if asked.value == "m" else 2
    parts = [part for expression in definition.depends for part in conjuncts(expression)]
    unmet = [part for part in dict.fromkeys(parts) if evaluate(part, values) < need]
    if not unmet:
        return ""
    return f"it needs {' and '.join(map(_show, unmet))} ({definition.where})"


def _show(expression: str) -> str:
    return expression if re.fullmatch(r"\w+", expression) else f"`{expression}`"
