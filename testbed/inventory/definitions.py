# SPDX-License-Identifier: GPL-2.0
"""The definitions of C files, and those in which two versions of a tree differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from testbed.errors import SetupError
from testbed.inventory.csyntax import Node, declared_name, function_name, parse, text_of
from testbed.inventory.ctext import read_c
from testbed.inventory.treefiles import TreeFiles

_SUFFIXES = (".c", ".h")


@dataclass(frozen=True)
class Definition:
    """A function, an object or a macro whose text differs."""

    file: str
    name: str
    static: bool  # other files cannot mean it

    def is_function_of(self, name: str, file: str) -> bool:
        """Whether a file that names a function means this definition."""
        return self.name == name and (self.file == file or not self.static)


def changed_definitions(
    before: TreeFiles, after: TreeFiles, files: Iterable[str]
) -> tuple[Definition, ...]:
    """Return what two trees define differently in these files. Comments and blanks do not count."""
    return tuple(
        definition
        for file in files
        if file.endswith(_SUFFIXES)
        for definition in _changed(file, _read(before, file), _read(after, file))
    )


def definitions(file: str, content: bytes) -> dict[str, str]:
    """Return the text of each definition by its name. Branches of `#if` are put together."""
    text = read_c(file, content)
    found: dict[str, list[str]] = {}
    for macro in text.macros:
        found.setdefault(macro.name, []).append(f"{macro.parameters} {macro.body}")
    for first, last in text.items:
        for node in parse(text.text[first:last]).named_children:
            for name in _names(node):
                found.setdefault(name, []).append(text_of(node))
    return {name: "\n".join(texts) for name, texts in found.items()}


def _changed(file: str, old: bytes, new: bytes) -> Iterator[Definition]:
    was, now = definitions(file, old), definitions(file, new)
    for name in dict.fromkeys((*was, *now)):
        if was.get(name) != now.get(name):
            # A static function of a header is every file's.
            static = now.get(name, was.get(name, "")).startswith("static")
            yield Definition(file, name, static and not file.endswith(".h"))


def _read(tree: TreeFiles, file: str) -> bytes:
    try:
        return tree.read(file)
    except (SetupError, FileNotFoundError, NotADirectoryError):
        return b""


def _names(node: Node) -> Iterator[str]:
    """Yield the names that a part of a file defines."""
    if node.type == "ERROR":
        for child in node.named_children:
            yield from _names(child)
    if node.type == "function_definition":
        yield function_name(node)
    if node.type == "declaration":
        for child in node.children_by_field_name("declarator"):
            if child.type == "init_declarator":
                yield declared_name(child)
