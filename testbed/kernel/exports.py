# SPDX-License-Identifier: GPL-2.0
"""Find the file of a kernel's source that exports a symbol, and the option that builds it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from testbed.process import run

_CONTINUED = re.compile(r"\\\n\s*")
_OPTION = re.compile(r"^obj-\$\(CONFIG_(\w+)\)$")


@dataclass(frozen=True)
class Export:
    """A file that exports a symbol, relative to the source, and its option, if one was found."""

    symbol: str
    file: str
    option: str = ""

    def __str__(self) -> str:
        needed = f" (CONFIG_{self.option})" if self.option else ""
        return f"{self.file} exports {self.symbol}{needed}"


def find_exports(src: Path, symbols: Iterable[str]) -> list[Export]:
    """Find the files that export these symbols. It reads the whole source: some 10 seconds."""
    pattern = rf"^EXPORT_[A-Z_]*SYMBOL[A-Z_]*\(({'|'.join(symbols)})[,)]"
    words = ["grep", "-rEo", "--include=*.[cS]", pattern, "."]
    found = list[Export]()
    for line in run(words, cwd=src, ok=(0, 1, 2)).stdout.splitlines():
        file, _, match = line.removeprefix("./").partition(":")
        symbol = match.partition("(")[2].rstrip(",)")
        found.append(Export(symbol, file, _option(src / file)))
    return sorted(found, key=lambda each: (each.symbol, each.file))


def _option(file: Path) -> str:
    """Return the option under which the Makefile beside a file builds it, or ""."""
    for name in ("Kbuild", "Makefile"):
        makefile = file.with_name(name)
        if makefile.exists():
            text = _CONTINUED.sub(" ", makefile.read_text(errors="replace"))
            return _option_of(file.stem, list(filter(None, map(str.split, text.splitlines()))))
    return ""


def _option_of(stem: str, lines: list[list[str]]) -> str:
    """Return the option of an object, or of the object that it is a part of."""
    for target, *words in lines:
        if f"{stem}.o" in words and (match := _OPTION.match(target)):
            return match[1]
    for target, *words in lines:
        if f"{stem}.o" in words and not target.startswith(("obj-", "lib-")):
            whole = re.sub(r"-(?:y|m|objs|\$\(CONFIG_\w+\))$", "", target)
            others = [line for line in lines if line[0] != target]
            return _option_of(whole, others) if whole != target else ""
    return ""
