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
        SetupError: the file cannot be read, or is not TOML.
    """
    wanted = str(_read(file).get("kconfig", "")).splitlines()
    lines = file.read_text().splitlines()
    return "\n".join(line if line in wanted else "" for line in lines) + "\n"


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SetupError(f"cannot read the recipe {file}: {exc}") from exc
