# SPDX-License-Identifier: GPL-2.0
"""The user's TOML files. A file is read, and its keys are checked against the known ones."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from testbed.errors import SetupError
from testbed.suggest import suggest


def read_toml(path: Path, what: str, known: Collection[str]) -> dict[str, Any]:
    """Return the values of a file. All of its keys must be in `known`.

    Args:
        what: the kind of the file, for messages.

    Raises:
        SetupError: the file cannot be read, is not TOML, or has an unknown key.
    """
    try:
        values = tomllib.loads(_text(path))
    except OSError as exc:
        raise SetupError(f"cannot read the {what} {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise SetupError(f"{path} is not valid TOML: {exc}", hint="save it in UTF-8") from exc
    except (ValueError, RecursionError) as exc:
        # Python refuses numbers of thousands of digits, and brackets as deep, in its own words.
        raise SetupError(f"{path} is not valid TOML: {exc}") from exc
    for key in values:
        if key not in known:
            where = place(path, key)
            raise SetupError(f"unknown key {key!r} in {where}", hint=suggest(key, known))
    return values


def _text(path: Path) -> str:
    # Some editors begin a file with a mark of the byte order.
    return path.read_text(encoding="utf-8-sig")


def place(path: Path, key: str) -> str:
    """Return the place of a key in a file: its path, with the line if the key begins one."""
    begins = re.compile(rf"\s*\[?\s*[\"']?{re.escape(key)}\b")
    lines = enumerate(_text(path).splitlines(), 1)
    number = next((number for number, line in lines if begins.match(line)), 0)
    return f"{path}:{number}" if number else str(path)
