# SPDX-License-Identifier: GPL-2.0
"""Which symbols of the configuration a C file needs, by the Makefiles of the tree."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

_SYMBOL = re.compile(r"\$\(CONFIG_(\w+)\)|\$\{CONFIG_(\w+)\}")
_GIVEN = re.compile(
    r"^\s*(?:export\s+)?([\w./-]*(?:\$\((?:[^()]|\([^()]*\))*\))?[\w.-]*)\s*(?:[:+?]?=|::=)(.*)$"
)
_INCLUDE = re.compile(r"^\s*-?include\s+(?:\$\(srctree\)/)?\$\((?:src|obj)\)/([\w./-]+)\s*$")
_IF = re.compile(r"^\s*(ifdef|ifndef|ifeq|ifneq)\b(.*)$")
_VARIABLE = re.compile(r"\$[({]([\w-]+)[)}]")
_SUBSTITUTION = re.compile(r"\$\((addprefix|addsuffix)\s+([^,()]*),([^()]*)\)")

# Goals of a directory itself; every other list of objects is that of a composite object.
_GOALS = frozenset({"obj", "lib", "core", "drivers", "libs", "net", "virt", "head"})

_DEPTH = 8


@dataclass(frozen=True)
class _Entry:
    """An object or a folder in a list of a Makefile, and the conditions for it."""

    group: str
    symbols: tuple[str, ...]


@dataclass
class Kbuild:
    """The Makefiles of a tree, read when asked for."""

    names: Collection[str]  # of all files
    read: Callable[[str], bytes]
    _lists: dict[str, dict[str, list[_Entry]]] = field(default_factory=dict)

    def symbols(self, file: str) -> tuple[str, ...] | None:
        """Return the symbols that a C file needs, the most specific first; None if unknown."""
        path = PurePosixPath(file)
        found = self._object(str(path.parent), f"{path.stem}.o", 0)
        return tuple(dict.fromkeys(found)) if found is not None else None

    def _object(self, folder: str, name: str, depth: int) -> list[str] | None:
        """Return the symbols of an object; its name may have folders below `folder`."""
        best: list[str] | None = None
        for entry in self._entries(folder).get(name, []) if depth < _DEPTH else []:
            if f"{entry.group}.o" == name:
                continue
            goal = entry.group in _GOALS
            rest = (
                self._folder(folder)
                if goal
                else self._object(folder, f"{entry.group}.o", depth + 1)
            )
            found = None if rest is None else [*entry.symbols, *rest]
            if found is not None and (best is None or len(found) < len(best)):
                best = found
        if best is not None or depth or folder in (".", ""):
            return best
        parent = PurePosixPath(folder)
        for level in range(1, 5):
            inner = "/".join(parent.parts[-level:])
            outer = "/".join(parent.parts[:-level])
            if outer and (best := self._object(outer, f"{inner}/{name}", 1)) is not None:
                return best
        return None

    def _folder(self, folder: str) -> list[str]:
        """Return the symbols that the folders above need to enter a folder."""
        parts = PurePosixPath(folder).parts
        for level in range(1, len(parts)):
            outer, inner = "/".join(parts[:-level]), "/".join(parts[-level:])
            entries = self._entries(outer).get(f"{inner}/", [])
            if entries:
                entry = min(entries, key=lambda each: len(each.symbols))
                return [*entry.symbols, *self._folder(outer)]
        return []

    def _entries(self, folder: str) -> dict[str, list[_Entry]]:
        if folder not in self._lists:
            lists: dict[str, list[_Entry]] = {}
            for base in ("Kbuild", "Makefile"):
                name = f"{folder}/{base}"
                if name in self.names:
                    _Reader(lists).read(self._text(name))
                    break
            self._lists[folder] = lists
        return self._lists[folder]

    def _text(self, name: str) -> str:
        """Return a Makefile with what it includes from its own folder and below."""
        folder = name.rpartition("/")[0]
        lines = []
        for line in self.read(name).decode(errors="replace").replace("\\\n", " ").split("\n"):
            match = _INCLUDE.match(line)
            inner = f"{folder}/{match[1]}" if match else ""
            lines.append(self._text(inner) if inner in self.names and inner != name else line)
        return "\n".join(lines)


class _Reader:
    """Reads the lists of one Makefile."""

    def __init__(self, lists: dict[str, list[_Entry]]) -> None:
        self._lists = lists
        self._variables: dict[str, list[str]] = {}
        self._conditions: list[tuple[str, ...]] = []

    def read(self, text: str) -> None:
        for line in text.split("\n"):
            line = line.partition("#")[0]
            if match := _IF.match(line):
                positive = match[1] in ("ifdef", "ifeq") and not re.search(r",\s*n?\s*\)", match[2])
                self._conditions.append(tuple(_symbols(match[2], bare=True)) if positive else ())
            elif line.strip().startswith("else"):
                self._conditions[-1:] = [()] if self._conditions else []
            elif line.strip() == "endif":
                self._conditions[-1:] = []
            elif match := _GIVEN.match(line):
                self._take(match[1], match[2])

    def _take(self, left: str, right: str) -> None:
        words = list(self._words(right))
        group, _, rest = left.partition("-$(")
        if not rest:
            group = left.rpartition("-")[0]
        self._variables.setdefault(f"{group}-y" if group else left, []).extend(words)
        if not group:
            return
        conditions = (symbol for condition in self._conditions for symbol in condition)
        symbols = tuple(dict.fromkeys((*_symbols(left), *conditions)))
        group = re.sub(r"^obj\d+$", "obj", group)
        for word in words:
            word = word.removeprefix("./")
            if word.endswith((".o", "/")):
                self._lists.setdefault(word, []).append(_Entry(group, symbols))

    def _words(self, text: str) -> Iterator[str]:
        text = _SUBSTITUTION.sub(_substituted, text)
        for word in text.split():
            if (match := _VARIABLE.fullmatch(word)) and match[1] in self._variables:
                yield from self._variables[match[1]]
            else:
                yield _VARIABLE.sub("", word).lstrip("/") if word.startswith("$") else word


def _substituted(match: re.Match[str]) -> str:
    words = match[3].split()
    if match[1] == "addprefix":
        return " ".join(f"{match[2].strip()}{word}" for word in words)
    return " ".join(f"{word}{match[2].strip()}" for word in words)


def _symbols(text: str, *, bare: bool = False) -> Iterator[str]:
    pattern = re.compile(r"\bCONFIG_(\w+)") if bare else _SYMBOL
    for match in pattern.finditer(text):
        yield next(filter(None, match.groups()))
