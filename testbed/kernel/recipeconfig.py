# SPDX-License-Identifier: GPL-2.0
"""The configuration that recipes of drivers ask for: the value of their key `kconfig`.

The rest of a recipe is read by testbed/intree/recipe.py.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from testbed.arch import ARCHES, Arch
from testbed.errors import SetupError
from testbed.settings import CHECKOUT

RECIPES = CHECKOUT / "testbed" / "intree" / "recipes"
SUFFIX = ".toml"


def recipe_files(
    arch: Arch, folder: Path = RECIPES, names: Collection[str] = ()
) -> tuple[Path, ...]:
    """Return the recipes of an architecture, or those of them that have such names, in order."""
    return tuple(
        file
        for file in sorted(folder.glob(f"*{SUFFIX}"))
        if arch.name in _read(file).get("arches", ARCHES) and (not names or file.stem in names)
    )


def recipe_fragment(file: Path) -> str:
    """Return the fragment in a recipe. Each of its lines has the number that it has in the file.

    Raises:
        SetupError: the file cannot be read, is not TOML, or has the fragment among other text.
    """
    wanted = str(_read(file).get("kconfig", "")).splitlines()
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    if lost := [line for line in wanted if line not in lines]:
        message = f"{file}: kconfig: {lost[0]!r} does not stand on a line of its own"
        raise SetupError(message, hint='write the fragment between """ and """')
    return "\n".join(line if line in wanted else "" for line in lines) + "\n"


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as exc:
        raise SetupError(f"cannot read the recipe {file}: {exc}") from exc
