# SPDX-License-Identifier: GPL-2.0
"""Which architectures can set a symbol of the configuration, by the Kconfig files of the tree.

This is simple on purpose: a value is the set of what it can be, and each symbol is looked at
alone. A symbol that is refused for an architecture is refused by Kconfig too; one that is accepted
may still be out of reach, for example because two of its conditions exclude each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

_SOURCE = re.compile(r'^\s*[or]*source\s+"?([^"\s]+)"?')
_CONFIG = re.compile(r"^\s*(?:menu)?config\s+(\w+)")
_TOKEN = re.compile(r'\$\((?:[^()]|\([^()]*\))*\)|"[^"]*"|\w+|!=|<=|>=|&&|\|\||[()!=<>]')
_TYPE = re.compile(
    r'^(?:bool|tristate|int|hex|string|prompt)\b\s*(".*?"|\'.*?\')?(?:\s+if\s+(.*))?$'
)
_DEFAULT = re.compile(r"^(?:def_bool|def_tristate|default)\s+(.+?)(?:\s+if\s+(.*))?$")
_SELECT = re.compile(r"^select\s+(\w+)(?:\s+if\s+(.*))?$")

_NO, _YES = frozenset({False}), frozenset({True})
_BOTH = frozenset({False, True})

# A chain of conditions that is longer counts as unclear.
_DEPTH = 80

# What the testbed's architectures fix: their kernels have 64 bits.
_FIXED = {"x86": {"64BIT": _YES, "X86_64": _YES, "X86_32": _NO, "UML": _NO, "X86": _YES}}

_ARCH_OF = {"x86": "x86_64"}  # our names, where they differ from the folder below arch/


@dataclass
class _Definition:
    """One `config` block."""

    arch: str  # of the file, or empty
    conditions: list[str]
    prompt: bool = False
    prompt_if: str = ""
    defaults: list[tuple[str, str]] = field(default_factory=list)
    selects: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Kconfig:
    """The Kconfig files of a tree."""

    names: Collection[str]
    read: Callable[[str], bytes]
    _symbols: dict[str, list[_Definition]] = field(default_factory=dict)
    _selectors: dict[str, list[tuple[str, _Definition, str]]] = field(default_factory=dict)
    _values: dict[tuple[str, str], frozenset[bool]] = field(default_factory=dict)
    _folders: tuple[str, ...] = ()

    def load(self) -> None:
        """Read the files, from the top."""
        parts = (name.split("/", 2) for name in self.names if name.startswith("arch/"))
        found = {each[1] for each in parts if len(each) == 3}
        self._folders = tuple(sorted(found))
        if "Kconfig" in self.names:
            self._read("Kconfig", "", [])
        for name, definitions in self._symbols.items():
            for definition in definitions:
                for target, condition in definition.selects:
                    self._selectors.setdefault(target, []).append((name, definition, condition))

    def known(self, symbol: str) -> bool:
        """Whether a Kconfig file defines the symbol."""
        return symbol in self._symbols

    def arches(self, symbols: Iterable[str], folder: str = "") -> tuple[str, ...]:
        """Return the architectures that can set all of the symbols: ours, or else all others.

        Args:
            folder: the folder below arch/ that the file is in; only that architecture has it.
        """
        wanted = list(symbols)
        ours = [each for each in ("x86", "arm64") if folder in ("", each)]
        found = [each for each in ours if self._possible(wanted, each)]
        if not found:
            others = [each for each in self._folders if each not in ("x86", "arm64")]
            others = [each for each in others if folder in ("", each)]
            found = [each for each in others if self._possible(wanted, each)]
        return tuple(_ARCH_OF.get(each, each) for each in found)

    def _possible(self, symbols: Iterable[str], arch: str) -> bool:
        return all(True in self._value(symbol, arch, 0) for symbol in symbols)

    def _read(self, file: str, arch: str, conditions: list[str]) -> None:
        reader = _Reader(self, arch, conditions)
        for line in _logical_lines(self.read(file).decode(errors="replace")):
            reader.take(line)

    def source(self, pattern: str, arch: str, conditions: list[str]) -> None:
        """Read a file that another one names. Without an architecture, those of all are read."""
        folders = [arch] if arch else self._folders
        if "$(SRCARCH)" in pattern or "$(HEADER_ARCH)" in pattern:
            for each in folders:
                name = pattern.replace("$(SRCARCH)", each)
                name = name.replace("$(HEADER_ARCH)", "x86" if each == "um" else each)
                if name in self.names:
                    self._read(name, each, conditions)
        elif pattern in self.names:
            self._read(pattern, arch, conditions)

    def define(self, symbol: str, definition: _Definition) -> None:
        self._symbols.setdefault(symbol, []).append(definition)

    def _value(self, symbol: str, arch: str, depth: int) -> frozenset[bool]:
        """Return what a symbol can be."""
        fixed = _FIXED.get(arch, {}).get(symbol)
        if fixed is not None:
            return fixed
        key = symbol, arch
        if key in self._values:
            return self._values[key]
        if depth > _DEPTH:
            return _BOTH
        self._values[key] = _BOTH  # of a circle
        found = self._computed(symbol, arch, depth)
        self._values[key] = found
        return found

    def _computed(self, symbol: str, arch: str, depth: int) -> frozenset[bool]:
        can, must = False, False
        for each in self._symbols.get(symbol, []):
            if each.arch not in ("", arch):
                continue
            allowed = self._all(each.conditions, arch, depth)
            if True not in allowed:
                continue
            if each.prompt and True in self._expression(each.prompt_if, arch, depth):
                can = True
                continue
            for value, condition in each.defaults:
                both = _and(
                    self._expression(value, arch, depth), self._expression(condition, arch, depth)
                )
                can |= True in both
                must |= _and(both, allowed) == _YES
        for selector, each, condition in self._selectors.get(symbol, []):
            if must or each.arch not in ("", arch):
                continue
            by = _and(
                self._value(selector, arch, depth + 1), self._expression(condition, arch, depth)
            )
            can |= True in by
            must |= by == _YES
        return _YES if must else _BOTH if can else _NO

    def _all(self, conditions: Iterable[str], arch: str, depth: int) -> frozenset[bool]:
        found = _YES
        for condition in conditions:
            found = _and(found, self._expression(condition, arch, depth))
            if found == _NO:
                break
        return found

    def _expression(self, text: str, arch: str, depth: int) -> frozenset[bool]:
        if not text:
            return _YES
        return _Expression(
            _TOKEN.findall(text), lambda name: self._value(name, arch, depth + 1)
        ).value()


class _Reader:
    """Reads the blocks of one file."""

    def __init__(self, tree: Kconfig, arch: str, conditions: list[str]) -> None:
        self._tree, self._arch = tree, arch
        self._stack: list[list[str]] = [conditions]  # of the file, menus, choices and ifs
        self._block: _Definition | None = None
        self._help = 0  # the indent of a help text
        self._in_help = False

    def take(self, line: str) -> None:
        if self._skips_help(line):
            return
        words = line.strip()
        first = words.partition(" ")[0]
        if match := _CONFIG.match(line):
            self._block = _Definition(self._arch, self._all())
            self._tree.define(match[1], self._block)
        elif first in ("if", "menu", "choice"):
            self._stack.append([words[3:]] if first == "if" else [])
            self._block = None
        elif first in ("endif", "endmenu", "endchoice"):
            self._stack[1:] = self._stack[1:-1]
            self._block = None
        elif match := _SOURCE.match(line):
            self._tree.source(match[1], self._arch, self._all())
            self._block = None
        elif first in ("help", "---help---"):
            self._in_help, self._help = True, _indent(line)
        else:
            self._option(words)

    def _all(self) -> list[str]:
        return [condition for level in self._stack for condition in level]

    def _skips_help(self, line: str) -> bool:
        if self._in_help and line.strip() and _indent(line) <= self._help:
            self._in_help = False
        return self._in_help

    def _option(self, words: str) -> None:
        if words.startswith("depends on "):
            (self._stack[-1] if self._block is None else self._block.conditions).append(words[11:])
        elif words.startswith("comment"):
            self._block = _Definition(self._arch, [])
        elif self._block is None:
            return
        elif match := _TYPE.match(words):
            if match[1]:
                self._block.prompt, self._block.prompt_if = True, match[2] or ""
        elif match := _DEFAULT.match(words):
            self._block.defaults.append((match[1], match[2] or ""))
        elif match := _SELECT.match(words):
            self._block.selects.append((match[1], match[2] or ""))


class _Expression:
    """Reads an expression of Kconfig."""

    def __init__(self, tokens: list[str], value: Callable[[str], frozenset[bool]]) -> None:
        self._tokens, self._value = tokens, value
        self._place = 0

    def value(self) -> frozenset[bool]:
        found = self._and()
        while self._next("||"):
            found = _or(found, self._and())
        return found

    def _and(self) -> frozenset[bool]:
        found = self._one()
        while self._next("&&"):
            found = _and(found, self._one())
        return found

    def _one(self) -> frozenset[bool]:
        if self._next("!"):
            return frozenset(not each for each in self._one())
        if self._next("("):
            found = self.value()
            self._next(")")
            return found
        left = self._take()
        for sign in ("=", "!="):
            if self._next(sign):
                return self._compared(left, self._take(), sign == "=")
        if self._place < len(self._tokens) and self._tokens[self._place] in ("<", ">", "<=", ">="):
            self._place += 2
            return _BOTH
        return self._atom(left)

    def _compared(self, left: str, right: str, equal: bool) -> frozenset[bool]:
        if right not in ("y", "m", "n"):
            return _BOTH
        found = self._atom(left)
        wants = (right != "n") is equal
        return found if wants else frozenset(not each for each in found)

    def _atom(self, word: str) -> frozenset[bool]:
        if word in ("y", "m"):
            return _YES
        if word == "n":
            return _NO
        if not word or word[0] in '"$' or word.isdigit():
            return _BOTH
        return self._value(word)

    def _next(self, token: str) -> bool:
        found = self._place < len(self._tokens) and self._tokens[self._place] == token
        self._place += found
        return found

    def _take(self) -> str:
        self._place += 1
        return self._tokens[self._place - 1] if self._place <= len(self._tokens) else ""


def _logical_lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").split("\n"):
        # A `#` inside a prompt is rare, and only cuts the prompt.
        line = line.partition(" #")[0] if '"' not in line else line
        if not line.lstrip().startswith("#"):
            yield line.expandtabs()


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _and(one: frozenset[bool], other: frozenset[bool]) -> frozenset[bool]:
    return frozenset(a and b for a in one for b in other)


def _or(one: frozenset[bool], other: frozenset[bool]) -> frozenset[bool]:
    return frozenset(a or b for a in one for b in other)
